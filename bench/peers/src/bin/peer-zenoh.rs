//! The work over zenoh: two peers with one connection over the loopback, without discovery, everything
//! else as it comes; with its own switch for shared memory, which is on by default, on or off.

use anyhow::{Context, Result, anyhow, bail};
use edgeflow_bench_peers::{PATIENCE, Receiver, Work, age_us, cpu_us, report, stamp};
use zenoh::{Config, Session, Wait, qos::CongestionControl};

const KEY: &str = "edgeflow/bench";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [role, memory, port, work @ ..] if role == "receive" => {
            receive(memory, port, &Work::parse(work)?)
        }
        [memory, work @ ..] if memory == "shm" || memory == "tcp" => {
            send(memory, &Work::parse(work)?)
        }
        _ => bail!("usage: peer-zenoh shm|tcp BYTES PER_SECOND FRAMES copied"),
    }
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("zenoh: {error}")
}

fn open(memory: &str, end: &str, port: &str) -> Result<Session> {
    let mut config = Config::default();
    let endpoints = format!("[\"tcp/127.0.0.1:{port}\"]");
    let shared = if memory == "shm" { "true" } else { "false" };
    let settings = [
        ("mode", "\"peer\""),
        ("scouting/multicast/enabled", "false"),
        ("transport/shared_memory/enabled", shared),
        ("listen/endpoints", "[]"),
        (end, &endpoints),
    ];
    for (key, value) in settings {
        config.insert_json5(key, value).map_err(failed)?;
    }
    zenoh::open(config).wait().map_err(failed)
}

fn send(memory: &str, work: &Work) -> Result<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let port = port.port().to_string();
    let session = open(memory, "listen/endpoints", &port)?;
    let publisher = session
        .declare_publisher(KEY)
        .congestion_control(CongestionControl::Block)
        .wait()
        .map_err(failed)?;
    let mut receiver = Receiver::start("receive", &[memory, &port], work)?;
    let start = std::time::Instant::now();
    while !publisher
        .matching_status()
        .wait()
        .map_err(failed)?
        .matching()
    {
        if start.elapsed() > PATIENCE {
            bail!("zenoh: nobody has subscribed");
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut payload = vec![7; work.bytes];
    let cpu = cpu_us();
    work.pace(|| {
        stamp(&mut payload);
        publisher.put(payload.as_slice()).wait().map_err(failed)
    })?;
    let cpu = cpu_us() - cpu;
    while receiver.runs()? && start.elapsed() < PATIENCE * 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        stamp(&mut payload);
        publisher.put(payload.as_slice()).wait().map_err(failed)?;
    }
    receiver.finish(cpu)
}

fn receive(memory: &str, port: &str, work: &Work) -> Result<()> {
    let session = open(memory, "connect/endpoints", port)?;
    let subscriber = session.declare_subscriber(KEY).wait().map_err(failed)?;
    println!("ready");
    let cpu = cpu_us();
    let mut hops = Vec::with_capacity(work.frames as usize);
    while hops.len() < work.frames as usize {
        let sample = subscriber.recv_timeout(PATIENCE).map_err(failed)?;
        let sample = sample.context("zenoh: no frames come")?;
        hops.push(age_us(&sample.payload().to_bytes()).context("an empty payload")?);
    }
    report(&hops, cpu_us() - cpu);
    Ok(())
}
