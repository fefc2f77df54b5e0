//! The machine's parts: Debian packages that are downloaded once, checked by apt, and unpacked beside
//! the build. Nothing is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::archive;
use crate::{process, repo};

/// What the machine is made of, beside the kernel.
const PACKAGES: &[&str] = &["qemu-system-x86", "busybox-static", "v4l-utils"];
/// Depends on the kernel package of the day. The `cloud` kernels have no vivid.
const KERNEL: &str = "linux-image-amd64";
/// Kept until the format of the folder changes.
const VERSION: &str = "1";

/// Unpacked packages.
pub(super) struct Parts {
    pub(super) dir: PathBuf,
    pub(super) root: PathBuf,
    pub(super) kernel: PathBuf,
    pub(super) modules: PathBuf,
}

impl Parts {
    /// An unpacked program, or one of the host.
    pub(super) fn program(&self, path: &str) -> PathBuf {
        let unpacked = self.root.join(path);
        if unpacked.exists() {
            return unpacked;
        }
        let name = Path::new(path).file_name().unwrap_or_default();
        process::find(&name.to_string_lossy()).unwrap_or(unpacked)
    }

    /// A command with the unpacked libraries.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = process::command(&self.program(program).to_string_lossy());
        command.env("LD_LIBRARY_PATH", self.library_path());
        command
    }

    pub(super) fn library_path(&self) -> String {
        ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
            .map(|folder| self.root.join(folder).display().to_string())
            .join(":")
    }
}

/// Gets and unpacks what is missing.
pub(super) fn get() -> Result<Parts> {
    let dir = repo::target_dir()?.join("vm");
    let ready = dir.join("ready");
    let parts = |release: &str| Parts {
        root: dir.join("root"),
        kernel: dir.join("kernel").join("vmlinux"),
        modules: dir.join("kernel/lib/modules").join(release),
        dir: dir.clone(),
    };
    if let Ok(text) = fs::read_to_string(&ready)
        && let Some((VERSION, release)) = text.trim().split_once(' ')
    {
        return Ok(parts(release));
    }
    for program in ["apt-get", "dpkg", "xz", "strip", "ldd"] {
        if process::find(program).is_none() {
            bail!("`{program}` is not installed (a Debian-like machine with binutils is needed)");
        }
    }
    // Left over from a run that did not end.
    let _ = fs::remove_dir_all(&dir);
    let kernel = kernel_package()?;
    println!("getting {kernel} and {}", PACKAGES.join(", "));
    let mut names = missing(PACKAGES)?;
    names.push(kernel.clone());
    download(&names, &dir.join("debs"), |deb| {
        let is_kernel = deb.starts_with(&format!("{kernel}_"));
        dir.join(if is_kernel { "kernel" } else { "root" })
    })?;
    let release = kernel.trim_start_matches("linux-image-");
    let parts = parts(release);
    let image = dir.join("kernel/boot").join(format!("vmlinuz-{release}"));
    archive::unpack_kernel(&image, &parts.kernel)?;
    fs::write(&ready, format!("{VERSION} {release}\n"))?;
    Ok(parts)
}

/// Downloads packages into a folder and unpacks each into the one that `target` says for its file.
pub(super) fn download(
    names: &[String],
    debs: &Path,
    target: impl Fn(&str) -> PathBuf,
) -> Result<()> {
    fs::create_dir_all(debs).with_context(|| format!("creating {}", debs.display()))?;
    let mut download = process::command("apt-get");
    download.current_dir(debs).args(["download", "-qq"]);
    // Who runs it may own a folder that apt's own user can't enter.
    download.args(["-o", "APT::Sandbox::User=root"]).args(names);
    process::quiet(&mut download).map_err(anyhow::Error::msg)?;
    for entry in fs::read_dir(debs)? {
        let deb = entry?.path();
        let mut unpack = process::command("dpkg");
        let target = target(&super::file_name(&deb));
        process::quiet(unpack.arg("-x").arg(&deb).arg(target)).map_err(anyhow::Error::msg)?;
        fs::remove_file(&deb)?;
    }
    Ok(())
}

/// A package and what it depends on itself.
pub(super) fn needed(package: &str) -> Result<Vec<String>> {
    let text = process::output(process::command("apt-cache").args(["depends", package]))?;
    let depends = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    let mut names = vec![package.to_owned()];
    names.extend(depends.map(str::to_owned));
    if names.len() == 1 {
        bail!("apt knows no package `{package}`");
    }
    Ok(names)
}

/// `linux-image-6.1.0-56-amd64`.
fn kernel_package() -> Result<String> {
    let find = || {
        let text = process::output(process::command("apt-cache").args(["depends", KERNEL]))?;
        let name = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with("linux-image-") && !name.contains("cloud"));
        anyhow::Ok(name.map(str::to_owned))
    };
    if let Some(name) = find()? {
        return Ok(name);
    }
    let mut update = process::command("apt-get");
    process::quiet(update.args(["update", "-qq"])).map_err(anyhow::Error::msg)?;
    find()?.with_context(|| format!("apt knows no package `{KERNEL}`"))
}

/// Packages and what they need, without what is installed.
fn missing(packages: &[&str]) -> Result<Vec<String>> {
    let mut plan = process::command("apt-get");
    plan.args([
        "install",
        "--yes",
        "--no-install-recommends",
        "--print-uris",
    ]);
    let text = process::output(plan.args(packages))?;
    let uris = text.lines().filter(|line| line.starts_with('\''));
    // 'URI' FILE SIZE DIGEST; FILE is NAME_VERSION_ARCH.deb.
    let names = uris.filter_map(|line| line.split(' ').nth(1)?.split('_').next());
    Ok(names.map(str::to_owned).collect())
}
