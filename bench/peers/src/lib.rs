//! What the programs of this workspace share: their arguments, the pace, the clocks, and the line that
//! they end with. The work is that of `bench/src/hop.rs`: payloads of one size at one rate from one
//! process to another, the time of sending in their first bytes.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// How long a side waits for the other.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Where the time of sending is.
const STAMP: usize = 8;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Work {
    pub bytes: usize,
    pub per_second: u32,
    pub frames: u32,
    /// The payload is written where the receiver reads it, and sending begins after that. Else it is
    /// somewhere else, and sending begins before it is copied.
    pub in_place: bool,
}

impl Work {
    /// From `BYTES PER_SECOND FRAMES copied|in-place`.
    pub fn parse(args: &[String]) -> Result<Self> {
        let [bytes, per_second, frames, payload] = args else {
            anyhow::bail!("usage: PROGRAM BYTES PER_SECOND FRAMES copied|in-place");
        };
        let work = Self {
            bytes: bytes.parse()?,
            per_second: per_second.parse()?,
            frames: frames.parse()?,
            in_place: payload == "in-place",
        };
        ensure!(work.bytes >= STAMP, "too small for the time of sending");
        Ok(work)
    }

    pub fn args(&self) -> [String; 4] {
        let payload = if self.in_place { "in-place" } else { "copied" };
        [
            self.bytes.to_string(),
            self.per_second.to_string(),
            self.frames.to_string(),
            payload.to_owned(),
        ]
    }

    /// Calls `send` at the rate, without drift.
    pub fn pace(&self, mut send: impl FnMut() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        for index in 0..self.frames {
            let due = start + Duration::from_secs(1) * index / self.per_second;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            send()?;
        }
        Ok(())
    }
}

/// Writes the time of sending into a payload.
pub fn stamp(payload: &mut [u8]) {
    payload[..STAMP].copy_from_slice(&monotonic_ns().to_le_bytes());
}

/// Microseconds since a payload was stamped.
pub fn age_us(payload: &[u8]) -> Option<f64> {
    let sent = u64::from_le_bytes(*payload.first_chunk::<STAMP>()?);
    Some(monotonic_ns().saturating_sub(sent) as f64 / 1e3)
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Time of this process on a processor so far.
pub fn cpu_us() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

/// The receiving process: this program again. It prints `ready`, and a line of JSON at its end.
pub struct Receiver {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Receiver {
    /// Returns when it is ready.
    pub fn start(role: &str, more: &[&str], work: &Work) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .args(more)
            .args(work.args())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the receiving process")?;
        let stdout = child.stdout.take().context("no pipe to the receiver")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next().context("the receiver ended early")??;
        ensure!(first == "ready", "the receiver says `{first}`");
        Ok(Self { child, lines })
    }

    /// Whether it still takes frames.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Prints what both sides have measured.
    pub fn finish(mut self, sender_cpu_us: f64) -> Result<()> {
        let line = self.lines.next().context("the receiver ended early")??;
        self.child.wait()?;
        let mut result: Value = serde_json::from_str(&line)?;
        let cpu = result["cpu_us"].as_f64().context("no figures")?;
        result["cpu_us"] = json!(cpu + sender_cpu_us);
        println!("{result}");
        Ok(())
    }
}

/// What the receiving process ends with.
pub fn report(hops_us: &[f64], cpu_us: f64) {
    println!("{}", json!({"hops_us": hops_us, "cpu_us": cpu_us}));
}
