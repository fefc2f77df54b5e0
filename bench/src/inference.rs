//! `inference`: what `detect` costs over the bare runtime on the same model and picture, stage by
//! stage, in both runtimes; and frames a second of the real node beside the same steps in Python
//! with onnxruntime and OpenCV.
//!
//! Models come from the folders in `EDGEFLOW_TEST_ASSETS`, or from what `cargo xtask demo` has
//! fetched; ONNX Runtime's library from `EDGEFLOW_TEST_ONNXRUNTIME`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edgeflow_infer::{Coded, Detector, LoadOptions, Options, Provider};
use edgeflow_model::{Entry, Family, InputSize, catalogue, onnx};
use serde_json::{Map, Value, json};

use crate::report;

mod bare;
mod node;

/// Runs that are measured in each of the [`PAIRS`], after [`WARM_UP`] that are not.
const RUNS: usize = 30;
const WARM_UP: usize = 5;
/// How often ours and Python's take turns.
const PAIRS: usize = 5;
/// Size of the picture.
const SIZE: (u16, u16) = (1280, 720);
const QUALITY: u8 = 85;
const SCRIPT: &str = include_str!("../python/detect.py");

pub(crate) fn run(args: &[String]) -> Result<()> {
    match args {
        [] => measure(),
        [role] if role == "source" => node::source(),
        _ => bail!("usage: cargo xtask bench inference"),
    }
}

fn measure() -> Result<()> {
    let dirs = asset_dirs();
    let jpeg = test_picture()?;
    let mut rows = Vec::new();
    let detectors = catalogue()
        .iter()
        .filter(|entry| entry.family != Family::Classes);
    for entry in detectors {
        let Some(path) = dirs
            .iter()
            .map(|dir| dir.join(&entry.file))
            .find(|path| path.is_file())
        else {
            eprintln!("{} is not in {dirs:?}: left out", entry.file);
            continue;
        };
        for provider in [Provider::Rten, Provider::Cpu] {
            for threads in [1, cores()?] {
                let job = Job {
                    entry,
                    path: &path,
                    options: options(provider, threads),
                    jpeg: &jpeg,
                };
                rows.push(job.measure(&dirs)?);
            }
        }
    }
    if rows.is_empty() {
        bail!("no model at hand: set EDGEFLOW_TEST_ASSETS, or run `cargo xtask demo` first");
    }
    report::print("inference", &rows);
    Ok(())
}

fn cores() -> Result<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

fn options(provider: Provider, threads: usize) -> LoadOptions {
    let dir = std::env::var_os("EDGEFLOW_TEST_ONNXRUNTIME");
    LoadOptions {
        provider,
        threads,
        library_dirs: dir.map(PathBuf::from).into_iter().collect(),
        ..LoadOptions::default()
    }
}

fn asset_dirs() -> Vec<PathBuf> {
    let named = std::env::var_os("EDGEFLOW_TEST_ASSETS").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&named).collect();
    dirs.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/demo/assets"));
    dirs
}

/// A test card: what it shows does not matter for the time that a model takes.
fn test_picture() -> Result<Vec<u8>> {
    let mut card = edgeflow_capture::pattern::TestCard::new(SIZE.0, SIZE.1, QUALITY)?;
    Ok(card.jpeg(1, 0)?)
}

/// One model in one runtime.
struct Job<'a> {
    entry: &'static Entry,
    path: &'a Path,
    options: LoadOptions,
    jpeg: &'a [u8],
}

impl Job<'_> {
    fn measure(&self, dirs: &[PathBuf]) -> Result<Value> {
        let options = Options {
            runtime: self.options.clone(),
            ..Options::default()
        };
        let mut detector = Detector::load(&self.entry.name, dirs, &options)?;
        let mut bytes = std::fs::read(self.path)?;
        if matches!(self.entry.input, InputSize::Multiple { .. }) {
            bytes = onnx::with_free_size(&bytes)?;
        }
        let mut bare = bare::load(&bytes, &self.options)?;
        let (mut whole, mut alone, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        let mut pythons = Vec::new();
        let mut node = [const { Vec::new() }; 2];
        let mut stages = [const { Vec::new() }; 4];
        for _ in 0..PAIRS {
            for round in 0..WARM_UP + RUNS {
                // Turn by turn, so that both meet the same machine.
                let start = Instant::now();
                detector.detect_coded(&Coded::Jpeg(self.jpeg))?;
                let total = start.elapsed();
                let (shape, input) = detector.model().last_input();
                let runtime = bare.run(shape, input)?;
                if round >= WARM_UP {
                    let timings = detector.timings();
                    whole.push(ms(total));
                    alone.push(ms(runtime));
                    theirs.push(ms(timings.infer) - ms(runtime));
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
            if self.options.provider == Provider::Cpu
                && let Some(python) = self.python()?
            {
                pythons.push(python);
                if self.options.threads == cores()? {
                    for (parallel, rates) in [1, cores()?].into_iter().zip(&mut node) {
                        rates.push(node::rate(&self.entry.name, parallel)?);
                    }
                }
            }
        }
        let detect = report::median(&whole);
        let bare_ms = report::median(&alone);
        let mut row = json!({
            "model": self.entry.name,
            "runtime": detector.model().runtime(),
            "threads": self.options.threads,
            "picture": format!("{}x{}", SIZE.0, SIZE.1),
            "detect_ms": round2(detect),
            "bare_ms": round2(bare_ms),
            "infer_over_bare_percent": round2(report::median(&theirs) / bare_ms * 100.0),
            "decode_ms": round2(report::median(&stages[0])),
            "prepare_ms": round2(report::median(&stages[1])),
            "infer_ms": round2(report::median(&stages[2])),
            "boxes_ms": round2(report::median(&stages[3])),
        });
        if let Some(row) = row.as_object_mut() {
            row.extend(self.beside(&pythons, &node));
        }
        Ok(row)
    }

    /// Ours and Python's, where that was measured.
    fn beside(&self, pythons: &[Python], node: &[Vec<f64>; 2]) -> Map<String, Value> {
        let mut row = Map::new();
        let Some(first) = pythons.first() else {
            return row;
        };
        let all = |get: fn(&Python) -> &[f64]| {
            let times: Vec<f64> = pythons.iter().flat_map(get).copied().collect();
            report::median(&times)
        };
        let whole = all(|python| &python.whole_ms);
        let mut put = |key: &str, value: Value| row.insert(key.to_owned(), value);
        put("python", first.versions.as_str().into());
        put("python_ms", round2(whole).into());
        put("python_run_ms", round2(all(|python| &python.run_ms)).into());
        let keys = ["node_one_at_a_time", "node"];
        for (key, rates) in keys.into_iter().zip(node) {
            if !rates.is_empty() {
                let rate = report::median(rates);
                let of_python = round2(rate * whole / 1000.0);
                put(&format!("{key}_frames_per_s"), round2(rate).into());
                put(&format!("{key}_throughput_of_python"), of_python.into());
            }
        }
        row
    }

    /// The same steps in Python; `None` for a model that the script does not know, or without the
    /// packages.
    fn python(&self) -> Result<Option<Python>> {
        if self.entry.family.name() != "yolox" {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let jpeg = dir.path().join("picture.jpg");
        std::fs::write(&jpeg, self.jpeg)?;
        let output = Command::new("python3")
            .args(["-c", SCRIPT])
            .arg(self.path)
            .arg(jpeg)
            .arg(self.options.threads.to_string())
            .args([RUNS.to_string(), WARM_UP.to_string()])
            .output()
            .context("starting python3")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            eprintln!(
                "note: without Python: {}",
                text.lines().last().unwrap_or_default()
            );
            return Ok(None);
        }
        let line = output
            .stdout
            .rsplit(|byte| *byte == b'\n')
            .find(|it| !it.is_empty());
        Ok(Some(serde_json::from_slice(line.unwrap_or_default())?))
    }
}

/// What the script prints.
#[derive(serde::Deserialize)]
struct Python {
    versions: String,
    whole_ms: Vec<f64>,
    run_ms: Vec<f64>,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn round2(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
