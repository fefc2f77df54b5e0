//! One system over two devices: frames go from agent to agent, and survive what happens to them.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use edgeflow_proto::v1::{self as pb, SystemPhase};
use edgeflow_testkit::{AgentOptions, Fleet, Network, Redis, binary, kill, until};

use crate::apply::instance_stats;

const FRAMES: usize = 600;
/// Frames of a window: what may come twice when a process is replaced.
const WINDOW: usize = 64;

fn two_devices() -> Result<Fleet> {
    let mut fleet = Fleet::empty()?;
    fleet.add_labelled("cam", &["role=camera"])?;
    fleet.add_labelled("box", &["role=compute"])?;
    Ok(fleet)
}

fn pictures() -> String {
    "apiVersion: edgeflow.dev/v1
kind: System
metadata: {name: demo}
spec:
  placement: spread
  tracing: {sample: 1}
  nodes:
    camera: {use: pattern, with: {size: 320x240, fps: 20}, on: role=camera}
    motion: {use: motion, on: role=compute}
    log: {use: log}
  links:
    - camera -> motion -> log
  views: [camera, motion]
"
    .to_owned()
}

/// A source on one device, two replicas over both, a sink on the other: every link but some of the
/// replicas' goes between devices.
fn counted(program: &Path, written: &Path) -> String {
    let (program, written) = (program.display(), written.display());
    format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata: {{name: demo}}
spec:
  placement: spread
  nodes:
    numbers: {{run: [\"{program}\", numbers], with: {{fps: 60, count: {FRAMES}}}, on: role=camera}}
    work: {{run: [\"{program}\", relay], with: {{sleep_ms: 10}}, replicas: 2}}
    collect:
      run: [\"{program}\", collect]
      outputs: []
      with: {{write_to: \"{written}\"}}
      on: role=compute
  links:
    - numbers -> work [durable]
    - work -> collect [durable]
"
    )
}

fn device_of<'a>(system: &'a pb::System, instance: &str) -> &'a str {
    let instances = system.status.iter().flat_map(|status| &status.instances);
    let found = instances.into_iter().find(|one| one.id == instance);
    found.map_or("", |one| &one.device_name)
}

fn read(written: &Path) -> (BTreeSet<u32>, usize) {
    let text = std::fs::read_to_string(written).unwrap_or_default();
    let numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let unique: BTreeSet<u32> = numbers.iter().copied().collect();
    let repeated = numbers.len() - unique.len();
    (unique, repeated)
}

fn wait_for(written: &Path, count: usize) -> Result<()> {
    until(&format!("{count} numbers"), || {
        let have = read(written).0.len();
        ensure!(have >= count, "{have} of them");
        Ok(Some(()))
    })
}

#[test]
fn a_system_runs_over_two_devices_and_shows_how() -> Result<()> {
    let fleet = two_devices()?;
    let planned = fleet.write("spread.yaml", &pictures());
    planned?;
    let plan = fleet.cli(&["plan", "spread.yaml"])?.text();
    ensure!(plan.contains("tcp"), "{plan}");
    let system = fleet.apply_ready(&pictures())?;
    let places =
        ["camera", "motion", "log"].map(|node| device_of(&system, &format!("demo.{node}.0")));
    ensure!(places == ["cam", "box", "box"], "{places:?}");
    let transports: Vec<&str> = system.links.iter().map(|link| &*link.transport).collect();
    ensure!(transports == ["tcp", "shm"], "{transports:?}");
    let system = fleet.wait_system("demo", "frames and times over the link", |system| {
        let stats = instance_stats(system, "motion").unwrap_or_default();
        let hop = stats.inputs.first().and_then(|input| input.hop);
        stats.frames > 20 && hop.is_some_and(|hop| hop.p50_us > 0)
    })?;
    let camera = instance_stats(&system, "camera").unwrap_or_default();
    ensure!(camera.outputs[0].transport == "tcp", "{:?}", camera.outputs);
    // A look at either device's frames from outside.
    for node in ["camera", "motion"] {
        let seen = fleet
            .cli(&["tap", "demo", node, "--count", "3", "--json"])?
            .ok()?;
        ensure!(seen.text().lines().count() >= 3, "{}", seen.text());
    }
    // A sampled frame tells of its way over both devices.
    let seen = fleet
        .cli(&["tap", "demo", "motion", "--count", "1", "--json"])?
        .ok()?;
    let frame: serde_json::Value = serde_json::from_str(&seen.stdout)?;
    let hops = frame["meta"]["hops"].as_array().context("no hops")?;
    let way: Vec<String> = hops
        .iter()
        .map(|hop| format!("{} on {}", hop["node"], hop["device"]).replace('"', ""))
        .collect();
    ensure!(way == ["camera on cam", "motion on box"], "{way:?}");
    let ns = |hop: usize, name: &str| hops[hop][name].as_u64().unwrap_or(0);
    let times = [
        ns(0, "start_ns"),
        ns(0, "out_ns"),
        ns(1, "in_ns"),
        ns(1, "start_ns"),
        ns(1, "out_ns"),
    ];
    // Both agents are on one machine here, so that its clock is one.
    ensure!(times[0] > 0 && times.is_sorted(), "{times:?}");
    fleet.finish()
}

#[test]
fn nothing_is_lost_between_devices_whatever_is_killed() -> Result<()> {
    let mut fleet = two_devices()?;
    // Killed nodes and agents, and what the others say about them.
    for said in [
        "exited",
        "signal 9",
        "LinkUnreachable",
        "earlier agent",
        "control plane",
    ] {
        fleet.expect_log(said);
    }
    let program = binary("test_node").or_else(|_| binary("examples/test_node"))?;
    let written = fleet.home().join("numbers");
    let system = fleet.apply_ready(&counted(&program, &written))?;
    let both: BTreeSet<&str> = (0..2)
        .map(|n| device_of(&system, &format!("demo.work.{n}")))
        .collect();
    ensure!(both == BTreeSet::from(["box", "cam"]), "{both:?}");
    wait_for(&written, 60)?;
    kill(fleet.instance("demo", "collect")?.pid)?;
    wait_for(&written, 150)?;
    // The agent that carries what arrives. Its nodes run on, and go with the new one.
    fleet.agent_named("box")?.process().kill9()?;
    fleet.agent_named("box")?.restart()?;
    fleet.wait_online("box")?;
    wait_for(&written, 300)?;
    let program = fleet.instance("demo", "numbers")?.pid;
    fleet.plane.process().kill9()?;
    wait_for(&written, FRAMES)?;
    ensure!(edgeflow_testkit::alive(program), "the source was restarted");
    let (numbers, repeated) = read(&written);
    let all: BTreeSet<u32> = (1..=u32::try_from(FRAMES)?).collect();
    ensure!(numbers == all, "missing {:?}", &all - &numbers);
    // Two processes were replaced, each with a window of frames at most in every link.
    ensure!(repeated <= 4 * WINDOW, "{repeated} repeated");
    fleet.plane.restart()?;
    fleet.finish()
}

#[test]
fn a_node_without_a_device_says_so_and_starts_when_one_fits() -> Result<()> {
    let mut fleet = Fleet::empty()?;
    fleet.add_labelled("cam", &["role=camera"])?;
    let applied = fleet.api.apply(&pictures())?;
    let warned = applied.problems.iter().any(|problem| {
        problem.code == "no-device" && problem.message.contains("no device matches `role=compute`")
    });
    ensure!(warned, "{:?}", applied.problems);
    let system = fleet.wait_system("demo", "it to be unplaced", |system| {
        let status = system.status.clone().unwrap_or_default();
        status.phase() == SystemPhase::Unplaced
    })?;
    let message = system.status.context("no status")?.message;
    ensure!(message.contains("motion runs nowhere"), "{message}");
    fleet.add_labelled("box", &["role=compute"])?;
    fleet.wait_ready("demo", 1)?;
    // The device goes for good: what may run elsewhere does, the rest waits.
    fleet.add_labelled("spare", &["role=compute"])?;
    fleet.expect_log("does not accept this device");
    fleet.cli(&["delete", "device", "box", "--yes"])?.ok()?;
    let system = fleet.wait_system("demo", "motion on the spare device", |system| {
        let status = system.status.clone().unwrap_or_default();
        status.phase() == SystemPhase::Ready && device_of(system, "demo.motion.0") == "spare"
    })?;
    ensure!(
        device_of(&system, "demo.camera.0") == "cam",
        "the camera moved"
    );
    fleet.finish()
}

#[test]
fn a_stranger_gets_nothing_at_the_link_port() -> Result<()> {
    let mut fleet = two_devices()?;
    fleet.apply_ready(&pictures())?;
    let address = fleet.agent_named("cam")?.link_address().to_owned();
    let start = Instant::now();
    // Open only where something is read, and to nobody without a certificate.
    let idle = fleet.agent_named("box")?.link_address().to_owned();
    ensure!(
        std::net::TcpStream::connect(idle).is_err(),
        "open for nobody"
    );
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 300]] {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(said)?;
        let mut answer = Vec::new();
        // A reset is as good as an end.
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        ensure!(!text.contains("EFR1") && answer.len() < 100, "{text:?}");
    }
    ensure!(
        start.elapsed() < Duration::from_secs(20),
        "it was not closed"
    );
    fleet.wait_system("demo", "frames go on", |system| {
        instance_stats(system, "motion").is_some_and(|stats| stats.frames > 40)
    })?;
    fleet.finish()
}

#[test]
fn a_redis_server_carries_the_links_of_a_spread_system() -> Result<()> {
    if !Redis::is_installed() {
        eprintln!("skipped: redis-server is not installed");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let redis = Redis::start(dir.path(), &[])?;
    let mut fleet = two_devices()?;
    let broker = format!("spec:\n  broker: {{redis: '{}'}}", redis.address());
    fleet.apply_ready(&pictures().replacen("spec:", &broker, 1))?;
    let system = fleet.wait_system("demo", "frames through the server", |system| {
        instance_stats(system, "motion").is_some_and(|stats| stats.frames > 20)
    })?;
    ensure!(device_of(&system, "demo.camera.0") != device_of(&system, "demo.motion.0"));
    let carried = system.links.iter().all(|link| link.transport == "redis");
    ensure!(carried, "{:?}", system.links);
    // No agent has to be reached by another one then.
    let address = fleet.agent_named("cam")?.link_address().to_owned();
    ensure!(
        std::net::TcpStream::connect(address).is_err(),
        "open for nobody"
    );
    fleet.finish()
}

/// A machine is not told that a cable was pulled: silence has to be noticed.
#[test]
fn a_pulled_cable_is_noticed_and_shown_and_costs_no_frame() -> Result<()> {
    let Some(network) = Network::new() else {
        eprintln!("skipped: network namespaces need root and `ip`");
        return Ok(());
    };
    network.near(|| pull_the_cable(&network))
}

fn pull_the_cable(network: &Network) -> Result<()> {
    let mut fleet = Fleet::listening_on(Network::NEAR)?;
    for said in ["LinkUnreachable", "control plane", "no session"] {
        fleet.expect_log(said);
    }
    let agent = |fleet: &Fleet, name: &str, label: &str, ip: &str| -> Result<AgentOptions> {
        Ok(AgentOptions {
            name: name.to_owned(),
            join: Some(fleet.api.create_token(0, 1)?),
            labels: vec![label.to_owned()],
            link_ip: Some(ip.to_owned()),
            ..Default::default()
        })
    };
    let near = agent(&fleet, "box", "role=compute", Network::NEAR)?;
    fleet.add(near)?;
    let far = agent(&fleet, "cam", "role=camera", Network::FAR)?;
    network.far(|| fleet.add(far).map(drop))?;
    fleet.wait_online("box")?;
    fleet.wait_online("cam")?;
    let program = binary("test_node").or_else(|_| binary("examples/test_node"))?;
    let written = fleet.home().join("numbers");
    fleet.apply_ready(&counted(&program, &written))?;
    wait_for(&written, 60)?;
    network.cut()?;
    let cut = Instant::now();
    until("the loss to be noticed", || {
        let said = fleet.agent_named("box")?.output();
        Ok(said.contains("was not heard of").then_some(()))
    })?;
    let noticed = cut.elapsed();
    eprintln!("noticed after {noticed:.1?}");
    ensure!(noticed < Duration::from_secs(10), "{noticed:?}");
    let device = until("the condition to be shown", || {
        let devices = fleet.api.devices()?;
        let found = devices.into_iter().find(|device| device.name == "box");
        Ok(found.filter(|device| !device.conditions.is_empty()))
    })?;
    let condition = &device.conditions[0];
    ensure!(condition.r#type == "LinkUnreachable", "{condition:?}");
    ensure!(condition.message.contains("on cam"), "{condition:?}");
    network.mend()?;
    wait_for(&written, FRAMES)?;
    let (numbers, _) = read(&written);
    let all: BTreeSet<u32> = (1..=u32::try_from(FRAMES)?).collect();
    ensure!(numbers == all, "missing {:?}", &all - &numbers);
    until("the condition to end", || {
        let devices = fleet.api.devices()?;
        let calm = devices.iter().all(|device| device.conditions.is_empty());
        Ok(calm.then_some(()))
    })?;
    fleet.finish()
}
