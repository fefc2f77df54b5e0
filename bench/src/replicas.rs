//! `replicas`: frames a second through 1, 2 and 4 replicas of a node that sleeps 50 ms for each,
//! over durable links into one ordered consumer, all real processes under a control plane and an
//! agent. The nodes are this program again.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use edgeflow::{
    Codec, Context as NodeContext, Frame, Input, NoParams, Node, NodeError, Outputs, Source, Step,
};
use edgeflow_testkit::{Fleet, until_within};
use serde_json::{Value, json};

use crate::report;

const REPLICAS: [u32; 3] = [1, 2, 4];
/// What the node sleeps for a frame.
const WORK: Duration = Duration::from_millis(50);
/// Frames before the measurement.
const WARM_UP: u64 = 40;
/// Length of a measurement.
const MEASURED_MS: i64 = 8_000;
const PATIENCE: Duration = Duration::from_secs(60);
const RUNS: usize = 3;
const PAYLOAD: usize = 50_000;

pub(crate) fn run(args: &[String]) -> Result<()> {
    match args {
        [] => measure(),
        [role, node] if role == "node" => {
            let code = match node.as_str() {
                "source" => edgeflow::run_source::<Flood>(),
                "work" => edgeflow::run_node::<Work>(),
                _ => edgeflow::run_node::<Sink>(),
            };
            if code == std::process::ExitCode::SUCCESS {
                return Ok(());
            }
            bail!("the node failed");
        }
        _ => bail!("usage: cargo xtask bench replicas"),
    }
}

fn measure() -> Result<()> {
    let mut rates = [const { Vec::new() }; REPLICAS.len()];
    for _ in 0..RUNS {
        for (replicas, rates) in REPLICAS.into_iter().zip(&mut rates) {
            rates.push(rate(replicas)?);
        }
    }
    let one = report::median(&rates[0]);
    let rows: Vec<Value> = REPLICAS
        .into_iter()
        .zip(&rates)
        .map(|(replicas, rates)| {
            let rate = report::median(rates);
            json!({
                "replicas": replicas,
                "frames_per_s": round(rate),
                "of_linear": round(rate / (one * f64::from(replicas))),
                "of_ideal": round(rate * WORK.as_secs_f64() / f64::from(replicas)),
                "runs": RUNS,
            })
        })
        .collect();
    report::print("replicas", &rows);
    Ok(())
}

/// Frames a second at the consumer.
fn rate(replicas: u32) -> Result<f64> {
    let fleet = Fleet::with_device()?;
    let system = fleet.apply_ready(&manifest(replicas)?)?;
    let counted = |least: u64, after_ms: i64| {
        until_within(PATIENCE, "frames at the consumer", || {
            let system = fleet.api.system(&system.name)?;
            let status = system.status.context("no status")?;
            let mut instances = status.instances.into_iter();
            let sink = instances.find(|it| it.node == "sink");
            let stats = sink.and_then(|it| it.stats).context("no statistics")?;
            let enough = stats.frames >= least && stats.at_unix_ms >= after_ms;
            Ok(enough.then_some((stats.frames, stats.at_unix_ms)))
        })
    };
    let (frames, at_ms) = counted(WARM_UP, 0)?;
    let (more, later_ms) = counted(frames, at_ms + MEASURED_MS)?;
    Ok((more - frames) as f64 * 1000.0 / (later_ms - at_ms) as f64)
}

fn manifest(replicas: u32) -> Result<String> {
    let program = std::env::current_exe()?;
    let program = program.display();
    Ok(format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata: {{name: scale}}
spec:
  nodes:
    source: {{run: [\"{program}\", replicas, node, source]}}
    work: {{run: [\"{program}\", replicas, node, work], replicas: {replicas}}}
    sink: {{run: [\"{program}\", replicas, node, sink], outputs: []}}
  links:
    - source -> work [durable]
    - work -> sink [durable, ordered]
"
    ))
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Frames as fast as they are taken.
struct Flood(Frame);

impl Source for Flood {
    type Params = NoParams;

    fn setup(_: &mut NodeContext, _: NoParams) -> Result<Self, NodeError> {
        Ok(Self(Frame::new(Codec::Bytes, vec![7; PAYLOAD])))
    }

    fn produce(&mut self, out: &mut Outputs) -> Result<Step, NodeError> {
        let frame = Frame::new(Codec::Bytes, self.0.payload.clone());
        out.send("out", frame)?;
        Ok(Step::Continue)
    }
}

/// Sleeps for every frame, as a node that waits for an accelerator does.
struct Work;

impl Node for Work {
    type Params = NoParams;

    fn setup(_: &mut NodeContext, _: NoParams) -> Result<Self, NodeError> {
        Ok(Self)
    }

    fn process(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        std::thread::sleep(WORK);
        out.send("out", input.frame)
    }
}

/// Takes everything.
struct Sink;

impl Node for Sink {
    type Params = NoParams;

    fn setup(_: &mut NodeContext, _: NoParams) -> Result<Self, NodeError> {
        Ok(Self)
    }

    fn process(&mut self, _: Input, _: &mut Outputs) -> Result<(), NodeError> {
        Ok(())
    }
}
