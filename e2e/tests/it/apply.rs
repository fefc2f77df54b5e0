//! Applying and changing systems.

use std::time::Duration;

use anyhow::{Result, ensure};
use edgeflow_proto::v1::InstancePhase;
use edgeflow_testkit::{Fleet, alive, mentioning, until, until_within};

use crate::manifests::pipeline;

#[test]
fn an_applied_system_becomes_ready_and_frames_flow() -> Result<()> {
    let fleet = Fleet::with_device()?;
    fleet.write("system.yaml", &pipeline(20, 0.05))?;
    let output = fleet.cli(&["apply", "system.yaml"])?.ok()?;
    ensure!(output.text().contains("demo"), "{}", output.text());
    let system = fleet.wait_ready("demo", 1)?;
    let status = system.status.unwrap_or_default();
    ensure!(status.instances_ready == 3, "{status:?}");
    fleet.wait_system("demo", "frames at the sink", |system| {
        let log = instance_stats(system, "log");
        log.is_some_and(|stats| stats.frames > 10 && stats.fps > 0.0)
    })?;
    fleet.finish()
}

#[test]
fn an_edit_restarts_only_the_node_that_changed() -> Result<()> {
    let fleet = Fleet::with_device()?;
    fleet.apply_ready(&pipeline(20, 0.05))?;
    let before = pids(&fleet)?;
    let edited = pipeline(20, 0.5).replace("threshold: 0.5}", "threshold: 0.5}, env: {A: b}");
    let system = fleet.apply_ready(&edited)?;
    ensure!(system.revision == 2);
    let after = pids(&fleet)?;
    ensure!(before[0] == after[0], "the camera was restarted");
    ensure!(before[1] != after[1], "the motion node was not restarted");
    ensure!(before[2] == after[2], "the log node was restarted");
    let old = before[1];
    until("the old motion process to end", || {
        Ok((!alive(old)).then_some(()))
    })?;
    fleet.wait_system("demo", "frames through the new node", |system| {
        instance_stats(system, "motion").is_some_and(|stats| stats.frames > 5)
    })?;
    fleet.finish()
}

#[test]
fn the_same_manifest_twice_changes_nothing() -> Result<()> {
    let fleet = Fleet::with_device()?;
    fleet.apply_ready(&pipeline(10, 0.05))?;
    let before = pids(&fleet)?;
    let again = fleet.apply_ready(&pipeline(10, 0.05))?;
    ensure!(again.revision == 1, "revision {}", again.revision);
    ensure!(pids(&fleet)? == before);
    fleet.finish()
}

#[test]
fn a_deleted_system_leaves_no_process() -> Result<()> {
    let fleet = Fleet::with_device()?;
    fleet.apply_ready(&pipeline(10, 0.05))?;
    let pids = pids(&fleet)?;
    fleet.cli(&["delete", "system", "demo", "--yes"])?.ok()?;
    until_within(Duration::from_secs(20), "the nodes to end", || {
        Ok(pids.iter().all(|pid| !alive(*pid)).then_some(()))
    })?;
    let left: Vec<_> = mentioning(fleet.home())
        .into_iter()
        .filter(|(_, command)| command.contains("edgeflow-nodes"))
        .collect();
    ensure!(left.is_empty(), "{left:?}");
    fleet.finish()
}

#[test]
fn a_second_device_gets_a_copy_of_its_own() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.add_device("edge-2")?;
    fleet.apply_ready(&pipeline(10, 0.05))?;
    let status = fleet.api.system("demo")?.status.unwrap_or_default();
    ensure!(status.devices_ready == 2, "{status:?}");
    ensure!(status.instances.len() == 6, "{status:?}");
    ensure!(
        status
            .instances
            .iter()
            .all(|instance| instance.phase() == InstancePhase::Ready)
    );
    fleet.finish()
}

/// Pids of camera, motion and log.
pub(crate) fn pids(fleet: &Fleet) -> Result<[u32; 3]> {
    let pid = |node| Ok::<_, anyhow::Error>(fleet.instance("demo", node)?.pid);
    Ok([pid("camera")?, pid("motion")?, pid("log")?])
}

/// Statistics of a node's first instance.
pub(crate) fn instance_stats(
    system: &edgeflow_proto::v1::System,
    node: &str,
) -> Option<edgeflow_proto::v1::NodeStats> {
    let status = system.status.as_ref()?;
    let mut instances = status.instances.iter();
    instances
        .find(|instance| instance.node == node)?
        .stats
        .clone()
}
