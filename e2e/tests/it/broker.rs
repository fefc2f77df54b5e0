//! Links over a real Redis: frames flow, the broker goes and comes back, and it all is shown.

use anyhow::{Result, ensure};
use edgeflow_testkit::{Fleet, Redis};

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
