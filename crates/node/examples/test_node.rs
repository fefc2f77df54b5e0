//! The node processes of the integration tests; which one is a parameter.

use std::process::ExitCode;
use std::time::Duration;

use edgeflow::{Codec, Context, Frame, Input, Node, NodeError, Outputs, Source, Step};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(default)]
    fps: Option<f64>,
    /// Where a sink writes what it got.
    #[serde(default)]
    write_to: Option<std::path::PathBuf>,
    /// Sleep in setup, milliseconds.
    #[serde(default)]
    setup_ms: u64,
    /// Fail: setup, loop, fatal, panic.
    #[serde(default)]
    fail: Option<String>,
}

struct Numbers {
    fps: Option<f64>,
    next: u32,
}

impl Source for Numbers {
    type Params = Params;

    fn setup(_: &mut Context, params: Params) -> Result<Self, NodeError> {
        Ok(Self {
            fps: params.fps,
            next: 0,
        })
    }

    fn fps(&self) -> Option<f64> {
        self.fps
    }

    fn produce(&mut self, out: &mut Outputs) -> Result<Step, NodeError> {
        self.next += 1;
        let payload = self.next.to_le_bytes().to_vec();
        out.send("out", Frame::new(Codec::Bytes, payload))?;
        Ok(Step::Continue)
    }
}

struct Relay {
    params: Params,
    torn_down: std::path::PathBuf,
}

impl Node for Relay {
    type Params = Params;

    fn setup(ctx: &mut Context, params: Params) -> Result<Self, NodeError> {
        ctx.stop().sleep(Duration::from_millis(params.setup_ms));
        if params.fail.as_deref() == Some("setup") {
            let error = std::io::Error::other("no such model");
            return Err(NodeError::from(error).context("loading the model"));
        }
        ctx.condition().set("only a test");
        Ok(Self {
            params,
            torn_down: ctx.state_dir().join("torn-down"),
        })
    }

    fn process(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        match self.params.fail.as_deref() {
            Some("loop") => return Err(NodeError::new("bad picture")),
            Some("fatal") => return Err(NodeError::new("device gone").fatal()),
            Some("panic") => panic!("a bug"),
            _ => {}
        }
        out.send_to_all(&input.frame)
    }

    fn process_error(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        if let Some(path) = &self.params.write_to {
            std::fs::write(path, input.frame.read_meta()?.error().unwrap_or_default())?;
        }
        out.send_to_all(&input.frame)
    }

    fn teardown(&mut self) {
        // Shown to the test by a file; there is nobody to tell of a failure.
        let _ = std::fs::write(&self.torn_down, b"");
    }
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("numbers") => edgeflow::run_source::<Numbers>(),
        _ => edgeflow::run_node::<Relay>(),
    }
}
