//! A device with cameras: the agent and its nodes in a virtual machine with the kernel's `vivid`
//! driver, joined to a control plane outside. Runs where `cargo xtask test` says how to start one.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use edgeflow_testkit::{Fleet, Process, binary, until, until_within};
use serde_json::{Value, json};

use crate::browser::{has_browser, out_dir, script};

/// A program that starts the machine: `PROGRAM vm [--with FILE]... COMMANDS`.
const GATE: &str = "EDGEFLOW_TEST_VM";
/// The host's loopback, as the machine sees it.
const HOST: &str = "10.0.2.2";
const DEVICE: &str = "edge-vm";
/// Programs are slow in there.
const PATIENCE: Duration = Duration::from_secs(90);

/// Another one that wants the same camera.
const HALL: &str = "apiVersion: edgeflow.dev/v1
kind: System
metadata: {name: hall}
spec:
  nodes:
    camera: {use: camera, with: {device: vivid-000, fps: 5}}
    log: {use: log}
  links: [camera -> log]
";
const MANIFEST: &str = r#"
apiVersion: edgeflow.dev/v1
kind: System
metadata: {name: door}
spec:
  nodes:
    camera: {use: camera, with: {device: vivid-000, size: 640x480, fps: 30}}
    motion: {use: motion}
  links: [camera.raw -> motion]
  views: [camera]
"#;

/// The running machine.
struct Machine {
    process: Process,
    console: ChildStdin,
}

impl Machine {
    fn start(program: &Path, script: &str, log: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("vm");
        for name in ["edgeflow-agent", "edgeflow-nodes"] {
            command.arg("--with").arg(binary(name)?);
        }
        let mut process = Process::start(command.arg(script), log)?;
        let console = process.stdin().context("the machine has no console")?;
        Ok(Self { process, console })
    }

    /// Runs a command in the machine's shell.
    fn run(&mut self, command: &str) -> Result<()> {
        writeln!(self.console, "{command}").context("writing to the machine's console")
    }

    /// Waits until the machine has printed a text.
    fn wait_for(&self, text: &str) -> Result<()> {
        until(&format!("`{text}` on the machine's console"), || {
            Ok(self.process.output().contains(text).then_some(()))
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("virtual machine:\n{}", self.process.output());
        }
        // The program that was started is not the machine itself: it is asked to end it.
        let _ = self.run("exit 0");
        let process = &mut self.process;
        let _ = until_within(Duration::from_secs(20), "the machine to end", || {
            Ok(process.ended())
        });
    }
}

/// The page, and what it has seen.
struct Page {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Page {
    fn open(fleet: &Fleet) -> Result<Self> {
        let mut child = Command::new("node")
            .arg(script("camera.mjs"))
            .args(["--url", &format!("http://{}", fleet.plane.http)])
            .args(["--token", &fleet.plane.admin_token()?])
            .args(["--system", "door", "--device", DEVICE])
            .arg("--out")
            .arg(out_dir()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("running node")?;
        let input = child.stdin.take().context("the script has no input")?;
        let output = child.stdout.take().context("the script has no output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// The next thing it has seen; an error if it is another one.
    fn sees(&mut self, what: &str) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let seen: Value =
            serde_json::from_str(&line).with_context(|| format!("the script says: {line}"))?;
        ensure!(seen["saw"] == what, "waited for `{what}`, it saw {seen}");
        Ok(seen)
    }

    fn go_on(&mut self) -> Result<()> {
        writeln!(self.input).context("writing to the script")
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(0))
}

#[test]
fn a_device_with_cameras_shows_them_loses_them_and_gets_them_back() -> Result<()> {
    let Some(program) = std::env::var_os(GATE).map(PathBuf::from) else {
        println!("skipped: `cargo xtask test` runs it in a virtual machine with cameras");
        return Ok(());
    };
    let mut fleet = Fleet::advertising(HOST)?;
    let mut machine = join(&fleet, &program)?;
    cameras_are_listed(&fleet)?;
    let started = Instant::now();
    fleet.apply_ready(MANIFEST)?;
    println!("ready after {:.1} s", started.elapsed().as_secs_f64());
    frames_come_with_both_codecs(&fleet)?;
    controls_change_and_are_refused(&fleet, &mut machine)?;
    if let Err(error) = a_second_system_shares_the_camera(&fleet, &mut machine) {
        bail!("{error:#}\n{}", machine.process.output());
    }
    if has_browser() {
        let page = Page::open(&fleet)?;
        in_the_browser(&fleet, &mut machine, page)?;
    }
    let counters = fleet
        .instance("door", "camera")?
        .stats
        .unwrap_or_default()
        .counters;
    ensure!(counters.contains_key("lost"), "{counters:?}");
    fleet.expect_log("unplugged");
    fleet.expect_log("busy");
    fleet.finish()
}

/// Starts the machine with an agent in it and waits until the device is online.
fn join(fleet: &Fleet, program: &Path) -> Result<Machine> {
    let (_, port) = fleet.plane.listen.rsplit_once(':').context("no port")?;
    let token = fleet.api.create_token(0, 1)?;
    let script = format!(
        "edgeflow-agent --name {DEVICE} --data-dir /tmp/agent --run-dir /tmp/run \
         --server {HOST}:{port} --join {token} &\n\
         while read -r line; do eval \"$line\"; done\n"
    );
    let machine = Machine::start(program, &script, &fleet.home().join("machine.log"))?;
    let online = until_within(PATIENCE, "the device in the machine to be online", || {
        let devices = fleet.api.devices()?;
        let found = devices.into_iter().find(|device| device.name == DEVICE);
        Ok(found.filter(|device| device.online))
    });
    if let Err(error) = online {
        bail!("{error:#}\n{}", machine.process.output());
    }
    Ok(machine)
}

fn cameras_are_listed(fleet: &Fleet) -> Result<()> {
    let listed = fleet.cli(&["get", "cameras", "-o", "json"])?;
    let cameras: Value = serde_json::from_str(&listed.stdout)?;
    let paths: Vec<_> = cameras
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| &one["path"])
        .collect();
    ensure!(paths == ["/dev/video0", "/dev/video1"], "{cameras}");
    let webcam = &cameras[0];
    ensure!(
        webcam["driver"] == "vivid" && webcam["problem"] == "",
        "{webcam}"
    );
    ensure!(webcam["controls"]["brightness"]["max"] == 255, "{webcam}");
    let sizes = webcam["formats"]["yuyv"].as_array().context("no yuyv")?;
    ensure!(sizes.iter().any(|one| one["size"] == "640x480"), "{webcam}");
    Ok(())
}

/// `motion` takes raw pixels, and a look at the camera gets JPEG.
fn frames_come_with_both_codecs(fleet: &Fleet) -> Result<()> {
    let tap = |node: &str| -> Result<Value> {
        let tapped = fleet.cli(&["tap", node, "--json", "--count", "3"])?;
        let last = tapped.stdout.lines().last().context("no frame")?.to_owned();
        serde_json::from_str(&last).with_context(|| format!("not JSON: {last}"))
    };
    let frame = tap("door/camera")?;
    ensure!(frame["codec"] == "jpeg" && frame["width"] == 640, "{frame}");
    let raw = tap("door/motion")?;
    ensure!(raw["codec"] == "nv12" && raw["height"] == 480, "{raw}");
    ensure!(raw["bytes"] == 640 * 480 * 3 / 2, "{raw}");
    let camera = fleet.instance("door", "camera")?.stats.unwrap_or_default();
    ensure!(
        camera.condition == "asked 640x480@30, got @25",
        "{}",
        camera.condition
    );
    Ok(())
}

fn controls_change_and_are_refused(fleet: &Fleet, machine: &mut Machine) -> Result<()> {
    let set = |value: &str| fleet.cli(&["set", "door", "camera", value, "-o", "json"]);
    let applied = set("controls=brightness=200")?;
    ensure!(applied.code == 0, "{applied:?}");
    machine.run("v4l2-ctl -d /dev/video0 -C brightness")?;
    machine.wait_for("brightness: 200")?;
    let refused = set("controls=brightness=999")?;
    ensure!(refused.code != 0, "{refused:?}");
    let said: Value = serde_json::from_str(&refused.stdout)?;
    ensure!(said["withdrawn"] == json!(true), "{said}");
    let message = said["outcomes"][0]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("999 is not from 0 to 255"), "{said}");
    Ok(())
}

/// Two systems, one camera: both have pictures, whoever of them is killed or deleted.
fn a_second_system_shares_the_camera(fleet: &Fleet, machine: &mut Machine) -> Result<()> {
    let camera = |system: &str| -> Result<(bool, String)> {
        let stats = fleet.instance(system, "camera")?.stats.unwrap_or_default();
        let shares = stats.facts.get("shares").cloned().unwrap_or_default();
        let flows = stats.fps > 0.0 && !stats.condition.contains("busy");
        Ok((flows, shares))
    };
    let wait = |what: &str, system: &str, shared: bool| {
        until_within(PATIENCE, &format!("{system}: {what}"), || {
            let (flows, shares) = camera(system)?;
            Ok((flows && shares.is_empty() != shared).then_some(shares))
        })
    };
    fleet.apply_ready(HALL)?;
    let shares = wait("pictures of the other system", "hall", true)?;
    ensure!(shares.contains("door.camera.0"), "{shares}");
    let owner = fleet.instance("door", "camera")?;
    machine.run(&format!("kill -9 {}", owner.pid))?;
    until_within(PATIENCE, "the owner to be started again", || {
        let now = fleet.instance("door", "camera")?;
        Ok((now.restarts > owner.restarts).then_some(()))
    })?;
    for system in ["door", "hall"] {
        until_within(
            PATIENCE,
            &format!("{system}: pictures after the kill"),
            || Ok(camera(system)?.0.then_some(())),
        )?;
    }
    fleet.api.delete_system("door")?;
    wait("a camera of its own, its owner is gone", "hall", false)?;
    fleet.apply_ready(MANIFEST)?;
    wait("pictures of the other system", "door", true)?;
    fleet.api.delete_system("hall")?;
    wait("a camera of its own again", "door", false)?;
    Ok(())
}

/// Unplugs and plugs in again while somebody looks, then looks at the device's page.
fn in_the_browser(fleet: &Fleet, machine: &mut Machine, mut page: Page) -> Result<()> {
    page.sees("live")?;
    let driver = "/sys/bus/platform/drivers/vivid";
    let unplugged = now_ms();
    machine.run(&format!("echo vivid.0 > {driver}/unbind"))?;
    page.go_on()?;
    let seen = page.sees("unplugged")?;
    let card = seen["card"].as_str().unwrap_or_default();
    ensure!(card.contains("since") && card.contains("try"), "{card}");
    println!(
        "unplugged: error card after {} ms",
        seen["at"].as_i64().unwrap_or(0) - unplugged
    );
    let gone = until("the inventory to miss the camera", || {
        let device = fleet.api.devices()?.into_iter().next().unwrap_or_default();
        let cameras = device.facts.unwrap_or_default().cameras;
        let gone = |path: &str| {
            cameras
                .iter()
                .any(|one| one.path == path && one.problem == "unplugged")
        };
        Ok(gone("/dev/video0").then(now_ms))
    })?;
    println!("unplugged: in the inventory after {} ms", gone - unplugged);
    let plugged = now_ms();
    machine.run(&format!("echo vivid.0 > {driver}/bind"))?;
    page.go_on()?;
    let seen = page.sees("live again")?;
    println!(
        "plugged in: picture after {} ms",
        seen["at"].as_i64().unwrap_or(0) - plugged
    );
    let seen = page.sees("preview")?;
    ensure!(seen["controls"].as_u64() > Some(5), "{seen}");
    let preview_is_gone = || {
        until("the preview to be gone", || {
            let systems = fleet.cli(&["get", "systems", "-o", "name"])?;
            Ok((systems.stdout.trim() == "door").then_some(()))
        })
    };
    page.sees("closed")?;
    preview_is_gone()?;
    page.go_on()?;
    let seen = page.sees("left")?;
    ensure!(seen["errors"] == json!([]), "{seen}");
    preview_is_gone()?;
    page.go_on()
}
