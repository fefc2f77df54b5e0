//! What benchmarks need beside our own programs: those of `bench/peers`, a workspace of its own, and
//! packages of the Python registry.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{process, repo};

const DORA: &str = "dora-rs-cli==1.1.0";
const PYTHON: &[&str] = &["onnxruntime==1.32.0", "opencv-python-headless", "numpy"];

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
    match installed("dora", &[DORA]) {
        Ok(folder) => {
            bench.env("DORA", folder.join("bin/dora"));
            bench.env("PYTHONPATH", folder);
        }
        // The benchmark says that it goes without.
        Err(error) => eprintln!("note: {error:#}"),
    }
    Ok(())
}

/// Puts onnxruntime and OpenCV in the way of the benchmark's Python.
pub(crate) fn python(bench: &mut Command) {
    match installed("python-inference", PYTHON) {
        Ok(folder) => drop(bench.env("PYTHONPATH", folder)),
        Err(error) => eprintln!("note: {error:#}"),
    }
}

/// A folder of their own for packages: the machine's Python stays as it is.
fn installed(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = repo::target_dir()?.join("tools").join(name);
    let complete = folder.join("complete");
    if !complete.exists() {
        process::run(
            process::command("python3")
                .args(["-m", "pip", "install", "--quiet"])
                .args(["--root-user-action=ignore", "--upgrade", "--target"])
                .arg(&folder)
                .args(packages),
        )?;
        std::fs::write(&complete, "")?;
    }
    Ok(folder)
}
