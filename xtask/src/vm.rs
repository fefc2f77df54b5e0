//! A small virtual machine with a real camera driver (the kernel's `vivid`), for what can't be tested
//! on machines without cameras. Boots Debian's own kernel with a root file system in memory, runs
//! programs of this repository in it and ends. Installs nothing on the host: its packages are
//! unpacked in the target folder and kept there.

mod archive;
mod loopback;
mod modules;
mod packages;
mod root;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{process, repo};
use packages::Parts;

/// Longest run of a machine.
const TIME_LIMIT: Duration = Duration::from_secs(240);
/// The kernel needs a few MiB beside the programs.
const MEMORY_MIB: u64 = 320;
/// Lines that are kept of a run.
const MAX_LINES: usize = 20_000;
/// What the machine prints last, before the exit code of its script.
const END_MARK: &str = "edgeflow-vm-end";

/// Cameras of the machine: a webcam with one plane of memory (640x480 at 25 at most), and an HDMI
/// input with several planes (any size, 60 a second).
const VIVID: &str =
    "n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0x0,0x3 multiplanar=1,2";

/// Number of the camera that shows what is written into it.
const LOOPBACK: u32 = 9;

/// What runs in a machine.
pub(crate) struct Job {
    /// Programs of the host; they are in the machine's PATH.
    pub(crate) programs: Vec<PathBuf>,
    /// Commands for busybox's shell.
    pub(crate) script: String,
    /// Modules that scripts may load from `/mod`, beside those of the machine itself.
    pub(crate) modules: Vec<PathBuf>,
    /// Gives it a network: this machine's loopback is 10.0.2.2 there.
    pub(crate) network: bool,
    /// Passes this program's input on to the machine's console.
    pub(crate) console: bool,
}

/// A machine that can be started, as often as one likes.
pub(crate) struct Machine {
    parts: Parts,
}

impl Machine {
    /// Gets what is missing. An error says why there can't be a machine here.
    pub(crate) fn prepare() -> Result<Self> {
        if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            bail!("the virtual machine runs on x86-64 Linux only");
        }
        Ok(Self {
            parts: packages::get()?,
        })
    }

    /// Runs a job, shows its output as it comes, and returns it. An exit code other than 0 is an
    /// error.
    pub(crate) fn run(&self, job: &Job) -> Result<Vec<String>> {
        let image = self.parts.dir.join("initrd");
        root::build(&self.parts, job, VIVID, END_MARK, &image)?;
        let started = Instant::now();
        let mut qemu = self.qemu(&image, job)?;
        let result = follow(&mut qemu, started);
        // It has ended by itself, or hangs.
        let _ = qemu.kill();
        let _ = qemu.wait();
        let (lines, code) = result?;
        let seconds = started.elapsed().as_secs_f64();
        match code {
            Some(0) => {
                println!("virtual machine: done in {seconds:.1} s");
                Ok(lines)
            }
            Some(code) => bail!("the script in the virtual machine ended with exit code {code}"),
            None => bail!("the virtual machine ended or hung after {seconds:.0} s, see above"),
        }
    }

    fn tool(&self) -> PathBuf {
        self.parts.program("usr/bin/v4l2-ctl")
    }

    fn qemu(&self, image: &Path, job: &Job) -> Result<Child> {
        let share = self.parts.root.join("usr/share");
        let memory = std::fs::metadata(image)?.len() / (1 << 20) * 2 + MEMORY_MIB;
        let mut command = self.parts.command("usr/bin/qemu-system-x86_64");
        command
            // Not KVM: nested in another machine it may be there and not work.
            .args(["-M", "q35", "-accel", "tcg,thread=multi"])
            .args(["-cpu", "max", "-smp", "2", "-m", &memory.to_string()])
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-serial", "stdio", "-monitor", "none"])
            .arg("-L")
            .arg(share.join("qemu"))
            .arg("-L")
            .arg(share.join("seabios"))
            .arg("-kernel")
            .arg(&self.parts.kernel)
            .arg("-initrd")
            .arg(image)
            .arg("-append")
            .arg(
                "console=ttyS0 quiet loglevel=3 panic=-1 nokaslr mitigations=off tsc=reliable \
                 random.trust_cpu=on cryptomgr.notests",
            )
            .stdin(if job.console {
                Stdio::inherit()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        if job.network {
            command.args(["-netdev", "user,id=net", "-device"]);
            command.arg("virtio-net-pci,netdev=net,romfile=");
        }
        command.spawn().context("starting qemu")
    }
}

/// Lines until the end mark, and the exit code in it.
fn follow(qemu: &mut Child, started: Instant) -> Result<(Vec<String>, Option<i32>)> {
    let output = qemu.stdout.take().context("the output of qemu")?;
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut lines = BufReader::new(output).split(b'\n');
        while let Some(Ok(line)) = lines.next() {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut lines = Vec::new();
    let mut code = None;
    while code.is_none() {
        let left = TIME_LIMIT.saturating_sub(started.elapsed());
        let Ok(line) = receiver.recv_timeout(left) else {
            break;
        };
        match line.split_once(END_MARK) {
            Some((_, number)) => code = Some(number.trim().parse().unwrap_or(-1)),
            None => {
                println!("vm| {line}");
                if lines.len() < MAX_LINES {
                    lines.push(line);
                }
            }
        }
    }
    let _ = qemu.kill();
    drop(receiver);
    let _ = reader.join();
    Ok((lines, code))
}

/// `cargo xtask vm`: the camera tests; with `[--with PROGRAM]... COMMANDS`, those instead, with a
/// network and a console.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let machine = Machine::prepare()?;
    if args.is_empty() {
        return cameras(&machine);
    }
    let mut programs = vec![machine.tool()];
    let mut rest = args;
    while let [flag, program, others @ ..] = rest
        && flag == "--with"
    {
        programs.push(PathBuf::from(program));
        rest = others;
    }
    let job = Job {
        programs,
        script: rest.join(" "),
        modules: Vec::new(),
        network: true,
        console: true,
    };
    machine.run(&job).map(drop)
}

/// The camera tests as a step of the tests; where there can't be a machine it says so.
pub(crate) fn test() -> Result<()> {
    match Machine::prepare() {
        Ok(machine) => {
            cameras(&machine)?;
            fleet()
        }
        Err(error) => {
            eprintln!("note: tests with a real camera driver are skipped: {error:#}");
            Ok(())
        }
    }
}

/// The benchmark of cameras: both of the machine's, the second one with several planes of memory.
pub(crate) fn bench_capture(bench: PathBuf) -> Result<()> {
    let machine = Machine::prepare()?;
    let job = Job {
        programs: vec![machine.tool(), bench],
        script: "edgeflow-bench capture /dev/video1 && edgeflow-bench capture /dev/video0"
            .to_owned(),
        modules: Vec::new(),
        network: false,
        console: false,
    };
    machine.run(&job).map(drop)
}

/// Tests of edgeflow-capture against the driver.
fn cameras(machine: &Machine) -> Result<()> {
    let tests = test_program("crates/capture/src/lib.rs")?;
    let name = file_name(&tests);
    let mut script = format!(
        "export EDGEFLOW_TEST_VIVID=1 RUST_BACKTRACE=1\n\
         {name} vivid_ --test-threads=1 --nocapture || exit 1\n"
    );
    let mut modules = Vec::new();
    match loopback::module(&machine.parts) {
        Ok(module) => {
            modules.push(module);
            // Behind the others, which count the cameras.
            script.push_str(&format!(
                "insmod /mod/v4l2loopback.ko video_nr={LOOPBACK} card_label=loopback exclusive_caps=0\n\
                 {name} loopback_ --test-threads=1 --nocapture\n"
            ));
        }
        Err(error) => eprintln!("note: the tests with v4l2loopback are skipped: {error:#}"),
    }
    let lines = machine.run(&Job {
        programs: vec![machine.tool(), tests],
        script,
        modules,
        network: false,
        console: false,
    })?;
    let ran = lines.iter().any(|line| line.starts_with("test result: ok"));
    if !ran || lines.iter().any(|line| line.contains("skipped:")) {
        bail!("the tests did not run in the virtual machine");
    }
    Ok(())
}

/// The end-to-end test with an agent in the machine. It starts the machine through this program.
fn fleet() -> Result<()> {
    let target = repo::target_dir()?;
    let out = target.join("e2e");
    std::fs::create_dir_all(&out).context("creating the folder for screenshots")?;
    let tests = test_program("e2e/tests/it/main.rs")?;
    let mut tests = process::command(&tests.to_string_lossy());
    tests
        .args(["camera::", "--nocapture"])
        // Not the path of this process: the build may have put another file there.
        .env("EDGEFLOW_TEST_VM", target.join("debug/xtask"))
        .env("EDGEFLOW_TEST_OUT", out);
    process::run(&mut tests)
}

/// A test program by its source file, as the build of the whole workspace made it: one of the
/// package alone would have other features, and would build half of everything anew.
fn test_program(source: &str) -> Result<PathBuf> {
    let mut build = process::cargo();
    build.args(["test", "--locked", "--quiet", "--no-run", "--workspace"]);
    let output = process::output(build.args(["--message-format", "json"]))?;
    let mut messages = output.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["src_path"].as_str()?.ends_with(source);
        message["executable"]
            .as_str()
            .filter(|_| is_it)
            .map(PathBuf::from)
    });
    messages
        .next_back()
        .with_context(|| format!("cargo names no test program of {source}"))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
