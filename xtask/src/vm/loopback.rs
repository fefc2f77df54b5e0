//! `v4l2loopback`, a camera that shows what a program writes into it, for formats that `vivid` does not
//! have: JPEG. Debian has its source only, so it is built here, against the headers of the machine's
//! kernel. Nothing is installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::packages::{self, Parts};
use crate::process;

const SOURCE: &str = "v4l2loopback-dkms";
const MODULE: &str = "v4l2loopback.ko";

/// The module for the machine's kernel. An error says why there is none.
pub(super) fn module(parts: &Parts) -> Result<PathBuf> {
    let dir = parts.dir.join("loopback");
    let module = dir.join(MODULE);
    if module.is_file() {
        return Ok(module);
    }
    if process::find("make").is_none() {
        bail!("`make` is not installed");
    }
    // Left over from a run that did not end.
    let _ = fs::remove_dir_all(&dir);
    let root = dir.join("root");
    let release = super::file_name(&parts.modules);
    let headers = format!("linux-headers-{release}");
    let mut names = packages::needed(&headers)?;
    println!("getting {SOURCE} and {}", names.join(", "));
    names.push(SOURCE.to_owned());
    packages::download(&names, &dir.join("debs"), |_| root.clone())?;
    let sources = root.join("usr/src");
    // Its first line names the other headers by where they would be installed.
    let makefile = sources.join(&headers).join("Makefile");
    let text = fs::read_to_string(&makefile).context("reading the headers' Makefile")?;
    let here = sources.display().to_string();
    fs::write(&makefile, text.replace("/usr/src", &here))?;
    let source = folder(&sources, "v4l2loopback-")?;
    let mut make = process::command("make");
    make.arg("-s").arg("-C").arg(sources.join(&headers));
    make.arg(format!("M={}", source.display())).arg("modules");
    process::quiet(&mut make).map_err(anyhow::Error::msg)?;
    let mut strip = process::command("strip");
    strip.args(["--strip-debug", "-o"]).arg(dir.join("new"));
    process::quiet(strip.arg(source.join(MODULE))).map_err(anyhow::Error::msg)?;
    fs::rename(dir.join("new"), &module)?;
    fs::remove_dir_all(&root)?;
    Ok(module)
}

fn folder(parent: &Path, prefix: &str) -> Result<PathBuf> {
    let mut entries = fs::read_dir(parent)?.flatten().map(|entry| entry.path());
    let found = entries.find(|path| super::file_name(path).starts_with(prefix));
    found.with_context(|| format!("no {prefix}* in {}", parent.display()))
}
