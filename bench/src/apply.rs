//! `apply`: from the call of `ApplySystem` until every node is ready, and until the first frame has
//! arrived in a WebSocket like the dashboard's.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use edgeflow_proto::v1::SystemPhase;
use edgeflow_testkit::Fleet;
use serde_json::json;
use tungstenite::{Message, client::IntoClientRequest};

use crate::report::{self, percentile};

const RUNS: usize = 21;
const LIMIT: Duration = Duration::from_secs(20);
/// Until the viewer asks again after "no signal".
const RETRY: Duration = Duration::from_millis(5);
const OPEN: &str = r#"{"type":"open","tile":1,"system":"bench","node":"motion","device":""}"#;

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
        row("apply to first frame in /ws/view", &first_frame),
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

/// Milliseconds until the first frame of `motion` has arrived at a WebSocket like the dashboard's.
fn wait_frame(http: &str, token: &str, started: Instant) -> Result<f64> {
    let stream = TcpStream::connect(http).context("connecting")?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut request = format!("ws://{http}/ws/view").into_client_request()?;
    request
        .headers_mut()
        .insert("authorization", format!("Bearer {token}").parse()?);
    let (mut socket, _) = tungstenite::client(request, stream)
        .map_err(|error| anyhow::anyhow!("opening /ws/view: {error}"))?;
    socket.send(Message::text(OPEN))?;
    while started.elapsed() < LIMIT {
        match socket.read()? {
            Message::Binary(frame) if frame.get(4..8) == Some(b"EFR1") => {
                return Ok(started.elapsed().as_secs_f64() * 1000.0);
            }
            // No signal yet: the page asks again as well.
            Message::Text(text) if text.contains(r#""type":"error""#) => {
                std::thread::sleep(RETRY);
                socket.send(Message::text(OPEN))?;
            }
            _ => {}
        }
    }
    bail!("no frame came")
}
