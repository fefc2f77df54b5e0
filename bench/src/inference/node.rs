//! Frames a second of the real `detect` node, a process under a control plane and an agent, with a
//! source that always has the next frame. The source is this program again.

use std::time::Duration;

use anyhow::{Result, bail};
use edgeflow::{Context, Frame, NoParams, NodeError, Outputs, Source, Step};
use edgeflow_testkit::{Fleet, until_within};

use super::{SIZE, test_picture};

/// Frames before the measurement.
const WARM_UP: u64 = 60;
/// Length of a measurement.
const MEASURED_MS: i64 = 6_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the source.
pub(super) fn source() -> Result<()> {
    let code = edgeflow::run_source::<Pictures>();
    if code == std::process::ExitCode::SUCCESS {
        return Ok(());
    }
    bail!("the node failed")
}

/// Frames a second with this many at a time, in ONNX Runtime on the CPU.
pub(super) fn rate(model: &str, parallel: usize) -> Result<f64> {
    let fleet = Fleet::with_device()?;
    let program = std::env::current_exe()?;
    let program = program.display();
    fleet.apply_ready(&format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata: {{name: inference}}
spec:
  tracing: {{sample: 0}}
  nodes:
    source: {{run: [\"{program}\", inference, source]}}
    detect: {{use: detect, with: {{model: {model}, provider: cpu, parallel: {parallel}}}}}
    log: {{use: log}}
  links:
    - source -> detect [durable]
    - detect -> log
"
    ))?;
    let counted = |wanted: &dyn Fn(u64, i64) -> bool| {
        until_within(PATIENCE, "frames of detect", || {
            let stats = fleet.instance("inference", "detect")?.stats;
            let stats = stats.unwrap_or_default();
            Ok(wanted(stats.frames, stats.at_unix_ms).then_some((stats.frames, stats.at_unix_ms)))
        })
    };
    let (before, began) = counted(&|frames, _| frames >= WARM_UP)?;
    let (after, ended) = counted(&|_, at| at >= began + MEASURED_MS)?;
    let seconds = (ended - began) as f64 / 1000.0;
    Ok((after - before) as f64 / seconds)
}

/// The same picture again and again.
struct Pictures(Frame);

impl Source for Pictures {
    type Params = NoParams;

    fn setup(_: &mut Context, _: NoParams) -> Result<Self, NodeError> {
        let jpeg = test_picture().map_err(|error| NodeError::new(error.to_string()))?;
        let (width, height) = SIZE;
        Ok(Self(Frame::jpeg(width, height, jpeg)))
    }

    fn produce(&mut self, out: &mut Outputs) -> Result<Step, NodeError> {
        let (width, height) = SIZE;
        let frame = Frame::jpeg(width, height, self.0.payload.clone());
        out.send("out", frame)?;
        Ok(Step::Continue)
    }
}
