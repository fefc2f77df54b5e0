//! `apply`: from the call of `ApplySystem` until every node is ready, and until the first frame has
//! come out at the place where a browser would read it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use edgeflow_proto::v1::SystemPhase;
use edgeflow_testkit::Fleet;
use serde_json::json;

use crate::report::{self, percentile};

const RUNS: usize = 21;
const LIMIT: Duration = Duration::from_secs(20);

const MANIFEST: &str = "apiVersion: edgeflow.dev/v1
kind: System
metadata:
  name: bench
spec:
  nodes:
    camera: {use: pattern, with: {size: 640x480, fps: 30}}
    motion: {use: motion}
    log: {use: log}
  links:
    - camera -> motion -> log
  views: [camera, motion]
";

pub(crate) fn run(_args: &[String]) -> Result<()> {
    let fleet = Fleet::with_device()?;
    let mut running = Vec::new();
    let mut first_frame = Vec::new();
    for round in 0..RUNS {
        let started = Instant::now();
        fleet.apply(MANIFEST)?;
        let (http, token) = (fleet.plane.http.clone(), fleet.plane.admin_token()?);
        // The browser asks as soon as the system is there, and again while it has no signal.
        let frame = std::thread::spawn(move || wait_frame(&http, &token, started));
        let ready = wait_running(&fleet, started)?;
        let frame = frame
            .join()
            .map_err(|_| anyhow::anyhow!("the viewer panicked"))??;
        // The first round pays for pages that later ones find in memory.
        if round > 0 {
            running.push(ready);
            first_frame.push(frame);
        }
        fleet.api.delete_system("bench")?;
        wait_gone(&fleet)?;
    }
    let row = |what: &str, values: &[f64]| {
        json!({
            "what": what,
            "runs": values.len(),
            "p50_ms": percentile(values, 50.0).round(),
            "p95_ms": percentile(values, 95.0).round(),
        })
    };
    let rows = [
        row("apply to running, 3 nodes", &running),
        row("apply to first frame in /video", &first_frame),
    ];
    report::print("apply", &rows);
    Ok(())
}

/// Milliseconds until the control plane says that all is ready.
fn wait_running(fleet: &Fleet, started: Instant) -> Result<f64> {
    loop {
        let status = fleet.api.system("bench")?.status.unwrap_or_default();
        if status.phase() == SystemPhase::Ready {
            return Ok(started.elapsed().as_secs_f64() * 1000.0);
        }
        if started.elapsed() > LIMIT {
            bail!("not ready: {status:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Until no node process is left, so that rounds don't share the processor.
fn wait_gone(fleet: &Fleet) -> Result<()> {
    edgeflow_testkit::until("the nodes to end", || {
        let left = edgeflow_testkit::mentioning(fleet.home());
        let nodes = left
            .iter()
            .filter(|(_, command)| command.contains("edgeflow-nodes"));
        Ok((nodes.count() == 0).then_some(()))
    })
}

/// Milliseconds until the first JPEG of `/video/bench/motion`.
fn wait_frame(http: &str, token: &str, started: Instant) -> Result<f64> {
    while started.elapsed() < LIMIT {
        if read_frame(http, token).unwrap_or(false) {
            return Ok(started.elapsed().as_secs_f64() * 1000.0);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("no frame came")
}

/// One request; whether a JPEG's first bytes came back.
fn read_frame(http: &str, token: &str) -> Result<bool> {
    let mut stream = TcpStream::connect(http).context("connecting")?;
    stream.set_read_timeout(Some(LIMIT))?;
    let request = format!(
        "GET /video/bench/motion HTTP/1.1\r\nHost: {http}\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut seen = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(false);
        }
        seen.extend_from_slice(&buffer[..count]);
        if seen.windows(3).any(|bytes| bytes == [0xff, 0xd8, 0xff]) {
            return Ok(true);
        }
        if seen.len() > 1024 * 1024 {
            bail!("a megabyte without a picture");
        }
    }
}
