//! `hop`: one frame from process to process over a realtime link, paced, and flat out over a
//! durable one, with payloads in shared memory, without, and between devices through two agents' ends;
//! next to it a bare Unix socket and bare shared memory, written here, as references of what the machine
//! can do. The other processes are this program again.

mod reference;
mod relays;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::transport::shm::SharedMemory;
use edgeflow_stream::transport::unix::{UnixDial, UnixListen};
use edgeflow_stream::{
    Codec, Frame, GroupConfig, InputConfig, Limits, Publisher, PublisherConfig, Subscriber,
    SubscriberConfig, clock,
};
use serde_json::{Map, Value, json};

use crate::report;
use relays::Relays;

const KB: usize = 1000;
/// Payload bytes, paced frames a second, frames a run, frames flat out.
pub(crate) const CASES: [Case; 4] = [
    Case::new("1 kB", KB, 200, 400, 100_000),
    Case::new("50 kB", 50 * KB, 200, 400, 20_000),
    Case::new("900 kB", 900 * KB, 200, 400, 2_000),
    Case::new("6 MB", 6_000 * KB, 30, 90, 200),
];
const RUNS: usize = 5;
const LINK: &str = "bench->peer";
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a payload is before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// In memory of the sender: it has to be copied.
    Copied,
    /// Where the receiver will read it; writing it there is not a part of sending.
    InPlace,
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) bytes: usize,
    pub(crate) per_second: u32,
    paced: u32,
    flat_out: u32,
}

impl Case {
    const fn new(
        name: &'static str,
        bytes: usize,
        per_second: u32,
        paced: u32,
        flat_out: u32,
    ) -> Self {
        Self {
            name,
            bytes,
            per_second,
            paced,
            flat_out,
        }
    }

    /// What a program of `bench/peers` is told: bytes, frames a second, frames, where the payload is.
    pub(crate) fn work(&self, payload: Payload) -> [String; 4] {
        let payload = match payload {
            Payload::Copied => "copied",
            Payload::InPlace => "in-place",
        };
        [
            self.bytes.to_string(),
            self.per_second.to_string(),
            self.paced.to_string(),
            payload.to_owned(),
        ]
    }
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    match args {
        [] => measure(),
        [role, rest @ ..] if role == "peer" => peer(rest),
        [role, rest @ ..] if role == "relay" => relays::serve(rest),
        _ => bail!("usage: cargo xtask bench hop"),
    }
}

fn measure() -> Result<()> {
    let mut rows = Vec::new();
    for case in &CASES {
        let mut link = Samples::default();
        let mut in_place = Samples::default();
        let mut socket = Samples::default();
        let mut tcp = Samples::default();
        let mut bare = Samples::default();
        let mut memory = Samples::default();
        // In turns, so that a busy moment of the machine hits all.
        for _ in 0..RUNS {
            let shared = || Some(SharedMemory::default());
            link.add(&paced_link(case, shared(), Payload::Copied)?);
            in_place.add(&paced_link(case, shared(), Payload::InPlace)?);
            memory.add(&reference::paced(case)?);
            socket.add(&paced_link(case, None, Payload::Copied)?);
            bare.add(&paced_bare(case)?);
            link.rate.push(flat_out(case, shared())?);
            memory.rate.push(reference::flat_out(case)?);
            socket.rate.push(flat_out(case, None)?);
            tcp.add(&paced_tcp(case)?);
            tcp.rate.push(flat_out_tcp(case)?);
        }
        let mut row = Map::new();
        row.insert("payload".to_owned(), case.name.into());
        row.insert("paced_per_s".to_owned(), case.per_second.into());
        link.write("", "durable_frames_per_s", &mut row);
        in_place.write("in_place_", "", &mut row);
        socket.write("socket_", "durable_frames_per_s", &mut row);
        tcp.write("tcp_", "durable_frames_per_s", &mut row);
        bare.write("bare_socket_", "frames_per_s", &mut row);
        memory.write("reference_", "frames_per_s", &mut row);
        link.compare(&memory, "reference", &mut row);
        row.insert("runs".to_owned(), RUNS.into());
        rows.push(Value::Object(row));
    }
    report::print("hop", &rows);
    Ok(())
}

/// One figure a run.
#[derive(Default)]
pub(crate) struct Samples {
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
    /// Frames a second flat out, where that is measured.
    rate: Vec<f64>,
}

impl Samples {
    pub(crate) fn add(&mut self, run: &Run) {
        self.p50.push(report::percentile(&run.hops_us, 50.0));
        self.p99.push(report::percentile(&run.hops_us, 99.0));
        self.cpu.push(run.cpu_us / run.hops_us.len().max(1) as f64);
    }

    /// The medians, each name with `prefix`.
    pub(crate) fn write(&self, prefix: &str, rate: &str, row: &mut Map<String, Value>) {
        let figures = [
            ("p50_us", &self.p50),
            ("p99_us", &self.p99),
            ("cpu_us_per_frame", &self.cpu),
            (rate, &self.rate),
        ];
        for (name, values) in figures.into_iter().filter(|(_, values)| !values.is_empty()) {
            let figure = report::median(values).round();
            row.insert(format!("{prefix}{name}"), figure.into());
        }
    }

    /// Our medians as multiples of another's.
    pub(crate) fn compare(&self, other: &Self, name: &str, row: &mut Map<String, Value>) {
        let figures = [
            ("p50", &self.p50, &other.p50),
            ("p99", &self.p99, &other.p99),
            ("cpu", &self.cpu, &other.cpu),
            ("rate", &self.rate, &other.rate),
        ];
        for (what, ours, theirs) in figures {
            let (ours, theirs) = (report::median(ours), report::median(theirs));
            if theirs > 0.0 {
                let ratio = (ours / theirs * 100.0).round() / 100.0;
                row.insert(format!("{what}_of_{name}"), ratio.into());
            }
        }
    }
}

pub(crate) struct Run {
    hops_us: Vec<f64>,
    /// Of both processes together.
    cpu_us: f64,
}

impl Run {
    /// Of hops and the time on processors of both ends, in microseconds.
    pub(crate) fn new(hops_us: Vec<f64>, cpu_us: f64) -> Self {
        Self { hops_us, cpu_us }
    }

    /// The share of a case's paced frames that arrived.
    pub(crate) fn arrived(&self, case: &Case) -> f64 {
        self.hops_us.len() as f64 / f64::from(case.paced)
    }

    /// From the line of JSON of a receiving process.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let result: Value = serde_json::from_str(line)?;
        let hops = result["hops_us"].as_array().context("no figures")?;
        Ok(Self {
            hops_us: hops.iter().filter_map(Value::as_f64).collect(),
            cpu_us: result["cpu_us"].as_f64().unwrap_or_default(),
        })
    }
}

/// The receiving process. It prints `ready`, then one line of JSON when it has everything.
struct Peer {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Peer {
    fn start(role: &str, path: &Path, frames: u32) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hop", "peer", role])
            .arg(path)
            .arg(frames.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the receiving process")?;
        let stdout = child.stdout.take().context("no pipe to the peer")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, lines })
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().context("the peer ended early")??)
    }

    fn finish(mut self) -> Result<Run> {
        let run = Run::parse(&self.line()?)?;
        self.child.wait()?;
        Ok(run)
    }
}

pub(crate) fn paced_link(
    case: &Case,
    memory: Option<SharedMemory>,
    payload: Payload,
) -> Result<Run> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("link");
    let publisher = open(&path, &LinkQos::realtime(), memory)?;
    let peer = Peer::start("realtime", &path, case.paced)?;
    paced(case, &publisher, peer, payload)
}

fn paced_tcp(case: &Case) -> Result<Run> {
    let relays = Relays::start()?;
    let publisher = open(&relays.output()?, &LinkQos::realtime(), None)?;
    let peer = Peer::start("realtime-far", &relays.relay()?, case.paced)?;
    let before = relays.cpu_us();
    let mut run = paced(case, &publisher, peer, Payload::Copied)?;
    run.cpu_us += relays.cpu_us() - before;
    Ok(run)
}

fn paced(case: &Case, publisher: &Publisher, mut peer: Peer, payload: Payload) -> Result<Run> {
    peer.line()?;
    let frame = Frame::new(Codec::Bytes, vec![7; case.bytes]);
    let cpu = cpu_us();
    pace(case, |_| {
        let mut next = frame.clone();
        if payload == Payload::InPlace {
            let mut buffer = publisher.buffer(case.bytes);
            buffer.copy_from_slice(&frame.payload);
            next.payload = buffer.into();
        }
        publisher.send(next)?;
        Ok(())
    })?;
    let mut run = finish_paced(publisher, &frame, peer)?;
    run.cpu_us += cpu_us() - cpu;
    Ok(run)
}

/// A paced frame may be superseded when the machine stalls: fills up until the peer has its count.
fn finish_paced(publisher: &Publisher, frame: &Frame, mut peer: Peer) -> Result<Run> {
    let start = Instant::now();
    while peer.child.try_wait()?.is_none() {
        if start.elapsed() > PATIENCE {
            peer.child.kill()?;
            bail!("the peer does not get its frames");
        }
        std::thread::sleep(Duration::from_millis(5));
        publisher.send(frame.clone())?;
    }
    peer.finish()
}

fn flat_out(case: &Case, memory: Option<SharedMemory>) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("link");
    let publisher = open(&path, &LinkQos::durable(), memory)?;
    let peer = Peer::start("durable", &path, case.flat_out)?;
    send_flat_out(case, publisher, peer)
}

fn flat_out_tcp(case: &Case) -> Result<f64> {
    let relays = Relays::start()?;
    let publisher = open(&relays.output()?, &LinkQos::durable(), None)?;
    let peer = Peer::start("durable-far", &relays.relay()?, case.flat_out)?;
    send_flat_out(case, publisher, peer)
}

fn send_flat_out(case: &Case, publisher: Publisher, mut peer: Peer) -> Result<f64> {
    peer.line()?;
    let frame = Frame::new(Codec::Bytes, vec![7; case.bytes]);
    let start = Instant::now();
    for _ in 0..case.flat_out {
        publisher.send(frame.clone())?;
    }
    publisher.close(PATIENCE);
    let elapsed = start.elapsed();
    let run = peer.finish()?;
    if run.hops_us.len() != case.flat_out as usize {
        bail!("{} of {} frames arrived", run.hops_us.len(), case.flat_out);
    }
    Ok(f64::from(case.flat_out) / elapsed.as_secs_f64())
}

fn open(path: &Path, qos: &LinkQos, memory: Option<SharedMemory>) -> Result<Publisher> {
    let config = PublisherConfig {
        name: "bench/out".to_owned(),
        groups: vec![GroupConfig {
            link: LINK.to_owned(),
            group: "peer".to_owned(),
            qos: qos.clone(),
        }],
        limits: Limits::default(),
        shared_memory: memory,
    };
    Ok(Publisher::new(config, Box::new(UnixListen::bind(path)?))?)
}

fn paced_bare(case: &Case) -> Result<Run> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("bare");
    let listener = UnixListener::bind(&path)?;
    let mut peer = Peer::start("bare", &path, case.paced)?;
    let (mut stream, _) = listener.accept()?;
    peer.line()?;
    let payload = vec![7; case.bytes];
    let cpu = cpu_us();
    pace(case, |_| {
        let mut head = [0; 16];
        head[..8].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        head[8..].copy_from_slice(&clock::monotonic_ns().to_le_bytes());
        stream.write_all(&head)?;
        stream.write_all(&payload)?;
        Ok(())
    })?;
    let mut run = peer.finish()?;
    run.cpu_us += cpu_us() - cpu;
    Ok(run)
}

/// Calls `send` at the case's rate, without drift.
pub(crate) fn pace(case: &Case, mut send: impl FnMut(u32) -> Result<()>) -> Result<()> {
    let start = Instant::now();
    for index in 0..case.paced {
        let due = start + Duration::from_secs(1) * index / case.per_second;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        send(index)?;
    }
    Ok(())
}

/// The receiving process.
fn peer(args: &[String]) -> Result<()> {
    let [role, path, frames] = args else {
        bail!("usage: hop peer ROLE SOCKET FRAMES");
    };
    let frames = frames.parse()?;
    let path = Path::new(path);
    let (hops_us, cpu) = match role.as_str() {
        "bare" => bare_peer(path, frames)?,
        "reference" => reference::peer(path, frames)?,
        _ => link_peer(path, role, frames)?,
    };
    println!("{}", json!({"hops_us": hops_us, "cpu_us": cpu}));
    Ok(())
}

fn link_peer(path: &Path, role: &str, frames: usize) -> Result<(Vec<f64>, f64)> {
    let dial = if role.ends_with("-far") {
        UnixDial::relayed(path)
    } else {
        UnixDial::new(path)
    };
    let qos = if role.starts_with("durable") {
        LinkQos::durable()
    } else {
        LinkQos::realtime()
    };
    let config = SubscriberConfig {
        member: "bench.peer.0".to_owned(),
        limits: Limits::default(),
    };
    let input = InputConfig {
        port: "in".to_owned(),
        link: LINK.to_owned(),
        group: "peer".to_owned(),
        qos,
        from: "bench".to_owned(),
        dial: Box::new(dial),
    };
    let mut subscriber = Subscriber::new(&config, vec![input])?;
    while !subscriber.is_connected() {
        subscriber.recv(Duration::from_millis(10))?;
    }
    println!("ready");
    let cpu = cpu_us();
    let mut hops = Vec::with_capacity(frames);
    while hops.len() < frames {
        if let Some(received) = subscriber.recv(PATIENCE)? {
            let hop = received.hop.context("the clocks are not the same")?;
            hops.push(hop.as_secs_f64() * 1e6);
        }
    }
    subscriber.ack();
    Ok((hops, cpu_us() - cpu))
}

fn bare_peer(path: &Path, frames: usize) -> Result<(Vec<f64>, f64)> {
    let mut stream = UnixStream::connect(path)?;
    println!("ready");
    let cpu = cpu_us();
    let mut hops = Vec::with_capacity(frames);
    let mut payload = Vec::new();
    for _ in 0..frames {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let [len @ .., _, _, _, _, _, _, _, _] = head;
        let [_, _, _, _, _, _, _, _, sent @ ..] = head;
        payload.resize(usize::try_from(u64::from_le_bytes(len))?, 0);
        stream.read_exact(&mut payload)?;
        let hop = clock::monotonic_ns().saturating_sub(u64::from_le_bytes(sent));
        hops.push(hop as f64 / 1e3);
    }
    Ok((hops, cpu_us() - cpu))
}

/// CPU time of this process so far.
pub(crate) fn cpu_us() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}
