//! `pixels`: the path of a 720p picture through a node, step by step, with the code that the nodes use:
//! JPEG to RGB, to half the size, RGB to JPEG; and the same steps in OpenCV from Python, in turns.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use edgeflow_capture::encode;
use edgeflow_infer::image::{JpegReader, Picture};
use edgeflow_infer::prepare::Preparer;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::report;

/// Runs that are measured in each pair, after those that are not.
const RUNS: usize = 60;
const WARM_UP: usize = 10;
const PAIRS: usize = 5;
const QUALITY: u8 = 85;
const SCRIPT: &str = include_str!("../python/pixels.py");
const STEPS: [&str; 3] = ["decode", "resize", "encode"];

type Times = [Vec<f64>; STEPS.len()];

#[derive(Deserialize)]
struct Python {
    version: String,
    encoded_bytes: usize,
    decode_ms: Vec<f64>,
    resize_ms: Vec<f64>,
    encode_ms: Vec<f64>,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    if !args.is_empty() {
        bail!("usage: cargo xtask bench pixels");
    }
    let jpeg = picture()?;
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    let mut sizes = (0, 0);
    let mut version = String::new();
    for _ in 0..PAIRS {
        sizes.0 = steps(&jpeg, &mut ours)?;
        let python = python(&jpeg)?;
        sizes.1 = python.encoded_bytes;
        version = python.version;
        let all = [python.decode_ms, python.resize_ms, python.encode_ms];
        for (times, more) in theirs.iter_mut().zip(all) {
            times.extend(more);
        }
    }
    let mut rows: Vec<Value> = Vec::new();
    let mut sums = (0.0, 0.0);
    for (step, (ours, theirs)) in STEPS.iter().zip(ours.iter().zip(&theirs)) {
        let (ours, theirs) = (report::median(ours), report::median(theirs));
        sums = (sums.0 + ours, sums.1 + theirs);
        rows.push(row(step, ours, theirs));
    }
    let mut whole = row("all", sums.0, sums.1);
    whole["peer"] = version.into();
    whole["encoder"] = encode::encoder().into();
    whole["encoded_bytes"] = json!([sizes.0, sizes.1]);
    rows.push(whole);
    report::print("pixels", &rows);
    Ok(())
}

/// A picture of the demo's clip: a photo, 1280 x 720.
fn picture() -> Result<Vec<u8>> {
    let path = edgeflow_testkit::asset("quickstart.avi");
    let path = path.context("no clip at hand: run `cargo xtask demo` first")?;
    let clip = std::fs::read(path)?;
    // A chunk of a picture: its name, its length, its bytes.
    let name = b"00dc";
    let at = clip.windows(name.len()).position(|it| it == name);
    let rest = at.and_then(|at| clip.get(at + name.len()..));
    let (length, rest) = rest
        .and_then(|rest| rest.split_first_chunk::<4>())
        .context("no picture in the clip")?;
    let length = u32::from_le_bytes(*length) as usize;
    let jpeg = rest.get(..length).context("the clip is cut off")?;
    Ok(jpeg.to_vec())
}

/// `ratio`: how much longer the peer takes.
fn row(step: &str, ours: f64, theirs: f64) -> Value {
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    json!({
        "step": step,
        "ours_ms": round(ours),
        "opencv_ms": round(theirs),
        "ratio": round(theirs / ours),
    })
}

/// Times of each step; the size of the encoded picture.
fn steps(jpeg: &[u8], times: &mut Times) -> Result<usize> {
    let (mut reader, mut picture) = (JpegReader::new(), Picture::default());
    let mut resizer = Preparer::default();
    let mut encoded = Vec::new();
    for round in 0..WARM_UP + RUNS {
        let start = Instant::now();
        reader.read(jpeg, &mut picture)?;
        let decoded = Instant::now();
        resizer.resize(&picture, picture.width / 2, picture.height / 2)?;
        let resized = Instant::now();
        let (width, height) = (picture.width.try_into()?, picture.height.try_into()?);
        encoded = encode::rgb(&picture.rgb, width, height, QUALITY)?;
        let end = Instant::now();
        if round >= WARM_UP {
            let spans = [decoded - start, resized - decoded, end - resized];
            for (times, span) in times.iter_mut().zip(spans) {
                times.push(span.as_secs_f64() * 1000.0);
            }
        }
    }
    Ok(encoded.len())
}

/// The same with one thread, as ours.
fn python(jpeg: &[u8]) -> Result<Python> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("picture.jpg");
    std::fs::write(&path, jpeg)?;
    let output = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(path)
        .args(["1".to_owned(), RUNS.to_string(), WARM_UP.to_string()])
        .arg(QUALITY.to_string())
        .output()
        .context("starting python3")?;
    if !output.status.success() {
        bail!(
            "the Python side failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut lines = output.stdout.rsplit(|byte| *byte == b'\n');
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    serde_json::from_slice(line).context("what the Python side printed")
}
