//! `capture`: pictures a second from a camera, and processor time for each, of our own capture loop and
//! of `v4l2-ctl --stream-mmap` in turns. Runs where there is a camera; `cargo xtask bench capture`
//! brings one along, in its virtual machine.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use edgeflow_capture::camera::{Camera, Options, PixelFormat, Places, Poll, Wish};
use serde_json::json;

use crate::report;

const FRAMES: u32 = 300;
const PAIRS: usize = 5;
const SIZE: (u32, u32) = (640, 480);
const PATIENCE: Duration = Duration::from_secs(60);
/// Of /proc/PID/stat, everywhere on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// One run: pictures a second, and microseconds of processor time for each.
struct Run {
    fps: f64,
    cpu_us: f64,
    /// Of the pictures, the share that was not handed on because a newer one was there already.
    superseded: f64,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let device = args.first().map_or("/dev/video0", String::as_str);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        ours.push(edgeflow(device)?);
        theirs.push(v4l2_ctl(device)?);
    }
    let fps = |runs: &[Run]| median(runs, |run| run.fps);
    let cpu = |runs: &[Run]| median(runs, |run| run.cpu_us);
    let row = json!({
        "device": device,
        "frames": FRAMES,
        "fps": round(fps(&ours)),
        "v4l2_ctl_fps": round(fps(&theirs)),
        "fps_ratio": round(fps(&ours) / fps(&theirs)),
        "cpu_us_per_frame": round(cpu(&ours)),
        "v4l2_ctl_cpu_us_per_frame": round(cpu(&theirs)),
        "cpu_ratio": round(cpu(&ours) / cpu(&theirs)),
        "superseded": round(median(&ours, |run| run.superseded)),
    });
    report::print("capture", &[row]);
    Ok(())
}

/// The library under the node `camera`: newest picture first, copied out of the driver's memory.
fn edgeflow(device: &str) -> Result<Run> {
    let mut camera = Camera::new(Options {
        device: device.parse()?,
        wish: Wish {
            size: Some(SIZE),
            format: Some(PixelFormat::Yuyv),
            ..Wish::default()
        },
        controls: BTreeMap::new(),
        places: Places::default(),
    });
    next(&mut camera)?;
    // The newest is handed on; those before it were captured as well.
    let captured = |camera: &Camera| {
        let counters = camera.counters();
        (counters.pictures + counters.superseded, counters.superseded)
    };
    let before = captured(&camera);
    let (start, cpu) = (Instant::now(), cpu_seconds(Whose::Own)?);
    while captured(&camera).0 < before.0 + u64::from(FRAMES) {
        next(&mut camera)?;
    }
    let (time, cpu) = (start.elapsed(), cpu_seconds(Whose::Own)? - cpu);
    let after = captured(&camera);
    let superseded = (after.1 - before.1) as f64 / (after.0 - before.0) as f64;
    run_of(time, cpu, after.0 - before.0, superseded)
}

fn next(camera: &mut Camera) -> Result<()> {
    let start = Instant::now();
    while !matches!(camera.poll(Duration::from_millis(200)), Poll::Picture(_)) {
        ensure!(
            start.elapsed() < PATIENCE,
            "no picture: {:?}",
            camera.outage()
        );
    }
    Ok(())
}

/// The same pictures, written to nowhere.
fn v4l2_ctl(device: &str) -> Result<Run> {
    let (width, height) = SIZE;
    let start_up = v4l2_run(device, 1, width, height)?;
    let all = v4l2_run(device, FRAMES + 1, width, height)?;
    let (time, cpu) = (all.0.saturating_sub(start_up.0), all.1 - start_up.1);
    run_of(time, cpu, FRAMES.into(), 0.0)
}

fn v4l2_run(device: &str, frames: u32, width: u32, height: u32) -> Result<(Duration, f64)> {
    let (start, cpu) = (Instant::now(), cpu_seconds(Whose::Children)?);
    let status = Command::new("v4l2-ctl")
        .args(["-d", device])
        .arg(format!(
            "--set-fmt-video=width={width},height={height},pixelformat=YUYV"
        ))
        .args(["--stream-mmap=4", "--stream-to=/dev/null"])
        .arg(format!("--stream-count={frames}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("v4l2-ctl, of the package v4l-utils")?;
    ensure!(status.success(), "v4l2-ctl failed: {status}");
    Ok((start.elapsed(), cpu_seconds(Whose::Children)? - cpu))
}

fn run_of(time: Duration, cpu_seconds: f64, frames: u64, superseded: f64) -> Result<Run> {
    ensure!(!time.is_zero(), "no time passed");
    Ok(Run {
        fps: frames as f64 / time.as_secs_f64(),
        cpu_us: cpu_seconds * 1e6 / frames as f64,
        superseded,
    })
}

#[derive(Clone, Copy)]
enum Whose {
    Own,
    Children,
}

/// User and system time, of this process or of its children that have ended.
fn cpu_seconds(whose: Whose) -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    // The name in brackets may have blanks; what follows it begins with field 3.
    let (_, rest) = stat.rsplit_once(") ").context("/proc/self/stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let first = match whose {
        Whose::Own => 14 - 3,
        Whose::Children => 16 - 3,
    };
    let ticks: f64 = fields
        .get(first..first + 2)
        .context("/proc/self/stat")?
        .iter()
        .map(|field| field.parse().unwrap_or(0.0))
        .sum();
    Ok(ticks / TICKS_PER_SECOND)
}

fn median(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    report::median(&runs.iter().map(of).collect::<Vec<_>>())
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
