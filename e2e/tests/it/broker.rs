//! Links over a real Redis: frames flow, the broker goes and comes back, and it all is shown. The
//! device's own broker, and what is left in one when links go.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use edgeflow_proto::v1::Event;
use edgeflow_testkit::{AgentOptions, Fleet, Redis, alive, kill, mentioning, until};

use crate::apply::{instance_stats, pids};

fn manifest(address: &str) -> String {
    format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata: {{name: demo}}
spec:
  broker: {{redis: '{address}'}}
  nodes:
    camera: {{use: pattern, with: {{size: 320x240, fps: 20}}}}
    motion: {{use: motion}}
    log: {{use: log}}
  links:
    - camera -> motion
    - motion -> log [durable, on_full: fail]
  views: [motion]
"
    )
}

#[test]
fn frames_travel_through_redis_and_survive_its_restart() -> Result<()> {
    if !Redis::is_installed() {
        eprintln!("skipped: redis-server is not installed");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let mut redis = Redis::start(dir.path(), &[])?;
    let mut fleet = Fleet::with_device()?;
    // What nodes say while the broker is away.
    fleet.expect_log("node condition");
    fleet.expect_log("broker");
    fleet.apply_ready(&manifest(&redis.address()))?;
    let before = pids(&fleet)?;
    let at_sink = |least: u64| {
        fleet.wait_system("demo", "frames at the sink", |system| {
            instance_stats(system, "log").is_some_and(|stats| stats.frames > least)
        })
    };
    at_sink(10)?;
    let system = fleet.api.system("demo")?;
    let outputs = instance_stats(&system, "motion")
        .unwrap_or_default()
        .outputs;
    ensure!(
        outputs.iter().all(|output| output.transport == "redis"),
        "{outputs:?}"
    );
    ensure!(
        system.links.iter().all(|link| link.transport == "redis"),
        "{:?}",
        system.links
    );

    redis.kill9()?;
    fleet.wait_system("demo", "a condition that names the broker", |system| {
        instance_stats(system, "camera").is_some_and(|stats| stats.condition.contains("broker"))
    })?;
    redis.restart()?;
    let system = fleet.wait_system("demo", "the end of the condition", |system| {
        ["camera", "motion"].iter().all(|node| {
            instance_stats(system, node).is_some_and(|stats| stats.condition.is_empty())
        })
    })?;
    let frames = instance_stats(&system, "log").unwrap_or_default().frames;
    at_sink(frames + 20)?;
    ensure!(pids(&fleet)? == before, "a node was restarted");
    fleet.finish()
}

/// A link of its own through the device's broker; `log` may be anything that takes frames.
fn via_broker(log: &str, option: &str) -> String {
    format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata: {{name: demo}}
spec:
  nodes:
    camera: {{use: pattern, with: {{size: 320x240, fps: 20}}}}
    motion: {{use: motion}}
    log: {log}
  links:
    - camera -> motion
    - motion -> log [durable, window: 16{option}]
  views: [motion]
"
    )
}

/// The device's own redis-server, with its socket.
fn own_server(fleet: &Fleet) -> Option<(u32, String)> {
    let processes = mentioning(fleet.home()).into_iter();
    let mut servers = processes.filter(|(_, command)| command.contains("redis-server unixsocket:"));
    let (pid, command) = servers.next()?;
    let socket = command.split("unixsocket:").nth(1)?.trim().to_owned();
    Some((pid, socket))
}

fn redis_cli(socket: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new("redis-cli")
        .args(["-s", socket])
        .args(arguments)
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn the_devices_own_broker_is_started_kept_up_and_ended() -> Result<()> {
    if !Redis::is_installed() {
        eprintln!("skipped: redis-server is not installed");
        return Ok(());
    }
    let mut fleet = Fleet::with_device()?;
    // What nodes say while the broker is away.
    fleet.expect_log("node condition");
    fleet.expect_log("broker");
    let system = fleet.apply_ready(&via_broker("{use: log}", ", via: broker"))?;
    let transports: Vec<_> = system.links.iter().map(|link| &*link.transport).collect();
    ensure!(transports == ["shm", "redis"], "{transports:?}");
    let at_sink = |least: u64| {
        fleet.wait_system("demo", "frames at the sink", |system| {
            instance_stats(system, "log").is_some_and(|stats| stats.frames > least)
        })
    };
    at_sink(10)?;
    let (pid, socket) = own_server(&fleet).context("no redis-server")?;
    let port = redis_cli(&socket, &["config", "get", "port"])?;
    ensure!(port.ends_with('0') && port.lines().count() == 2, "{port}");
    let policy = redis_cli(&socket, &["config", "get", "maxmemory-policy"])?;
    ensure!(policy.contains("noeviction"), "{policy}");

    let before = pids(&fleet)?;
    kill(pid)?;
    until("another redis-server", || {
        let server = own_server(&fleet).filter(|(other, _)| *other != pid);
        Ok(server.map(|_| ()))
    })?;
    let system = fleet.api.system("demo")?;
    at_sink(instance_stats(&system, "log").unwrap_or_default().frames + 20)?;
    ensure!(pids(&fleet)? == before, "a node was restarted");

    fleet.apply_ready(&via_broker("{use: log}", ""))?;
    until("the end of redis-server", || {
        Ok(own_server(&fleet).is_none().then_some(()))
    })?;
    let folder = fleet.agent()?.data().join("broker");
    until("the end of its folder", || {
        Ok((!folder.exists()).then_some(()))
    })?;
    fleet.finish()
}

#[test]
fn frames_in_the_devices_own_broker_outlive_the_agent_and_their_producer() -> Result<()> {
    if !Redis::is_installed() {
        eprintln!("skipped: redis-server is not installed");
        return Ok(());
    }
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("broker");
    // Nobody takes the frames.
    fleet.apply(&via_broker(
        "{run: [sleep, '600']}",
        ", via: broker, on_full: block",
    ))?;
    let length = |socket: &str| {
        redis_cli(
            socket,
            &["xlen", "edgeflow:edge-1:demo.motion.0:motion->log"],
        )
    };
    let full = |fleet: &Fleet| {
        until("a full stream", || {
            let Some((pid, socket)) = own_server(fleet) else {
                bail!("no redis-server")
            };
            let length = length(&socket)?;
            if length == "16" {
                return Ok(Some((pid, socket)));
            }
            bail!("{length} frames")
        })
    };
    let (pid, socket) = full(&fleet)?;
    let first = |socket: &str| {
        let key = "edgeflow:edge-1:demo.motion.0:motion->log";
        redis_cli(socket, &["xrange", key, "-", "+", "COUNT", "1"])
    };
    let oldest = first(&socket)?;
    let agent = fleet.agent()?;
    agent.process().terminate(Duration::from_secs(10))?;
    ensure!(
        alive(pid),
        "the broker ended with the agent, and the nodes run on"
    );
    agent.restart()?;
    until("the end of the old redis-server", || {
        Ok((!alive(pid)).then_some(()))
    })?;
    let (_, socket) = full(&fleet)?;
    ensure!(first(&socket)? == oldest, "not the same frames");
    // As soon as the server has answered the agent: old frames must not come back after a crash.
    let dump = fleet.agent()?.data().join("broker/frames.rdb");
    until("the end of the dump that was read", || {
        Ok((!dump.exists()).then_some(()))
    })?;

    // A link that no longer goes there takes them along, and says so.
    fleet.apply(&via_broker("{run: [sleep, '600']}", ", on_full: block"))?;
    until("word of the frames that go with the link", || {
        let events = fleet.api.events("demo")?;
        let told = |event: &&Event| event.message.contains("16 frames of link motion->log");
        Ok(events.iter().find(told).map(|_| ()))
    })?;
    fleet.finish()
}

#[test]
fn a_device_without_redis_server_says_what_to_install() -> Result<()> {
    let mut fleet = Fleet::empty()?;
    fleet.expect_log("redis-server");
    let options = AgentOptions {
        name: "edge-1".to_owned(),
        join: Some(fleet.api.create_token(0, 1)?),
        env: vec![("PATH".to_owned(), "/nonexistent".to_owned())],
        ..Default::default()
    };
    fleet.add(options)?;
    fleet.wait_online("edge-1")?;
    let applied = fleet
        .api
        .apply(&via_broker("{use: log}", ", via: broker"))?;
    let warned = applied
        .problems
        .iter()
        .any(|problem| problem.code == "missing-broker" && problem.message.contains("edge-1"));
    ensure!(warned, "{:?}", applied.problems);
    fleet.wait_system("demo", "the reason", |system| {
        let status = system.status.clone().unwrap_or_default();
        let mut instances = status.instances.iter();
        instances.any(|it| it.node == "motion" && it.reason.contains("install redis-server 7"))
    })?;
    fleet.finish()
}

#[test]
fn the_stream_of_a_replica_that_is_gone_is_removed() -> Result<()> {
    if !Redis::is_installed() {
        eprintln!("skipped: redis-server is not installed");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let redis = Redis::start(dir.path(), &[])?;
    let mut fleet = Fleet::with_device()?;
    fleet.expect_log("broker");
    let two = manifest(&redis.address()).replace("{use: motion}", "{use: motion, replicas: 2}");
    fleet.apply_ready(&two)?;
    let keys = || redis.command(&["keys", "edgeflow:edge-1:*"]);
    ensure!(keys()?.contains("demo.motion.1"), "{}", keys()?);
    fleet.apply_ready(&manifest(&redis.address()))?;
    until("the end of the stream", || {
        let keys = keys()?;
        if keys.contains("demo.motion.1") {
            bail!("{keys}")
        }
        Ok(Some(()))
    })?;
    fleet.cli(&["delete", "system", "demo", "--yes"])?.ok()?;
    until("the end of all streams", || {
        let keys = keys()?;
        if keys.is_empty() {
            return Ok(Some(()));
        }
        bail!("{keys}")
    })?;
    fleet.finish()
}
