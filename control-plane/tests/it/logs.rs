//! Log lines from agents to a reader.

use edgeflow_proto::v1::{self, command::Command as Kind, log_service_client::LogServiceClient};
use tonic::Code;

use crate::harness::{Fixture, apply, pattern};

fn request(follow: bool) -> v1::LogsRequest {
    v1::LogsRequest {
        system: "one".to_owned(),
        follow,
        ..v1::LogsRequest::default()
    }
}

#[tokio::test]
async fn lines_reach_the_reader_and_dropped_ones_are_counted() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    let mut session = agent.session().await;
    session.assignment().await;
    let mut lines = admin.logs(request(false)).await.unwrap().into_inner();
    let command = session.command().await;
    let Some(Kind::StartLogs(start)) = &command.command else {
        panic!("expected StartLogs, got {command:?}");
    };
    assert_eq!((start.system.as_str(), start.tail), ("one", 200));
    let push = v1::PushLogs {
        command_id: command.id,
        lines: vec![v1::LogLine {
            text: "hello".to_owned(),
            ..v1::LogLine::default()
        }],
        dropped: 3,
    };
    LogServiceClient::new(agent.channel.clone())
        .push(tokio_stream::iter([push]))
        .await
        .unwrap();
    let first = lines.message().await.unwrap().unwrap();
    assert!(first.text.contains("3 lines were dropped"), "{first:?}");
    let second = lines.message().await.unwrap().unwrap();
    assert_eq!(
        (second.text.as_str(), second.device_name.as_str()),
        ("hello", "cam")
    );
    assert!(lines.message().await.unwrap().is_none(), "the stream ends");
}

#[tokio::test]
async fn the_agent_is_told_when_the_reader_leaves() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    let mut session = agent.session().await;
    let lines = admin.logs(request(true)).await.unwrap();
    let start = session.command().await;
    drop(lines);
    let stop = session.command().await;
    assert_eq!(stop.id, start.id);
    assert!(matches!(stop.command, Some(Kind::StopLogs(_))));
}

#[tokio::test]
async fn logs_of_an_offline_device_and_of_nothing_are_refused_in_words() {
    let fixture = Fixture::start().await;
    fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    let error = admin.logs(request(false)).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    apply(&mut admin, &pattern("one", 10)).await;
    let error = admin.logs(request(false)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(
        error.message().contains("cam") && error.message().contains("offline"),
        "{error}"
    );
}
