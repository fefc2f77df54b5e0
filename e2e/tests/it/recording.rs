//! Recording, replaying and looking at frames, with the real programs.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use edgeflow_testkit::{Fleet, Tmpfs, binary, kill, until};
use serde_json::Value;

use crate::apply::instance_stats;

fn recording(folder: &Path) -> String {
    format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata:
  name: demo
spec:
  nodes:
    camera: {{use: pattern, with: {{size: 320x240, fps: 20}}}}
    record: {{use: record, with: {{path: {}, segment: 256KiB}}}}
  links:
    - camera -> record [durable]
",
        folder.display()
    )
}

/// Plays everything once, as fast as it is taken.
fn replay(folder: &Path) -> String {
    format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata:
  name: again
spec:
  nodes:
    replay: {{use: replay, with: {{path: {}, speed: 0, loop: false}}, restart: on-failure}}
    log: {{use: log}}
  links:
    - replay -> log [durable]
",
        folder.display()
    )
}

/// What `edgeflow-nodes recording` tells.
fn inspect(folder: &Path) -> Result<Value> {
    let mut command = Command::new(binary("edgeflow-nodes")?);
    command.arg("recording").arg(folder).args(["-o", "json"]);
    let output = command.output().context("looking into the recording")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn a_killed_recorder_loses_no_frame_and_the_recording_is_replayed_whole() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("exited");
    fleet.expect_log("signal 9");
    let folder = fleet.home().join("recording");
    fleet.apply_ready(&recording(&folder))?;
    for frames in [15, 40] {
        until("frames in the recording", || {
            Ok((inspect(&folder)?["frames"].as_u64() >= Some(frames)).then_some(()))
        })?;
        let pid = fleet.instance("demo", "record")?.pid;
        kill(pid)?;
        fleet.wait_system("demo", "a new recorder with frames", |system| {
            let status = system.status.as_ref();
            let mut instances = status.iter().flat_map(|status| &status.instances);
            let another = instances.any(|it| it.node == "record" && it.pid != pid && it.pid != 0);
            another && instance_stats(system, "record").is_some_and(|stats| stats.frames > 3)
        })?;
    }
    fleet.cli(&["delete", "system", "demo", "--yes"])?.ok()?;
    let report = until("the recording to be closed", || {
        let report = inspect(&folder)?;
        let active = report.to_string().contains(r#""active""#);
        Ok((!active).then_some(report))
    })?;
    let stream = &report["streams"]["camera/out"];
    ensure!(
        stream["missing"] == 0 && stream["repeated"] == 0,
        "{report:#}"
    );
    ensure!(report["damaged"] == 0, "{report:#}");
    ensure!(report.to_string().contains(r#""incomplete""#), "{report:#}");
    let frames = report["frames"].as_u64().context("no number of frames")?;
    ensure!(frames >= 40, "{report:#}");
    fleet.apply(&replay(&folder))?;
    fleet.wait_system("again", &format!("{frames} replayed frames"), |system| {
        instance_stats(system, "log").is_some_and(|stats| stats.frames == frames)
    })?;
    fleet.finish()
}

#[test]
fn a_full_disk_is_shown_at_the_recorder_and_recording_goes_on_without_a_hole() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    let Some(disk) = Tmpfs::mount(&fleet.home().join("disk"), 4096)? else {
        println!("skipped: mounting a small disk takes root");
        return Ok(());
    };
    fleet.expect_log("disk full");
    let folder = disk.path().join("recording");
    fleet.apply_ready(&recording(&folder))?;
    until("the first frames", || {
        let frames = if folder.exists() {
            inspect(&folder)?["frames"].as_u64()
        } else {
            None
        };
        Ok((frames >= Some(5)).then_some(()))
    })?;
    let filler = disk.fill()?;
    fleet.wait_system("demo", "the full disk as a condition", |system| {
        let stats = instance_stats(system, "record");
        stats.is_some_and(|stats| stats.condition.starts_with("disk full"))
    })?;
    let before = inspect(&folder)?["frames"].as_u64();
    std::fs::remove_file(filler).context("freeing the disk")?;
    fleet.wait_system("demo", "no condition", |system| {
        instance_stats(system, "record").is_some_and(|stats| stats.condition.is_empty())
    })?;
    until("frames on the freed disk", || {
        Ok((inspect(&folder)?["frames"].as_u64() > before.map(|frames| frames + 10)).then_some(()))
    })?;
    fleet.cli(&["delete", "system", "demo", "--yes"])?.ok()?;
    let report = until("the recording to be closed", || {
        let report = inspect(&folder)?;
        Ok((!report.to_string().contains(r#""active""#)).then_some(report))
    })?;
    let stream = &report["streams"]["camera/out"];
    ensure!(
        stream["missing"] == 0 && stream["repeated"] == 0,
        "{report:#}"
    );
    ensure!(report["damaged"] == 0, "{report:#}");
    fleet.finish()
}

#[test]
fn a_tap_shows_lines_json_and_pictures_of_any_output() -> Result<()> {
    let fleet = Fleet::with_device()?;
    // Without `views`: every output can be looked at.
    let manifest = crate::manifests::pipeline(20, 0.05).replace("  views: [camera, motion]\n", "");
    fleet.apply_ready(&manifest)?;
    let lines = fleet.cli(&["tap", "demo", "camera", "-n", "5"])?.ok()?;
    ensure!(lines.stdout.lines().count() == 5, "{}", lines.text());
    ensure!(lines.stdout.contains("jpeg 320x240"), "{}", lines.text());
    let json = fleet.cli(&[
        "tap",
        "demo/motion",
        "--json",
        "-n",
        "2",
        "--device",
        "edge-1",
    ])?;
    let json = json.ok()?;
    let last = json.stdout.lines().last().unwrap_or_default();
    let frame: Value = serde_json::from_str(last).with_context(|| json.text())?;
    ensure!(frame["meta"]["detections"].is_array(), "{frame:#}");
    ensure!(
        frame["codec"] == "jpeg" && frame["width"] == 320,
        "{frame:#}"
    );
    fleet
        .cli(&["tap", "demo", "camera", "--jpg", "pictures", "-n", "3"])?
        .ok()?;
    let mut pictures = 0;
    for entry in std::fs::read_dir(fleet.home().join("pictures"))? {
        let bytes = std::fs::read(entry?.path())?;
        ensure!(bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]));
        pictures += 1;
    }
    ensure!(pictures == 3, "{pictures} pictures");
    let refused = fleet.cli(&["tap", "demo", "log"])?;
    ensure!(
        refused.code != 0 && refused.stderr.contains("no output"),
        "{}",
        refused.text()
    );
    let refused = fleet.cli(&["tap", "demo", "camera", "--device", "edge-9"])?;
    ensure!(
        refused.code == 5 && refused.stderr.contains("edge-9"),
        "{}",
        refused.text()
    );
    fleet.finish()
}
