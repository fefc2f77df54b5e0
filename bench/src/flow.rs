//! `durable` and `realtime`: what the qualities of service promise, with real node processes under a
//! control plane and an agent, over shared memory. The nodes are this program again.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use edgeflow::{
    Codec, Context as NodeContext, Frame, Input, Node, NodeError, Outputs, Source, Step, clock,
};
use edgeflow_testkit::{Fleet, kill, until_within};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{footprint::pss_mib, report};

/// Bytes of a VGA picture in RGB.
const VGA: usize = 640 * 480 * 3;
const FRAMES: u32 = 1_500;
const DURABLE_FPS: u32 = 150;
/// What the durable consumer takes for a frame: 50 a second.
const DURABLE_WORK_MS: u64 = 20;
const KILLS: usize = 5;
const WINDOW: usize = 64;
/// The realtime consumer is ten times too slow.
const REALTIME_FPS: u32 = 100;
const REALTIME_WORK_MS: u64 = 100;
const REALTIME_FOR: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs one of this program's nodes.
pub(crate) fn node(args: &[String]) -> Result<()> {
    let code = match args {
        [kind] if kind == "source" => edgeflow::run_source::<Numbers>(),
        [kind] if kind == "sink" => edgeflow::run_node::<Sink>(),
        _ => bail!("for benchmarks only"),
    };
    if code == std::process::ExitCode::SUCCESS {
        return Ok(());
    }
    bail!("the node failed")
}

/// Every frame, in order, through a consumer that is three times too slow; again with kills.
pub(crate) fn durable(_: &[String]) -> Result<()> {
    let mut rows = Vec::new();
    for kills in [0, KILLS] {
        rows.push(run_durable(kills)?);
    }
    report::print("durable", &rows);
    Ok(())
}

fn run_durable(kills: usize) -> Result<Value> {
    let fleet = Fleet::with_device()?;
    let written = fleet.home().join("seen");
    let manifest = manifest("durable", DURABLE_FPS, FRAMES, DURABLE_WORK_MS, &written)?;
    fleet.apply_ready(&manifest)?;
    let start = Instant::now();
    let count = |at_least: usize| {
        until_within(PATIENCE, "frames at the consumer", || {
            let unique: BTreeSet<u32> = read(&written).into_iter().map(|(n, _)| n).collect();
            Ok((unique.len() >= at_least).then_some(()))
        })
    };
    for n in 1..=kills {
        count(FRAMES as usize * n / (kills + 1))?;
        kill(fleet.instance("flow", "sink")?.pid)?;
    }
    count(FRAMES as usize)?;
    let seconds = start.elapsed().as_secs_f64();
    let numbers: Vec<u32> = read(&written).into_iter().map(|(n, _)| n).collect();
    let unique: BTreeSet<u32> = numbers.iter().copied().collect();
    let mut first: Vec<u32> = Vec::new();
    let mut seen = BTreeSet::new();
    first.extend(numbers.iter().filter(|n| seen.insert(**n)));
    Ok(json!({
        "kills": kills,
        "sent": FRAMES,
        "processed": unique.len(),
        "in_order": first.is_sorted(),
        "repeated": numbers.len() - unique.len(),
        "window": WINDOW,
        "seconds": round(seconds),
    }))
}

/// The age of frames at the loop of a consumer that is ten times too slow, and memory meanwhile.
pub(crate) fn realtime(_: &[String]) -> Result<()> {
    let fleet = Fleet::with_device()?;
    let written = fleet.home().join("seen");
    let manifest = manifest(
        "realtime",
        REALTIME_FPS,
        u32::MAX,
        REALTIME_WORK_MS,
        &written,
    )?;
    fleet.apply_ready(&manifest)?;
    let pids = ["source", "sink"].map(|node| fleet.instance("flow", node).map(|one| one.pid));
    let memory = || -> Result<Vec<f64>> {
        pids.iter()
            .map(|pid| pss_mib(*pid.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?))
            .collect()
    };
    wait(SETTLE)?;
    let before = memory()?;
    let skip = read(&written).len();
    wait(REALTIME_FOR)?;
    let after = memory()?;
    let ages: Vec<f64> = read(&written)[skip..]
        .iter()
        .map(|(_, age_us)| *age_us as f64 / 1000.0)
        .collect();
    let goal = 1000.0 / f64::from(REALTIME_FPS) + REALTIME_WORK_MS as f64;
    let rows = [json!({
        "frames": ages.len(),
        "age_p50_ms": round(report::median(&ages)),
        "age_p99_ms": round(report::percentile(&ages, 99.0)),
        "age_max_ms": round(report::percentile(&ages, 100.0)),
        "goal_p99_ms": goal,
        "source_pss_mib": [round(before[0]), round(after[0])],
        "sink_pss_mib": [round(before[1]), round(after[1])],
    })];
    report::print("realtime", &rows);
    Ok(())
}

fn wait(time: Duration) -> Result<()> {
    let start = Instant::now();
    until_within(time * 2, "time to pass", || {
        Ok((start.elapsed() >= time).then_some(()))
    })
}

fn manifest(qos: &str, fps: u32, count: u32, work_ms: u64, written: &Path) -> Result<String> {
    let program = std::env::current_exe()?;
    let (program, written) = (program.display(), written.display());
    Ok(format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata: {{name: flow}}
spec:
  tracing: {{sample: 0}}
  nodes:
    source: {{run: [\"{program}\", flow-node, source], with: {{fps: {fps}, count: {count}}}}}
    sink:
      run: [\"{program}\", flow-node, sink]
      outputs: []
      with: {{work_ms: {work_ms}, write_to: \"{written}\"}}
  links:
    - source -> sink [{qos}]
"
    ))
}

/// Number and age at the loop, microseconds, of each frame in the order of processing.
fn read(written: &Path) -> Vec<(u32, u64)> {
    let text = fs::read_to_string(written).unwrap_or_default();
    let parse = |line: &str| {
        let (number, age) = line.split_once(' ')?;
        Some((number.parse().ok()?, age.parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[derive(Deserialize)]
struct SourceParams {
    fps: u32,
    count: u32,
}

/// Numbered pictures.
struct Numbers {
    fps: u32,
    next: u32,
    count: u32,
}

impl Source for Numbers {
    type Params = SourceParams;

    fn setup(_: &mut NodeContext, params: SourceParams) -> Result<Self, NodeError> {
        Ok(Self {
            fps: params.fps,
            next: 0,
            count: params.count,
        })
    }

    fn fps(&self) -> Option<f64> {
        Some(f64::from(self.fps))
    }

    fn produce(&mut self, out: &mut Outputs) -> Result<Step, NodeError> {
        if self.next == self.count {
            return Ok(Step::Wait(Duration::from_millis(100)));
        }
        self.next += 1;
        let mut payload = vec![7; VGA];
        payload[..4].copy_from_slice(&self.next.to_le_bytes());
        out.send("out", Frame::new(Codec::Bytes, payload))?;
        Ok(Step::Continue)
    }
}

#[derive(Deserialize)]
struct SinkParams {
    work_ms: u64,
    write_to: PathBuf,
}

/// Takes its time, and then writes down what it has processed and how old it was before.
struct Sink {
    work: Duration,
    file: fs::File,
}

impl Node for Sink {
    type Params = SinkParams;

    fn setup(_: &mut NodeContext, params: SinkParams) -> Result<Self, NodeError> {
        let mut options = fs::OpenOptions::new();
        Ok(Self {
            work: Duration::from_millis(params.work_ms),
            file: options.create(true).append(true).open(&params.write_to)?,
        })
    }

    fn process(&mut self, input: Input, _: &mut Outputs) -> Result<(), NodeError> {
        let captured = input.frame.header.capture_mono_ns;
        let age_us = clock::monotonic_ns().saturating_sub(captured) / 1000;
        let number = input.frame.payload.first_chunk().copied();
        let number = number.map_or(0, u32::from_le_bytes);
        std::thread::sleep(self.work);
        // One write: a kill leaves no half line.
        Ok(self
            .file
            .write_all(format!("{number} {age_us}\n").as_bytes())?)
    }
}
