//! `cargo xtask test`: what the tests need, one build, then every test of the repository.

use anyhow::{Context, Result};

use crate::{assets, process, repo, setup, steps::Steps, vm, web};

pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new();
    run_in(&mut steps);
    steps.finish()
}

/// The test steps, as part of a longer list.
pub(crate) fn run_in(steps: &mut Steps) {
    if steps.run("setup", setup::for_test).is_err() {
        eprintln!("note: going on with what is there");
    }
    steps.check("npm packages", || {
        web::install()?;
        web::npm_ci("e2e/browser")
    });
    if let Err(error) = steps.run("build", build) {
        // Without binaries the rest has nothing to test.
        eprintln!("error: {error:#}");
        return;
    }
    steps.check("models and clip", models_and_clip);
    steps.check("cargo test", cargo_test);
    steps.check("camera tests", vm::test);
    steps.check("web tests", web::test);
    steps.check("soak", soak);
}

/// Everything in the one profile that tests, end-to-end tests and lints share.
fn build() -> Result<()> {
    process::run(process::cargo().args(["build", "--locked", "--workspace", "--all-targets"]))
}

fn models_and_clip() -> Result<()> {
    let nodes = repo::target_dir()?.join("debug/edgeflow-nodes");
    if let Err(error) = assets::download().and_then(|()| assets::clip(&nodes)) {
        // The tests that need them say that they were skipped.
        eprintln!("note: tests with real models are skipped: {error:#}");
    }
    if let Err(error) = assets::download_for_tests() {
        eprintln!("note: tests with ONNX Runtime or PicoDet are skipped: {error:#}");
    }
    Ok(())
}

/// Two minutes of the half an hour that `cargo xtask bench soak` takes.
fn soak() -> Result<()> {
    let bench = repo::target_dir()?.join("debug/edgeflow-bench");
    process::run(process::command(&bench.to_string_lossy()).args(["soak", "--minutes", "2"]))
}

fn cargo_test() -> Result<()> {
    let assets = assets::dir()?;
    let out = repo::target_dir()?.join("e2e");
    std::fs::create_dir_all(&out).context("creating the folder for screenshots")?;
    process::run(
        process::cargo()
            .args(["test", "--locked", "--workspace", "--no-fail-fast"])
            .env("EDGEFLOW_TEST_ASSETS", assets)
            .env("EDGEFLOW_TEST_ONNXRUNTIME", assets::onnxruntime_dir()?)
            .env("EDGEFLOW_TEST_OUT", out)
            // A snapshot that is missing is a failure, not something to accept.
            .env("INSTA_UPDATE", "no"),
    )
}
