//! Events of what is seen: from a model's finding to the list of events with a picture, and to a webhook
//! that was away.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use edgeflow_testkit::{Fleet, asset, until};
use serde_json::Value;

use crate::manifests::FACES;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_face_is_an_event_with_a_picture_and_reaches_a_webhook_that_was_away() -> Result<()> {
    if asset("centerface.onnx").is_none() {
        eprintln!("skipped: centerface.onnx is not in EDGEFLOW_TEST_ASSETS");
        return Ok(());
    }
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("signal 9");
    let reserved = TcpListener::bind("127.0.0.1:0")?;
    let address = reserved.local_addr()?;
    // Nobody listens yet.
    drop(reserved);
    let watch = format!(
        "    watch: {{use: events, with: {{event: FaceSeen, labels: [face], pause_ms: 3600000, webhook: 'http://{address}/hook'}}}}\n  links:\n    - detect -> watch\n"
    );
    fleet.apply_ready(&FACES.replace("  links:\n", &watch))?;
    let seen = until("the event", || {
        let events = fleet
            .cli(&["events", "--system", "demo", "-o", "json"])?
            .ok()?;
        let mut lines = events.stdout.lines().map(serde_json::from_str::<Value>);
        Ok(lines.find_map(|line| line.ok().filter(|it| it["reason"] == "FaceSeen")))
    })?;
    ensure!(seen["node"] == "watch", "{seen}");
    ensure!(
        seen["message"]
            .as_str()
            .is_some_and(|it| it.contains("face")),
        "{seen}"
    );
    let picture = seen["picture"].as_str().context("no picture")?;
    let answer = fleet.plane.get(picture)?;
    let jpeg = answer.windows(3).any(|it| it == [0xff, 0xd8, 0xff]);
    ensure!(
        jpeg && answer.starts_with(b"HTTP/1.1 200"),
        "no picture came"
    );

    until("the condition", || {
        let stats = fleet.instance("demo", "watch")?.stats.unwrap_or_default();
        Ok(stats.condition.contains("1 events wait").then_some(()))
    })?;
    // Killed while it waits: the next process finds the event and the receiver.
    let before = fleet.instance("demo", "watch")?;
    edgeflow_testkit::kill(before.pid)?;
    let heard = listen(TcpListener::bind(address)?);
    let body = heard.recv_timeout(PATIENCE).context("no event came")?;
    ensure!(
        body["event"] == "FaceSeen" && body["state"] == "began",
        "{body}"
    );
    ensure!(body["device"] == "edge-1", "{body}");
    ensure!(
        body["picture"]
            .as_str()
            .is_some_and(|it| it.starts_with("/9j/")),
        "{body}"
    );
    until("an empty outbox", || {
        let instance = fleet.instance("demo", "watch")?;
        let stats = instance.stats.unwrap_or_default();
        Ok((instance.pid != before.pid && stats.condition.is_empty()).then_some(()))
    })?;
    fleet.finish()
}

fn listen(listener: TcpListener) -> mpsc::Receiver<Value> {
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(body) = body(stream)
                && told.send(body).is_err()
            {
                return;
            }
        }
    });
    heard
}

fn body(mut stream: TcpStream) -> Result<Value> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut buffer = [0; 65_536];
    loop {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "cut off");
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).context("no length")?;
        let length: usize = length.lines().next().unwrap_or_default().parse()?;
        if body.len() >= length {
            stream
                .write_all(b"HTTP/1.1 204 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
            return Ok(serde_json::from_str(body)?);
        }
    }
}
