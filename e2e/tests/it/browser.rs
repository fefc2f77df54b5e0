//! The dashboard in a real browser: Chromium, driven by `e2e/browser/dashboard.mjs`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use edgeflow_testkit::{Fleet, asset};
use serde_json::Value;

use crate::manifests::{FACES, pipeline};

#[test]
fn the_dashboard_shows_the_device_the_graph_and_the_video_with_boxes() -> Result<()> {
    if !has_browser() {
        return Ok(());
    }
    let fleet = Fleet::with_device()?;
    let real = asset("centerface.onnx").is_some() && asset("quickstart.avi").is_some();
    let (manifest, view) = if real {
        (FACES.to_owned(), "detect")
    } else {
        println!("without the model: the pattern and the motion detector");
        (pipeline(15, 0.02), "motion")
    };
    fleet.apply_ready(&manifest)?;
    let out = out_dir()?;
    let token = fleet.plane.admin_token()?;
    let output = Command::new("node")
        .arg(script("dashboard.mjs"))
        .args(["--url", &format!("http://{}", fleet.plane.http)])
        .args(["--token", &token, "--system", "demo", "--device", "edge-1"])
        .args(["--view", view])
        .arg("--out")
        .arg(&out)
        .output()
        .context("running node")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{stdout}{stderr}");
    let last = stdout
        .lines()
        .last()
        .context("the script printed nothing")?;
    let seen: Value = serde_json::from_str(last).with_context(|| format!("not JSON: {last}"))?;
    ensure!(seen["boxes"].as_u64() > Some(0), "no boxes drawn: {seen}");
    ensure!(
        seen["fps"].as_f64() > Some(0.0),
        "no frames per second on the graph: {seen}"
    );
    ensure!(
        seen["colours"].as_u64() > Some(8),
        "the canvas is empty: {seen}"
    );
    ensure!(
        seen["errors"] == Value::Array(Vec::new()),
        "console errors: {seen}"
    );
    println!("{last}");
    fleet.finish()
}

/// A script that drives the browser.
pub(crate) fn script(name: &str) -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    scripts.join(name)
}

/// Whether there is what the scripts need; says what to do if not.
pub(crate) fn has_browser() -> bool {
    let found = script("node_modules/playwright-core").is_dir();
    if !found {
        println!("skipped: run `npm ci` in e2e/browser, or `cargo xtask setup`");
    }
    found
}

/// Where the screenshots go.
pub(crate) fn out_dir() -> Result<PathBuf> {
    let path = match std::env::var_os("EDGEFLOW_TEST_OUT") {
        Some(path) => PathBuf::from(path),
        None => std::env::temp_dir().join("edgeflow-e2e"),
    };
    std::fs::create_dir_all(&path).context("creating the folder for screenshots")?;
    Ok(path)
}
