//! What a person reads when something is wrong before any device is involved.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use edgeflow_testkit::{Fleet, Process, binary, cli_in};

use crate::manifests::pipeline;

#[test]
fn a_bad_manifest_is_rejected_with_every_problem_and_its_place() -> Result<()> {
    let fleet = Fleet::empty()?;
    let text = pipeline(20, 0.05)
        .replace("use: motion", "use: moton")
        .replace("camera -> motion -> log", "camera -> motion -> lg");
    fleet.write("bad.yaml", &text)?;
    let output = fleet.cli(&["apply", "bad.yaml"])?;
    let text = output.text();
    ensure!(output.code == 4, "exit code {}:\n{text}", output.code);
    for part in ["bad.yaml:8", "moton", "motion", "lg", "bad.yaml:11"] {
        ensure!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    ensure!(
        fleet.api.system("demo").is_err(),
        "it was stored all the same"
    );
    fleet.finish()
}

#[test]
fn a_missing_file_is_named() -> Result<()> {
    let fleet = Fleet::empty()?;
    let output = fleet.cli(&["apply", "absent.yaml"])?;
    ensure!(output.code != 0);
    ensure!(output.stderr.contains("absent.yaml"), "{}", output.text());
    fleet.finish()
}

#[test]
fn a_control_plane_that_is_not_there_has_an_exit_code_of_its_own() -> Result<()> {
    let home = tempfile::tempdir().context("creating a folder")?;
    let mut command = cli_in(home.path())?;
    command
        .env("EDGEFLOW_SERVER", "http://127.0.0.1:9")
        .env("EDGEFLOW_TOKEN", "efa_x")
        .args(["get", "systems"]);
    let output = command.output().context("running edgeflow")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(3),
        "{:?}: {text}",
        output.status
    );
    ensure!(text.contains("127.0.0.1:9"), "{text}");
    Ok(())
}

#[test]
fn a_wrong_admin_token_is_denied() -> Result<()> {
    let fleet = Fleet::empty()?;
    let mut command = fleet.cli_command(&["get", "systems"])?;
    let output = command
        .env("EDGEFLOW_TOKEN", "efa_wrong")
        .output()
        .context("running edgeflow")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(8),
        "{:?}: {text}",
        output.status
    );
    ensure!(text.contains("token"), "{text}");
    Ok(())
}

#[test]
fn a_port_in_use_is_named_by_the_control_plane() -> Result<()> {
    let fleet = Fleet::empty()?;
    let taken = fleet.plane.listen.clone();
    let mut command = Command::new(binary("edgeflow-control-plane")?);
    command
        .arg("--data-dir")
        .arg(fleet.home().join("second"))
        .args(["--listen", &taken, "--http", "127.0.0.1:0"]);
    let mut second = Process::start(&mut command, &fleet.home().join("second.log"))?;
    let status = second.wait(edgeflow_testkit::PATIENCE)?;
    ensure!(!status.success());
    let output = second.output();
    ensure!(
        output.contains(&taken) && output.contains("use"),
        "{output}"
    );
    ensure!(!output.contains("panicked"), "{output}");
    fleet.finish()
}

#[test]
fn a_plain_listener_off_loopback_is_refused() -> Result<()> {
    let home = tempfile::tempdir().context("creating a folder")?;
    let mut command = Command::new(binary("edgeflow-control-plane")?);
    command.arg("--data-dir").arg(home.path()).args([
        "--listen",
        "127.0.0.1:0",
        "--http",
        "0.0.0.0:0",
    ]);
    let mut plane = Process::start(&mut command, &home.path().join("log"))?;
    let status = plane.wait(edgeflow_testkit::PATIENCE)?;
    ensure!(!status.success());
    ensure!(plane.output().contains("loopback"), "{}", plane.output());
    Ok(())
}

#[test]
fn systems_and_devices_are_listed_as_json_for_programs() -> Result<()> {
    let fleet = Fleet::with_device()?;
    fleet.apply_ready(&pipeline(10, 0.05))?;
    for (what, name) in [("systems", "demo"), ("devices", "edge-1")] {
        let output = fleet.cli(&["get", what, "-o", "json"])?.ok()?;
        let value: serde_json::Value = serde_json::from_str(&output.stdout)
            .with_context(|| format!("not JSON: {}", output.stdout))?;
        ensure!(value.to_string().contains(name), "{value}");
        let names = fleet.cli(&["get", what, "-o", "name"])?.ok()?;
        ensure!(names.stdout.contains(name), "{}", names.stdout);
    }
    let logs = fleet.cli(&["logs", "demo/log", "--tail", "5"])?.ok()?;
    ensure!(!logs.stdout.trim().is_empty(), "no log lines");
    fleet.finish()
}
