//! What `cargo xtask bench peers` needs beside our own programs: those of `bench/peers`, a workspace of
//! its own, and dora's command-line tool from the Python registry.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{process, repo};

const DORA: &str = "dora-rs-cli==1.1.0";

/// Builds the programs and tells the benchmark where they are.
pub(crate) fn prepare(bench: &mut Command) -> Result<()> {
    let target = repo::target_dir()?.join("peers");
    process::run(
        process::cargo()
            .args(["build", "--release", "--locked"])
            .args(["--manifest-path", "bench/peers/Cargo.toml"])
            .arg("--target-dir")
            .arg(&target),
    )?;
    bench.arg(target.join("release"));
    match dora() {
        Ok(folder) => {
            bench.env("DORA", folder.join("bin/dora"));
            bench.env("PYTHONPATH", folder);
        }
        // The benchmark says that it goes without.
        Err(error) => eprintln!("note: {error:#}"),
    }
    Ok(())
}

/// The folder that the tool is installed in, its own: the machine's Python stays as it is.
fn dora() -> Result<PathBuf> {
    let folder = repo::target_dir()?.join("tools/dora");
    if !folder.join("bin/dora").exists() {
        process::run(
            process::command("python3")
                .args(["-m", "pip", "install", "--quiet"])
                .args(["--root-user-action=ignore", "--target"])
                .arg(&folder)
                .arg(DORA),
        )?;
    }
    Ok(folder)
}
