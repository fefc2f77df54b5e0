//! A frame whose consumer dies with it, from the tool to the disk of its producer and back.

use anyhow::{Context, Result, ensure};
use edgeflow_testkit::{Fleet, Signal, kill, signal, until};

const MANIFEST: &str = "apiVersion: edgeflow.dev/v1
kind: System
metadata:
  name: demo
spec:
  nodes:
    camera: {use: pattern, with: {size: 320x240, fps: 20}}
    log: {use: log, with: {every_ms: 200}}
  links:
    - camera -> log [durable, on_full=spill, max_deliveries=1]
";

#[test]
fn a_dead_letter_is_listed_and_replayed_by_the_tool() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("exited");
    fleet.expect_log("signal 9");
    fleet.expect_log("dead letter");
    fleet.apply_ready(MANIFEST)?;
    let list = ["deadletters", "list", "demo", "camera", "-o", "json"];
    let letters = |fleet: &Fleet| -> Result<Vec<serde_json::Value>> {
        let output = fleet.cli(&list)?.ok()?;
        serde_json::from_str(&output.stdout).context("reading the list")
    };
    ensure!(letters(&fleet)?.is_empty());

    // Stopped, it holds a frame that it does not finish; then it dies.
    let pid = fleet.instance("demo", "log")?.pid;
    signal(pid, Signal::STOP)?;
    until("frames that wait for the consumer", || {
        let camera = fleet.instance("demo", "camera")?;
        let outputs = camera.stats.unwrap_or_default().outputs;
        Ok(outputs.iter().any(|o| o.in_flight > 10).then_some(()))
    })?;
    kill(pid)?;
    let letter = until("a dead letter", || Ok(letters(&fleet)?.into_iter().next()))?;
    ensure!(letter["link"] == "camera->log", "{letter}");
    ensure!(
        letter["consumer"] == "log" && letter["deliveries"] == 1,
        "{letter}"
    );
    until("an event that tells of it", || {
        let events = fleet.cli(&["events", "--system", "demo"])?.ok()?.text();
        let told = events.contains("DeadLetter") && events.contains("camera->log");
        Ok(told.then_some(()))
    })?;
    ensure!(
        letter["device"] == "edge-1" && letter["codec"] == "jpeg",
        "{letter}"
    );

    let replay = ["deadletters", "replay", "demo", "camera"];
    let output = fleet.cli(&[&replay[..], &["--id", "1-1"]].concat())?;
    ensure!(output.code == 1, "{}", output.text());
    ensure!(
        output.stderr.contains("there is no dead letter 1-1"),
        "{}",
        output.text()
    );
    let output = fleet.cli(&[&replay[..], &["--all"]].concat())?.ok()?;
    ensure!(
        output.stdout.contains("1 sent once more, 0 left"),
        "{}",
        output.text()
    );
    ensure!(letters(&fleet)?.is_empty());
    fleet.finish()
}
