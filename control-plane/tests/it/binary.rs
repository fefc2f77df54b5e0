//! The process: exit codes, addresses file, end with its parent.

use std::{
    process::{Command, Output, Stdio},
    time::Instant,
};

use crate::harness::{PATIENCE, until};

fn command(dir: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeflow-control-plane"));
    command
        .arg("--data-dir")
        .arg(dir)
        .stdin(Stdio::null())
        .env_remove("EDGEFLOW_CONTROL_PLANE_LISTEN");
    command
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_plain_port_off_loopback_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path())
        .args(["--listen", "127.0.0.1:0", "--http", "0.0.0.0:0"])
        .output()
        .unwrap();
    let text = error(&output);
    assert!(
        text.contains("--http 0.0.0.0:0 is not a loopback address"),
        "{text}"
    );
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path())
        .args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--http",
            "127.0.0.1:0",
        ])
        .output()
        .unwrap();
    let text = error(&output);
    assert!(text.contains(&format!("port {port} is in use")), "{text}");
    assert!(text.contains("--listen"), "{text}");
    assert!(!dir.path().join("ca.key").exists(), "nothing was made");
}

#[tokio::test]
async fn the_process_writes_its_addresses_and_ends_with_its_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = command(dir.path())
        .args([
            "--listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--exit-with-stdin",
        ])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let file = dir.path().join("addresses.json");
    let text = until(async || std::fs::read_to_string(&file).ok()).await;
    let addresses: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(
        addresses["http"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    drop(child.stdin.take());
    let begun = Instant::now();
    let status = until(async || child.try_wait().unwrap()).await;
    assert!(status.success() && begun.elapsed() < PATIENCE);
    assert!(!file.exists(), "a clean stop removes the addresses");
}
