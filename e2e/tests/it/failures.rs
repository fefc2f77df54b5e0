//! What goes wrong on a device reaches the person, in words, and takes nothing else with it.

use anyhow::{Context, Result, ensure};
use edgeflow_proto::v1::{InstancePhase, InstanceStatus, System, SystemPhase};
use edgeflow_testkit::{AgentOptions, Fleet, Tmpfs, until};

use crate::{
    apply::instance_stats,
    manifests::{pipeline, with_broken},
};

#[test]
fn a_node_that_crashes_again_and_again_is_shown_with_its_last_words() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("exited");
    fleet.expect_log("crash");
    fleet.apply(&with_broken(
        "{run: [sh, -c, 'echo the disk is on fire >&2; exit 3']}",
    ))?;
    let broken = wait_phase(&fleet, InstancePhase::CrashLoop)?;
    ensure!(broken.restarts > 1, "{broken:?}");
    let exit = broken.last_exit.clone().unwrap_or_default();
    ensure!(exit.code == Some(3), "{exit:?}");
    ensure!(
        exit.log_tail
            .iter()
            .any(|line| line.contains("the disk is on fire")),
        "{exit:?}"
    );
    let described = fleet.cli(&["describe", "system", "demo"])?.ok()?.text();
    ensure!(described.contains("the disk is on fire"), "{described}");
    ensure!(described.contains("code 3"), "{described}");
    degraded(&fleet)?;
    fleet.finish()
}

#[test]
fn a_missing_program_is_named() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("no-such-program");
    fleet.apply(&with_broken("{run: [no-such-program, --fast]}"))?;
    let broken = wait_phase(&fleet, InstancePhase::Failed)?;
    ensure!(
        broken.reason.contains("no-such-program"),
        "{}",
        broken.reason
    );
    degraded(&fleet)?;
    // Corrected, it goes on.
    fleet.apply_ready(&with_broken("{use: log}"))?;
    fleet.finish()
}

#[test]
fn a_missing_model_is_named_with_the_folders_that_were_searched() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("missing.onnx");
    fleet.expect_log("exited");
    fleet.expect_log("crash");
    fleet.apply(&with_broken("{use: detect, with: {model: ./missing.onnx}}"))?;
    let broken = fleet.wait_system("demo", "the missing model to be named", |system| {
        broken(system).is_some_and(|it| told(&it).contains("missing.onnx"))
    })?;
    ensure!(broken.status.unwrap_or_default().phase() != SystemPhase::Ready);
    fleet.finish()
}

#[test]
fn apply_says_within_its_wait_that_a_node_can_not_run() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("no-such-program");
    fleet.write("system.yaml", &with_broken("{run: [no-such-program]}"))?;
    let output = fleet.cli(&["apply", "system.yaml", "--timeout", "30s"])?;
    ensure!(output.code != 0, "{}", output.text());
    ensure!(
        output.text().contains("no-such-program"),
        "{}",
        output.text()
    );
    fleet.finish()
}

#[test]
fn a_full_disk_is_reported_and_nothing_is_lost() -> Result<()> {
    let mut fleet = Fleet::empty()?;
    let Some(disk) = Tmpfs::mount(&fleet.home().join("disk"), 4096)? else {
        println!("skipped: mounting a small disk takes root");
        return Ok(());
    };
    fleet.expect_log("space");
    fleet.expect_log("disk");
    fleet.expect_log("write");
    let options = AgentOptions {
        name: "edge-1".to_owned(),
        join: Some(fleet.api.create_token(0, 1)?),
        data: Some(disk.path().join("agent")),
        ..Default::default()
    };
    fleet.add(options)?;
    fleet.wait_online("edge-1")?;
    fleet.apply_ready(&pipeline(10, 0.05))?;
    let motion = fleet.instance("demo", "motion")?.pid;
    let filler = disk.fill()?;
    // A change that takes a new process; a parameter alone would not.
    let changed = pipeline(10, 0.05).replace("use: motion,", "use: motion, env: {CHANGED: yes},");
    fleet.apply(&changed)?;
    until("the device to say that its disk is full", || {
        let device = fleet.wait_online("edge-1")?;
        let told = device.conditions.iter().any(|it| {
            let text = it.message.to_lowercase();
            text.contains("disk") || text.contains("space")
        });
        ensure!(
            told,
            "conditions: {:?}, {}",
            device.conditions,
            device.message
        );
        Ok(Some(()))
    })?;
    ensure!(
        fleet.instance("demo", "motion")?.pid == motion,
        "the old assignment was given up"
    );
    fleet.wait_system("demo", "frames on a full disk", |system| {
        instance_stats(system, "log").is_some_and(|stats| stats.fps > 0.0)
    })?;
    std::fs::remove_file(filler).context("freeing the disk")?;
    fleet.wait_ready("demo", 2)?;
    ensure!(
        fleet.instance("demo", "motion")?.pid != motion,
        "the new assignment was lost"
    );
    fleet.finish()
}

fn broken(system: &System) -> Option<InstanceStatus> {
    let status = system.status.as_ref()?;
    let mut instances = status.instances.iter();
    instances.find(|it| it.node == "broken").cloned()
}

/// All that the instance says about itself.
fn told(instance: &InstanceStatus) -> String {
    let exit = instance.last_exit.clone().unwrap_or_default();
    format!(
        "{} {} {}",
        instance.reason,
        exit.message,
        exit.log_tail.join("\n")
    )
}

fn wait_phase(fleet: &Fleet, phase: InstancePhase) -> Result<InstanceStatus> {
    let system = fleet.wait_system("demo", phase.as_str_name(), |system| {
        broken(system).is_some_and(|it| it.phase() == phase)
    })?;
    broken(&system).context("the broken node is gone")
}

/// The system says so, and the healthy node is untouched.
fn degraded(fleet: &Fleet) -> Result<()> {
    fleet.wait_system("demo", "degraded, with a working camera", |system| {
        let status = system.status.clone().unwrap_or_default();
        let told = status.phase() == SystemPhase::Degraded && status.message.contains("broken");
        told && instance_stats(system, "camera").is_some_and(|stats| stats.fps > 0.0)
    })?;
    Ok(())
}
