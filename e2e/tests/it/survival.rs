//! What a kill -9 of any part does, and does not do.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use edgeflow_proto::v1::InstancePhase;
use edgeflow_testkit::{Fleet, alive, kill, mentioning, until, until_within};

use crate::{
    apply::{instance_stats, pids},
    manifests::pipeline,
};

const FPS: u32 = 20;

#[test]
fn a_killed_node_is_restarted_and_counted_and_the_reason_is_shown() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("exited");
    fleet.expect_log("signal 9");
    fleet.apply_ready(&pipeline(FPS, 0.05))?;
    let before = pids(&fleet)?;
    kill(before[1])?;
    fleet.wait_system("demo", "a second start of motion", |system| {
        let instances = system.status.iter().flat_map(|status| &status.instances);
        instances
            .filter(|it| it.node == "motion")
            .any(|it| it.restarts == 1 && it.phase() == InstancePhase::Ready && it.pid != before[1])
    })?;
    let motion = fleet.instance("demo", "motion")?;
    let exit = motion.last_exit.clone().unwrap_or_default();
    ensure!(exit.signal == Some(9), "{exit:?}");
    let after = pids(&fleet)?;
    ensure!(
        before[0] == after[0] && before[2] == after[2],
        "neighbours were restarted"
    );
    fleet.wait_system("demo", "frames through the new process", |system| {
        instance_stats(system, "motion").is_some_and(|stats| stats.frames > 5)
    })?;
    let described = fleet.cli(&["describe", "system", "demo"])?.ok()?.text();
    let shown = described.contains("signal 9") || described.contains("SIGKILL");
    ensure!(shown, "the reason is not in:\n{described}");
    fleet.finish()
}

#[test]
fn nodes_run_on_without_the_control_plane_and_its_state_is_intact_afterwards() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    // The agent says that it lost its control plane, and the CLI's client that it can't reach it.
    fleet.expect_log("control plane");
    fleet.apply_ready(&pipeline(FPS, 0.05))?;
    let before = pids(&fleet)?;
    let frames = frames_at_sink(&fleet, 1)?;
    let lines = log_lines(&fleet);
    let killed_at = Instant::now();
    fleet.plane.process().kill9()?;
    until("the sink to log while the control plane is away", || {
        Ok((log_lines(&fleet) >= lines + 15).then_some(()))
    })?;
    ensure!(before.iter().all(|pid| alive(*pid)), "a node ended");
    fleet.plane.restart()?;
    fleet.wait_online("edge-1")?;
    let away = killed_at.elapsed();
    fleet.wait_ready("demo", 1)?;
    ensure!(pids(&fleet)? == before, "a node was restarted");
    let least = frames + (away.as_secs_f64() * f64::from(FPS) * 0.5) as u64;
    frames_at_sink(&fleet, least)?;
    let system = fleet.api.system("demo")?;
    ensure!(
        system.manifest == pipeline(FPS, 0.05),
        "{}",
        system.manifest
    );
    // And it still takes changes.
    fleet.apply_ready(&pipeline(FPS, 0.5))?;
    fleet.finish()
}

#[test]
fn an_agent_that_was_killed_leaves_the_nodes_running_and_makes_no_duplicate() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.apply_ready(&pipeline(FPS, 0.05))?;
    let before = pids(&fleet)?;
    fleet.agent()?.process().kill9()?;
    let alive = alive_count(&before);
    ensure!(alive == 3, "only {alive} of the nodes outlived their agent");
    fleet.agent()?.restart()?;
    fleet.wait_online("edge-1")?;
    fleet.wait_ready("demo", 1)?;
    until_within(Duration::from_secs(30), "one process for each node", || {
        let running = node_processes(&fleet);
        let single = ["pattern", "motion", "log"]
            .iter()
            .all(|name| running.iter().filter(|it| it.ends_with(name)).count() == 1);
        ensure!(single && running.len() == 3, "{running:?}");
        Ok(Some(()))
    })?;
    fleet.wait_system("demo", "frames after the takeover", |system| {
        instance_stats(system, "log").is_some_and(|stats| stats.frames > 5 && stats.fps > 0.0)
    })?;
    fleet.finish()
}

#[test]
fn an_agent_without_a_control_plane_starts_its_last_assignment() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("control plane");
    fleet.apply_ready(&pipeline(FPS, 0.05))?;
    let before = pids(&fleet)?;
    fleet.plane.process().kill9()?;
    fleet.agent()?.process().kill9()?;
    for pid in before {
        kill(pid)?;
    }
    fleet.agent()?.restart()?;
    until("the nodes to start again", || {
        let running = node_processes(&fleet);
        ensure!(running.len() == 3, "{running:?}");
        Ok(Some(()))
    })?;
    fleet.plane.restart()?;
    fleet.wait_online("edge-1")?;
    fleet.wait_ready("demo", 1)?;
    fleet.finish()
}

fn frames_at_sink(fleet: &Fleet, least: u64) -> Result<u64> {
    let system = fleet.wait_system("demo", &format!("{least} frames at the sink"), |system| {
        instance_stats(system, "log").is_some_and(|stats| stats.frames >= least)
    })?;
    Ok(instance_stats(&system, "log").map_or(0, |stats| stats.frames))
}

/// Lines in the log node's captured output.
fn log_lines(fleet: &Fleet) -> usize {
    let agent = fleet.home().join("agent-edge-1");
    let mut lines = 0;
    let mut folders = vec![agent];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains("demo.log") {
                let text = std::fs::read(&path).unwrap_or_default();
                lines += text.iter().filter(|byte| **byte == b'\n').count();
            }
        }
    }
    lines
}

/// How many of the processes are alive.
fn alive_count(pids: &[u32]) -> usize {
    pids.iter().filter(|pid| alive(**pid)).count()
}

/// Command lines of the node processes of this fleet.
fn node_processes(fleet: &Fleet) -> Vec<String> {
    mentioning(fleet.home())
        .into_iter()
        .map(|(_, command)| command.trim().to_owned())
        .filter(|command| command.contains("edgeflow-nodes run"))
        .collect()
}
