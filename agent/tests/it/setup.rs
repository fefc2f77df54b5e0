//! Starts that have to fail, each with a message that says what to do.

use crate::{agent::AgentDirs, fleet::Fleet};

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_device_without_a_token_is_told_how_to_get_one() {
    let output = AgentDirs::new().fails("127.0.0.1:1", &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("edgeflow token create"),
        "{}",
        text(&output)
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dirs = AgentDirs::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_edgeflow-agent"));
    command
        .arg("--data-dir")
        .arg(&dirs.data)
        .arg("--run-dir")
        .arg(&dirs.run)
        .args(["--http", &address]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = text(&output);
    assert!(text.contains(&address) && text.contains("--http"), "{text}");
}

#[tokio::test]
async fn a_second_agent_on_a_data_folder_is_refused() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _first = dirs.start(&fleet.address(), &fleet.token());
    fleet.hello(1).await;
    let output = dirs.fails(&fleet.address(), &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("another agent already uses"),
        "{}",
        text(&output)
    );
}

#[tokio::test]
async fn a_text_that_is_no_token_is_refused_without_showing_it() {
    let output = AgentDirs::new()
        .fails("127.0.0.1:1", &["--join", "EF1.hunter2"])
        .await;
    assert_eq!(output.status.code(), Some(2));
    let text = text(&output);
    assert!(
        text.contains("--join") && !text.contains("hunter2"),
        "{text}"
    );
}
