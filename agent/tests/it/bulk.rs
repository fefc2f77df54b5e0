//! Logs and live views over their own streams.

use std::time::Duration;

use edgeflow_proto::v1::{DeadLettersAsk, DeadLettersOf, StartLogs, StartView, StopView, command};
use edgeflow_stream::{Frame, Limits, Publisher, PublisherConfig, transport::unix::UnixListen};
use serde_json::json;

use crate::{agent::AgentDirs, eventually, fleet::Fleet, node::command, node::helper};

/// Fifty frames a second, for ever.
pub(crate) fn publish(path: &std::path::Path) {
    let config = PublisherConfig {
        name: "test".to_owned(),
        groups: Vec::new(),
        limits: Limits::default(),
        shared_memory: Some(edgeflow_stream::transport::shm::SharedMemory::default()),
    };
    let listen = Box::new(UnixListen::bind(path).unwrap());
    let publisher = Publisher::new(config, listen).unwrap();
    loop {
        publisher
            .send(Frame::jpeg(64, 48, vec![7_u8; 1000]))
            .unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn a_live_view_sends_frames_on_credit_and_stops_when_told() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = helper("camera", &json!({"frames": true}));
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    fleet.ready(&node.id).await;
    let view = StartView {
        instance: node.id.clone(),
        port: "out".to_owned(),
    };
    fleet.command("v1", command::Command::StartView(view)).await;
    let frames = eventually("five frames", || {
        Some(fleet.frames()).filter(|frames| frames.len() > 5)
    })
    .await;
    assert_eq!(frames[0].command_id, "v1");
    let limits = Limits::default();
    let first = Frame::decode(&frames[1].frame.clone().into(), &limits).unwrap();
    assert_eq!((first.header.width, first.payload.len()), (64, 1000));

    fleet
        .command("v1", command::Command::StopView(StopView {}))
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let count = fleet.frames().len();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(fleet.frames().len(), count, "nothing comes after the stop");
}

#[tokio::test]
async fn a_view_without_a_picture_says_why() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = command("sleeper", &["sleep", "1000"]);
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    fleet
        .instance("it runs", &node.id, |status| status.pid != 0)
        .await;
    for (id, instance, words) in [
        ("v1", "test.nobody.0", "does not run on this device"),
        ("v2", node.id.as_str(), "sleeper is starting"),
    ] {
        let view = StartView {
            instance: instance.to_owned(),
            port: "out".to_owned(),
        };
        fleet.command(id, command::Command::StartView(view)).await;
        eventually(words, || {
            fleet.frames().into_iter().find(|f| f.error.contains(words))
        })
        .await;
    }
}

#[tokio::test]
async fn logs_come_with_their_past_and_go_on_while_followed() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let script = "echo to out; echo to err >&2; i=0; while true; do i=$((i+1)); echo line $i; sleep 0.05; done";
    let node = command("talker", &["sh", "-c", script]);
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    fleet
        .instance("it runs", &node.id, |status| status.pid != 0)
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ask = StartLogs {
        system: "test".to_owned(),
        follow: true,
        ..StartLogs::default()
    };
    fleet.command("l1", command::Command::StartLogs(ask)).await;
    let lines = eventually("line 20", || {
        let lines = fleet.log_lines();
        lines.iter().any(|l| l.text == "line 20").then_some(lines)
    })
    .await;
    let find = |text: &str| lines.iter().find(|line| line.text == text).unwrap();
    assert_eq!(find("to out").stream, "stdout");
    assert_eq!(find("to err").stream, "stderr");
    assert_eq!(find("to err").node, "talker");
    assert!(lines.iter().any(|line| line.stream == "agent"));
    let numbers: Vec<u32> = lines
        .iter()
        .filter_map(|line| line.text.strip_prefix("line ")?.parse().ok())
        .collect();
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "each line once: {numbers:?}"
    );
}

#[tokio::test]
async fn a_question_about_dead_letters_is_answered_by_the_node_or_for_it() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let (node, mute) = (
        helper("camera", &json!({})),
        command("sleeper", &["sleep", "1000"]),
    );
    fleet
        .assign_accepted(1, &[node.clone(), mute.clone()])
        .await;
    fleet.ready(&node.id).await;
    let ask = |instance: &str| {
        command::Command::DeadLetters(DeadLettersOf {
            instance: instance.to_owned(),
            ask: Some(DeadLettersAsk {
                replay_ids: vec!["1-2".to_owned()],
                replay_all: false,
            }),
        })
    };
    for (id, instance, words) in [
        ("d1", node.id.as_str(), ""),
        ("d2", mute.id.as_str(), "it does not run"),
        ("d3", "test.nobody.0", "it is not on this device"),
    ] {
        fleet.command(id, ask(instance)).await;
        let answer = eventually("the answer", || {
            let reports = fleet.dead_letters();
            let report = reports.into_iter().find(|report| report.command_id == id);
            report.and_then(|report| report.answer)
        })
        .await;
        assert_eq!(answer.error, words);
        if words.is_empty() {
            assert_eq!((answer.replayed, answer.dead_letters.len()), (1, 1));
        }
    }
}
