//! `inference`: what `detect` costs over the bare runtime on the same model and picture, stage by
//! stage, and Python's onnxruntime beside it where it can be imported.
//!
//! Models and the photo come from the folders in `EDGEFLOW_TEST_ASSETS`, or from what
//! `cargo xtask demo` has fetched.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edgeflow_infer::{CATALOGUE, Detector, Entry, Options, letterbox, onnx};
use rten::{Model, ModelOptions, RunOptions, ThreadPool, ValueView};
use serde_json::{Value, json};

use crate::report;

/// Runs that are measured, after [`WARM_UP`] that are not.
const RUNS: usize = 40;
const WARM_UP: usize = 5;
/// Size of the picture.
const SIZE: (usize, usize) = (1280, 720);
const QUALITY: u8 = 85;

pub(crate) fn run(_args: &[String]) -> Result<()> {
    let dirs = asset_dirs();
    let jpeg = test_picture()?;
    let mut rows = Vec::new();
    for entry in CATALOGUE {
        let Some(path) = dirs
            .iter()
            .map(|dir| dir.join(entry.file))
            .find(|p| p.is_file())
        else {
            eprintln!("{} is not in {dirs:?}: left out", entry.file);
            continue;
        };
        for threads in [1, 0] {
            rows.push(measure(entry, &path, &dirs, threads, &jpeg)?);
        }
        rows.extend(python(entry, &path));
    }
    if rows.is_empty() {
        bail!("no model at hand: set EDGEFLOW_TEST_ASSETS, or run `cargo xtask demo` first");
    }
    report::print("inference", &rows);
    Ok(())
}

fn asset_dirs() -> Vec<PathBuf> {
    let named = std::env::var_os("EDGEFLOW_TEST_ASSETS").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&named).collect();
    dirs.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/demo/assets"));
    dirs
}

/// A test card: what it shows does not matter for the time that a model takes.
fn test_picture() -> Result<Vec<u8>> {
    let (width, height) = (u16::try_from(SIZE.0)?, u16::try_from(SIZE.1)?);
    let mut card = edgeflow_capture::pattern::TestCard::new(width, height, QUALITY)?;
    Ok(card.jpeg(1, 0)?)
}

fn measure(
    entry: &Entry,
    path: &Path,
    dirs: &[PathBuf],
    threads: usize,
    jpeg: &[u8],
) -> Result<Value> {
    let options = Options {
        threads,
        ..Options::default()
    };
    let mut detector = Detector::load(entry.name, dirs, options)?;
    let bare = Bare::load(entry, path, threads)?;
    let (mut whole, mut alone) = (Vec::new(), Vec::new());
    let mut stages = [const { Vec::new() }; 4];
    // Turn by turn, so that both meet the same machine.
    for round in 0..WARM_UP + RUNS {
        let start = Instant::now();
        detector.detect_jpeg(jpeg)?;
        let total = start.elapsed();
        let (shape, input) = detector.last_input();
        let runtime = bare.run(shape, input)?;
        if round >= WARM_UP {
            let timings = detector.timings();
            whole.push(ms(total));
            alone.push(ms(runtime));
            let times = [
                timings.decode,
                timings.prepare,
                timings.infer,
                timings.boxes,
            ];
            for (stage, time) in stages.iter_mut().zip(times) {
                stage.push(ms(time));
            }
        }
    }
    let overhead: Vec<f64> = whole
        .iter()
        .zip(&alone)
        .map(|(whole, bare)| whole - bare)
        .collect();
    let (_, runtime) = detector.kind();
    Ok(json!({
        "model": entry.name,
        "runtime": runtime,
        "threads": if threads == 0 { std::thread::available_parallelism()?.get() } else { threads },
        "picture": format!("{}x{}", SIZE.0, SIZE.1),
        "detect_ms": round2(report::median(&whole)),
        "bare_ms": round2(report::median(&alone)),
        "overhead_ms": round2(report::median(&overhead)),
        "decode_ms": round2(report::median(&stages[0])),
        "prepare_ms": round2(report::median(&stages[1])),
        "infer_ms": round2(report::median(&stages[2])),
        "boxes_ms": round2(report::median(&stages[3])),
    }))
}

/// The runtime without anything of ours around it.
struct Bare {
    model: Model,
    options: RunOptions,
}

impl Bare {
    fn load(entry: &Entry, path: &Path, threads: usize) -> Result<Self> {
        let mut bytes = std::fs::read(path)?;
        if matches!(entry.input, letterbox::InputSize::Multiple { .. }) {
            bytes = onnx::with_free_size(&bytes)?;
        }
        let threads = match threads {
            0 => std::thread::available_parallelism()?.get(),
            some => some,
        };
        let pool = Arc::new(ThreadPool::with_num_threads(threads));
        let model = ModelOptions::with_all_ops()
            .prepack_weights(true)
            .load(bytes)?;
        Ok(Self {
            model,
            options: RunOptions::default().with_thread_pool(Some(pool)),
        })
    }

    fn run(&self, shape: [usize; 4], input: &[f32]) -> Result<Duration> {
        let input_id = *self
            .model
            .input_ids()
            .first()
            .context("the model has no input")?;
        let view = ValueView::from_shape(shape, input)?;
        let start = Instant::now();
        let outputs = self.model.run(
            vec![(input_id, view.into())],
            self.model.output_ids(),
            Some(self.options.clone()),
        )?;
        let time = start.elapsed();
        drop(outputs);
        Ok(time)
    }
}

/// The same model in Python's onnxruntime; nothing where that can't be imported or refuses it.
fn python(entry: &Entry, path: &Path) -> Option<Value> {
    let letterbox::InputSize::Fixed { width, height } = entry.input else {
        return None;
    };
    let script = format!(
        "import onnxruntime as o, numpy as n, time, sys\n\
         s = o.SessionOptions(); s.intra_op_num_threads = 1\n\
         m = o.InferenceSession(sys.argv[1], s, providers=['CPUExecutionProvider'])\n\
         x = {{m.get_inputs()[0].name: n.full((1, 3, {height}, {width}), 114, n.float32)}}\n\
         t = []\n\
         for _ in range({RUNS}):\n    a = time.perf_counter(); m.run(None, x); t.append(time.perf_counter() - a)\n\
         print(o.__version__, sorted(t)[len(t) // 2] * 1000)"
    );
    let output = Command::new("python3")
        .arg("-c")
        .arg(script)
        .arg(path)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let Some((version, time)) = text.trim().split_once(' ') else {
        eprintln!("python3 has no onnxruntime: left out");
        return None;
    };
    Some(json!({
        "model": entry.name,
        "runtime": format!("python onnxruntime {version}"),
        "threads": 1,
        "bare_ms": round2(time.parse().ok()?),
    }))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn round2(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
