//! The node processes of the integration and end-to-end tests; which one is a parameter.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edgeflow::{
    Codec, Context, Fact, Frame, FrameSet, FusedNode, Fusion, Input, Node, NodeError, Outputs,
    ParallelNode, Parameter, Policy, Source, Step,
};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(default)]
    fps: Option<f64>,
    /// The first number of a source.
    #[serde(default)]
    first: u32,
    /// How many numbers a source sends before it waits for ever.
    #[serde(default)]
    count: Option<u32>,
    /// Where a sink adds the number of each frame, a line each.
    #[serde(default)]
    append_to: Option<std::path::PathBuf>,
    /// A sink dies with the frame of this number.
    #[serde(default)]
    die_at: Option<u32>,
    /// Where a sink writes what it got.
    #[serde(default)]
    write_to: Option<std::path::PathBuf>,
    /// Sleep for every frame, milliseconds.
    #[serde(default)]
    sleep_ms: u64,
    /// Sleep in setup, milliseconds.
    #[serde(default)]
    setup_ms: u64,
    /// Fail: setup, loop, fatal, panic.
    #[serde(default)]
    fail: Option<String>,
    /// Sleep in the loop, milliseconds.
    #[serde(default)]
    busy_ms: u64,
}

fn parameters() -> Vec<Parameter> {
    vec![
        Parameter::number("fps", 0.01, 1000.0).live(),
        Parameter::integer("busy_ms", 0, 60_000).live().default(0),
        Parameter::text("fail").live(),
    ]
}

struct Numbers {
    fps: Option<f64>,
    next: u32,
    left: Option<u32>,
}

impl Source for Numbers {
    type Params = Params;

    fn parameters() -> Vec<Parameter> {
        parameters()
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        self.fps = params.fps;
        Ok(())
    }

    fn setup(_: &mut Context, params: Params) -> Result<Self, NodeError> {
        Ok(Self {
            fps: params.fps,
            next: params.first,
            left: params.count,
        })
    }

    fn fps(&self) -> Option<f64> {
        self.fps
    }

    fn produce(&mut self, out: &mut Outputs) -> Result<Step, NodeError> {
        if self.left == Some(0) {
            return Ok(Step::Wait(Duration::from_millis(100)));
        }
        self.left = self.left.map(|left| left - 1);
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

    fn parameters() -> Vec<Parameter> {
        parameters()
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        if params.fail.as_deref() == Some("change") {
            return Err(NodeError::new("no such mode"));
        }
        self.params = params;
        Ok(())
    }

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
        std::thread::sleep(Duration::from_millis(self.params.sleep_ms));
        std::thread::sleep(Duration::from_millis(self.params.busy_ms));
        let number = input.frame.payload.first_chunk().copied();
        let number = number.map_or(0, u32::from_le_bytes);
        if self.params.die_at == Some(number) {
            std::process::abort();
        }
        if let Some(path) = &self.params.append_to {
            let mut file = std::fs::OpenOptions::new();
            let mut file = file.append(true).create(true).open(path)?;
            // One write: a kill leaves no half line.
            file.write_all(format!("{number}\n").as_bytes())?;
        }
        out.send_to_all(&input.frame)
    }

    fn process_error(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        if let Some(path) = &self.params.write_to {
            // The test may read it at any time: whole or not at all.
            let written = path.with_extension("new");
            std::fs::write(
                &written,
                input.frame.read_meta()?.error().unwrap_or_default(),
            )?;
            std::fs::rename(written, path)?;
        }
        out.send_to_all(&input.frame)
    }

    fn teardown(&mut self) {
        // Shown to the test by a file; there is nobody to tell of a failure.
        let _ = std::fs::write(&self.torn_down, b"");
    }
}

/// Appends the number of every frame to a file.
struct Collect {
    file: std::fs::File,
    sleep: Duration,
}

fn append_to(params: &Params) -> Result<std::fs::File, NodeError> {
    let path = params.write_to.as_ref();
    let path = path.ok_or_else(|| NodeError::new("`write_to` is missing"))?;
    let mut options = std::fs::OpenOptions::new();
    Ok(options.create(true).append(true).open(path)?)
}

fn number(frame: &Frame) -> u32 {
    frame
        .payload
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

impl Node for Collect {
    type Params = Params;

    /// A line for a frame that failed upstream.
    fn process_error(&mut self, _: Input, _: &mut Outputs) -> Result<(), NodeError> {
        Ok(self.file.write_all(b"failed\n")?)
    }

    fn setup(_: &mut Context, params: Params) -> Result<Self, NodeError> {
        Ok(Self {
            file: append_to(&params)?,
            sleep: Duration::from_millis(params.sleep_ms),
        })
    }

    fn process(&mut self, input: Input, _: &mut Outputs) -> Result<(), NodeError> {
        std::thread::sleep(self.sleep);
        Ok(self
            .file
            .write_all(format!("{}\n", number(&input.frame)).as_bytes())?)
    }
}

/// Appends the numbers of every set to a file.
struct Join {
    file: std::fs::File,
    fusion: Fusion,
}

impl FusedNode for Join {
    type Params = Params;

    fn setup(ctx: &mut Context, params: Params) -> Result<Self, NodeError> {
        let mut fusion = Fusion::new("left", ctx.inputs());
        fusion.others.retain(|input| input != "left");
        fusion.policy = Policy::Exact;
        fusion.timeout = Duration::from_secs(5);
        Ok(Self {
            file: append_to(&params)?,
            fusion,
        })
    }

    fn fusion(&self) -> Fusion {
        self.fusion.clone()
    }

    fn fuse(&mut self, set: FrameSet, _: &mut Outputs) -> Result<(), NodeError> {
        let others = set.others().filter_map(|(_, frame)| frame).map(number);
        let numbers = std::iter::once(number(set.primary())).chain(others);
        let words: Vec<String> = numbers.map(|number| number.to_string()).collect();
        Ok(self
            .file
            .write_all(format!("{}\n", words.join(" ")).as_bytes())?)
    }
}

/// Passes frames on after sleeps of different lengths, four at a time, and shows how many there were
/// at a time.
struct Crew {
    sleep: Duration,
    fail: Option<String>,
    die_at: Option<u32>,
    most: Fact,
    most_seen: usize,
    torn_down: std::path::PathBuf,
}

struct Hand {
    sleep: Duration,
    fail: Option<String>,
    die_at: Option<u32>,
    at_work: Arc<AtomicUsize>,
}

impl ParallelNode for Crew {
    type Params = Params;
    type Worker = Hand;
    /// How many were at work.
    type Made = usize;

    fn setup(ctx: &mut Context, params: Params) -> Result<Self, NodeError> {
        Ok(Self {
            sleep: Duration::from_millis(params.sleep_ms),
            fail: params.fail,
            die_at: params.die_at,
            most: ctx.fact("at_once"),
            most_seen: 0,
            torn_down: ctx.state_dir().join("torn-down"),
        })
    }

    fn workers(&mut self) -> Result<Vec<Hand>, NodeError> {
        let at_work = Arc::new(AtomicUsize::new(0));
        let hand = || Hand {
            sleep: self.sleep,
            fail: self.fail.clone(),
            die_at: self.die_at,
            at_work: Arc::clone(&at_work),
        };
        Ok(std::iter::repeat_with(hand).take(4).collect())
    }

    fn work(hand: &mut Hand, input: &Input) -> Result<usize, NodeError> {
        let number = number(&input.frame);
        let at_work = hand.at_work.fetch_add(1, Ordering::Relaxed) + 1;
        if hand.die_at == Some(number) {
            std::process::abort();
        }
        // The first of four takes longest.
        std::thread::sleep(hand.sleep * (4 - number % 4));
        hand.at_work.fetch_sub(1, Ordering::Relaxed);
        match hand.fail.as_deref() {
            Some("panic") if number == 6 => panic!("a bug"),
            Some("loop") if number == 6 => Err(NodeError::new("bad picture")),
            _ => Ok(at_work),
        }
    }

    fn finish(&mut self, input: Input, made: usize, out: &mut Outputs) -> Result<(), NodeError> {
        self.most_seen = self.most_seen.max(made);
        self.most.set(self.most_seen.to_string());
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
        Some("collect") => edgeflow::run_node::<Collect>(),
        Some("crew") => edgeflow::run_parallel::<Crew>(),
        Some("join") => edgeflow::run_fused::<Join>(),
        _ => edgeflow::run_node::<Relay>(),
    }
}
