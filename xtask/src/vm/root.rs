//! The root file system of the machine: busybox, modules, the programs with the libraries that they
//! need, and the script that runs first.

use std::{
    collections::BTreeMap,
    fs,
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{Job, archive::Archive, file_name, modules, packages::Parts};
use crate::process;

/// Commands of busybox that scripts may use.
const APPLETS: &[&str] = &[
    "cat", "chmod", "cp", "cut", "dmesg", "echo", "env", "false", "free", "grep", "head", "insmod",
    "ip", "kill", "ls", "mkdir", "mount", "ps", "rm", "rmmod", "sed", "seq", "sh", "sleep", "sort",
    "stat", "tail", "test", "time", "touch", "true", "uname", "wc",
];
const CAMERA: &str = "vivid";
const NETWORK: &[&str] = &["virtio_pci", "virtio_net"];
/// The host's loopback is 10.0.2.2 there.
const NETWORK_UP: &str = "ip link set lo up; ip link set eth0 up\n\
    ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2\n";
const LOADER: &str = "ld-linux-x86-64.so.2";

pub(super) fn build(
    parts: &Parts,
    job: &Job,
    module_options: &str,
    end_mark: &str,
    image: &Path,
) -> Result<()> {
    let file = fs::File::create(image).with_context(|| format!("creating {}", image.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    for folder in [
        "bin", "dev", "etc", "lib", "lib64", "mod", "proc", "sys", "tmp",
    ] {
        archive.folder(folder)?;
    }
    archive.device("dev/console", 5, 1)?;
    archive.file("bin/busybox", &fs::read(parts.program("bin/busybox"))?)?;
    for applet in APPLETS {
        archive.link(&format!("bin/{applet}"), "busybox")?;
    }
    let mut prepare = String::new();
    let mut wanted = vec![CAMERA];
    if job.network {
        wanted.extend(NETWORK);
    }
    for module in &modules::in_order(&parts.modules, &wanted)? {
        let name = file_name(module);
        archive.file(&format!("mod/{name}"), &fs::read(module)?)?;
        let options = if name == format!("{CAMERA}.ko") {
            module_options
        } else {
            ""
        };
        prepare.push_str(&format!("insmod /mod/{name} {options}\n"));
    }
    for module in &job.modules {
        archive.file(&format!("mod/{}", file_name(module)), &fs::read(module)?)?;
    }
    if job.network {
        prepare.push_str(NETWORK_UP);
    }
    let mut libraries = BTreeMap::new();
    for program in &job.programs {
        archive.file(
            &format!("bin/{}", file_name(program)),
            &stripped(parts, program)?,
        )?;
        libraries.extend(needed(parts, program)?);
    }
    for (name, path) in &libraries {
        archive.file(&format!("lib/{name}"), &fs::read(path)?)?;
    }
    archive.link(&format!("lib64/{LOADER}"), &format!("/lib/{LOADER}"))?;
    archive.file("job", job.script.as_bytes())?;
    archive.file("init", init(&prepare, end_mark).as_bytes())?;
    archive.finish().context("writing the root file system")
}

fn init(prepare: &str, end_mark: &str) -> String {
    format!(
        "#!/bin/sh\n\
         mount -t devtmpfs none /dev\n\
         mount -t proc none /proc\n\
         mount -t sysfs none /sys\n\
         mount -t tmpfs none /tmp\n\
         exec >/dev/console 2>&1\n\
         export PATH=/bin LD_LIBRARY_PATH=/lib HOME=/tmp TMPDIR=/tmp\n\
         {prepare}\
         (. /job)\n\
         code=$?\n\
         echo\n\
         echo {end_mark} $code\n\
         sleep 60\n"
    )
}

/// A program without what only a debugger needs: half of the boot is reading it.
fn stripped(parts: &Parts, program: &Path) -> Result<Vec<u8>> {
    let copy = parts.dir.join("stripped");
    let mut strip = process::command("strip");
    process::quiet(strip.arg("-o").arg(&copy).arg(program)).map_err(anyhow::Error::msg)?;
    let bytes = fs::read(&copy)?;
    fs::remove_file(&copy)?;
    Ok(bytes)
}

/// The libraries of a program, as the host's loader finds them.
fn needed(parts: &Parts, program: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut ldd = process::command("ldd");
    ldd.env("LD_LIBRARY_PATH", parts.library_path())
        .arg(program);
    let text = process::output(&mut ldd)?;
    let paths = text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths
        .map(|path| (file_name(Path::new(path)), PathBuf::from(path)))
        .collect())
}
