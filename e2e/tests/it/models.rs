//! Models that are added to the control plane: a device gets them and its nodes run them.

use anyhow::{Context, Result, ensure};
use edgeflow_testkit::{Fleet, asset, until};
use serde_json::Value;

use crate::{apply::instance_stats, manifests::FACES};

#[test]
fn a_model_that_was_added_runs_on_a_device_that_never_had_it() -> Result<()> {
    let Some(file) = asset("centerface.onnx") else {
        eprintln!("skipped: centerface.onnx is not in EDGEFLOW_TEST_ASSETS");
        return Ok(());
    };
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("control plane");
    let system = FACES.replace("model: centerface", "model: faces");
    fleet.write("system.yaml", &system)?;
    let unknown = fleet.cli(&["apply", "system.yaml"])?;
    ensure!(unknown.code == 4, "{unknown:?}");
    ensure!(
        unknown
            .text()
            .contains("edgeflow model add FILE --name faces"),
        "{}",
        unknown.text()
    );

    fleet.write("text.onnx", "not a model")?;
    let refused = fleet.cli(&["model", "add", "text.onnx"])?;
    ensure!(refused.code == 1 && refused.text().contains("not an ONNX model"));
    let path = file.to_str().context("a path in UTF-8")?;
    let add = ["model", "add", path, "--name", "faces", "-o", "json"];
    let added: Value = serde_json::from_str(&fleet.cli(&add)?.ok()?.stdout)?;
    ensure!(added["description"]["licence"] == "MIT", "{added}");
    ensure!(added["inputs"][0]["dims"][1] == 3, "{added}");
    let again = fleet
        .cli(&["model", "add", path, "--name", "faces"])?
        .ok()?;
    ensure!(again.stdout.contains("is there already"), "{again:?}");

    fleet.cli(&["apply", "system.yaml"])?.ok()?;
    fleet.wait_ready("demo", 1)?;
    let finds = |fleet: &Fleet| {
        fleet.wait_system("demo", "pictures through the model", |system| {
            instance_stats(system, "detect").is_some_and(|stats| stats.frames > 3)
        })
    };
    finds(&fleet)?;
    let digest = added["sha256"].as_str().unwrap_or_default();
    let cached = fleet
        .agent()?
        .data()
        .join("models")
        .join(format!("{digest}.onnx"));
    ensure!(cached.is_file(), "{} is not there", cached.display());
    let list = fleet.cli(&["model", "list"])?.ok()?.stdout;
    ensure!(list.contains("faces") && list.contains("demo"), "{list}");
    let used = fleet.cli(&["model", "delete", "faces", "--yes"])?;
    ensure!(used.code != 0 && used.text().contains("used by demo"));

    // Without the control plane, the device has what it needs.
    fleet.plane.process().kill9()?;
    fleet.agent()?.process().kill9()?;
    fleet.agent()?.restart()?;
    fleet.plane.restart()?;
    fleet.wait_online("edge-1")?;
    fleet.wait_ready("demo", 1)?;
    finds(&fleet)?;

    fleet.cli(&["delete", "system", "demo", "--yes"])?.ok()?;
    fleet.cli(&["model", "delete", "faces", "--yes"])?.ok()?;
    until("the model to be gone", || {
        let list = fleet.cli(&["model", "list", "-o", "name"])?.ok()?;
        Ok(list.stdout.is_empty().then_some(()))
    })?;
    fleet.finish()
}
