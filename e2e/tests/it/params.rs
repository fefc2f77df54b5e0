//! `edgeflow set` on running nodes: no restart, an effect that can be seen, and what it outlives.

use anyhow::{Result, ensure};
use edgeflow_proto::v1::{InstancePhase, System};
use edgeflow_testkit::{Fleet, asset, binary, kill};

use crate::{
    apply::{instance_stats, pids},
    manifests::{FACES, pipeline},
};

const FPS: u32 = 40;

/// Whether the camera runs at about this rate.
fn at_rate(system: &System, fps: f64) -> bool {
    let stats = instance_stats(system, "camera");
    stats.is_some_and(|stats| stats.frames > 0 && (stats.fps - fps).abs() <= fps / 4.0 + 0.5)
}

#[test]
fn a_rate_changes_without_a_restart_and_outlives_every_kill_until_the_next_apply() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("exited");
    fleet.expect_log("signal 9");
    fleet.expect_log("control plane");
    fleet.apply_ready(&pipeline(FPS, 0.05))?;
    let before = pids(&fleet)?;
    fleet.wait_system("demo", "the manifest's rate", |system| {
        at_rate(system, f64::from(FPS))
    })?;
    let output = fleet
        .cli(&["set", "demo", "camera", "fps=8", "quality=30"])?
        .ok()?;
    ensure!(output.stdout.contains("applied"), "{}", output.text());
    fleet.wait_system("demo", "the rate that was set", |system| {
        at_rate(system, 8.0)
    })?;
    ensure!(pids(&fleet)? == before, "a node was restarted");
    ensure!(fleet.instance("demo", "camera")?.restarts == 0);
    let described = fleet.cli(&["describe", "system", "demo"])?.ok()?.text();
    ensure!(
        described.contains("until") || described.contains("UNTIL"),
        "{described}"
    );

    kill(before[0])?;
    fleet.wait_system("demo", "the rate in a new process", |system| {
        let instances = system.status.iter().flat_map(|status| &status.instances);
        let mut cameras = instances.filter(|one| one.node == "camera");
        cameras.any(|one| one.restarts == 1 && one.phase() == InstancePhase::Ready)
            && at_rate(system, 8.0)
    })?;
    fleet.agent()?.process().kill9()?;
    fleet.plane.process().kill9()?;
    fleet.plane.restart()?;
    fleet.agent()?.restart()?;
    fleet.wait_online("edge-1")?;
    fleet.wait_ready("demo", 1)?;
    fleet.wait_system("demo", "the rate after both were killed", |system| {
        at_rate(system, 8.0)
    })?;

    let now = pids(&fleet)?;
    let plan = {
        fleet.write("system.yaml", &pipeline(FPS, 0.05))?;
        fleet.cli(&["plan", "system.yaml"])?.ok()?.text()
    };
    ensure!(plan.contains("camera.fps=8 dropped"), "{plan}");
    fleet.cli(&["apply", "system.yaml"])?.ok()?;
    fleet.wait_system("demo", "the manifest's rate again", |system| {
        at_rate(system, f64::from(FPS)) && system.revision == 1
    })?;
    ensure!(pids(&fleet)? == now, "the apply restarted a node");
    fleet.finish()
}

#[test]
fn an_edit_of_live_parameters_restarts_nothing_and_a_durable_one_stays() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.add_device("edge-2")?;
    fleet.apply_ready(&pipeline(FPS, 0.05))?;
    let all_pids = |fleet: &Fleet| -> Result<Vec<u32>> {
        let status = fleet.api.system("demo")?.status.unwrap_or_default();
        Ok(status.instances.iter().map(|one| one.pid).collect())
    };
    let before = all_pids(&fleet)?;
    let set = ["set", "demo", "camera", "fps=10", "--durable", "-o", "json"];
    let output = fleet.cli(&set)?.ok()?;
    let applied = output.stdout.matches("\"applied\"").count();
    ensure!(applied == 2, "both devices: {}", output.text());
    let system = fleet.apply_ready(&pipeline(FPS, 0.5))?;
    ensure!(system.revision == 2);
    fleet.wait_system("demo", "the durable rate", |system| at_rate(system, 10.0))?;
    ensure!(all_pids(&fleet)? == before, "a node was restarted");
    fleet.cli(&["set", "demo", "camera", "fps-"])?.ok()?;
    fleet.wait_system("demo", "the manifest's rate", |system| {
        at_rate(system, f64::from(FPS))
    })?;
    ensure!(all_pids(&fleet)? == before, "a node was restarted");
    fleet.finish()
}

#[test]
fn a_value_that_does_not_fit_is_an_error_with_what_would() -> Result<()> {
    let fleet = Fleet::with_device()?;
    fleet.apply_ready(&pipeline(FPS, 0.05))?;
    for (change, parts) in [
        ("fps=500", ["500 is out of range", "from 1 to 240"]),
        ("fsp=5", ["no parameter `fsp`", "did you mean `fps`?"]),
        (
            "size=64x64",
            ["can't change while the node runs", "`fps`, `quality`"],
        ),
    ] {
        let output = fleet.cli(&["set", "demo", "camera", change])?;
        let text = output.text();
        ensure!(output.code == 4, "exit code {}:\n{text}", output.code);
        for part in parts {
            ensure!(text.contains(part), "`{part}` is not in:\n{text}");
        }
    }
    let system = fleet.api.system("demo")?;
    ensure!(system.nodes.iter().all(|node| node.overrides.is_empty()));
    fleet.finish()
}

#[test]
fn a_node_of_ones_own_takes_what_it_declares() -> Result<()> {
    let fleet = Fleet::with_device()?;
    let program = binary("edgeflow-example-brightness")?;
    let manifest = pipeline(FPS, 0.05).replace(
        "use: motion, with: {threshold: 0.05}",
        &format!("run: ['{}'], with: {{min_bytes: 1}}", program.display()),
    );
    fleet.apply_ready(&manifest)?;
    let before = pids(&fleet)?;
    let output = fleet.cli(&["set", "demo", "motion", "min_bytes=-1"])?;
    ensure!(output.code == 4, "{}", output.text());
    ensure!(
        output.text().contains("from 0 to 100000000"),
        "{}",
        output.text()
    );
    fleet
        .cli(&["set", "demo", "motion", "min_bytes=9000000"])?
        .ok()?;
    let system = fleet.wait_system("demo", "the condition", |system| {
        let stats = instance_stats(system, "motion");
        stats.is_some_and(|stats| stats.condition.contains("is the lens covered?"))
    })?;
    // The declared name also keeps an edit of the manifest from restarting it.
    fleet.apply_ready(&manifest.replace("min_bytes: 1}", "min_bytes: 2}"))?;
    fleet.wait_system("demo", "the end of the condition", |system| {
        instance_stats(system, "motion").is_some_and(|stats| stats.condition.is_empty())
    })?;
    ensure!(pids(&fleet)? == before, "a node was restarted");
    ensure!(system.revision == 1);
    fleet.finish()
}

#[test]
fn a_value_that_the_running_node_refuses_is_taken_back() -> Result<()> {
    if asset("centerface.onnx").is_none() || asset("quickstart.avi").is_none() {
        eprintln!("skipped: centerface.onnx or quickstart.avi is not at hand");
        return Ok(());
    }
    let fleet = Fleet::with_device()?;
    fleet.apply_ready(FACES)?;
    let before = fleet.instance("demo", "detect")?.pid;
    let output = fleet.cli(&["set", "demo", "detect", "threshold=0.9", "labels=fase"])?;
    let text = output.text();
    ensure!(output.code == 1, "exit code {}:\n{text}", output.code);
    for part in ["no class `fase`", "taken back"] {
        ensure!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    fleet.wait_ready("demo", 1)?;
    fleet
        .cli(&["set", "demo", "detect", "threshold=0.9", "labels=face"])?
        .ok()?;
    fleet.wait_ready("demo", 1)?;
    let detect = fleet.instance("demo", "detect")?;
    ensure!(detect.pid == before && detect.restarts == 0);
    fleet.finish()
}
