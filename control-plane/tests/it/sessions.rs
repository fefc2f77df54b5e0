//! Epochs, generations, acknowledgements, events.

use edgeflow_proto::v1::{
    self, AckResult, InstancePhase, agent_message::Message as Up, control_message::Message as Down,
};
use tonic::Code;

use crate::access::http;
use crate::harness::{Fixture, apply, facts, pattern, status, until};

#[tokio::test]
async fn the_newest_session_wins_and_the_old_one_writes_nothing() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut old = agent.session().await;
    let new = agent.session().await;
    assert_eq!(
        new.welcome.connection_epoch,
        old.welcome.connection_epoch + 1
    );
    loop {
        match old.next().await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.code(), Code::Aborted, "{error}");
                break;
            }
        }
    }
    old.send(Up::Status(v1::StatusReport {
        observed_generation: 99,
        ..v1::StatusReport::default()
    }))
    .await;
    drop(old);
    new.send(Up::Status(v1::StatusReport {
        observed_generation: 1,
        ..v1::StatusReport::default()
    }))
    .await;
    let device = fixture
        .device_until("cam", |device| device.observed_generation != 0)
        .await;
    assert!(device.online);
    assert_eq!(device.observed_generation, 1);
}

#[tokio::test]
async fn epochs_go_on_after_a_restart_of_the_control_plane() {
    let mut fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let before = agent.session().await.welcome.connection_epoch;
    fixture = fixture.restart().await;
    let device = fixture.device_until("cam", |_| true).await;
    assert_eq!(device.health(), v1::DeviceHealth::Offline);
    let agent = fixture.reconnect(agent).await;
    assert_eq!(agent.session().await.welcome.connection_epoch, before + 1);
}

#[tokio::test]
async fn an_assignment_is_sent_only_when_the_device_does_not_have_it() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    let mut session = agent.session().await;
    let assignment = session.assignment().await;
    assert_eq!(
        edgeflow_spec::assignment::body_hash(&assignment.body),
        assignment.hash
    );
    let mut again = agent
        .session_with(v1::Hello {
            applied_generation: assignment.generation,
            applied_hash: assignment.hash.clone(),
            ..v1::Hello::default()
        })
        .await
        .unwrap();
    again.send(Up::Heartbeat(v1::Heartbeat {})).await;
    assert!(
        matches!(again.next().await.unwrap(), Down::Heartbeat(_)),
        "an up-to-date device gets no assignment"
    );
    apply(&mut admin, &pattern("one", 20)).await;
    assert_eq!(
        again.assignment().await.generation,
        assignment.generation + 1
    );
}

#[tokio::test]
async fn an_apply_that_does_not_concern_a_device_does_not_raise_its_generation() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    let before = fixture.device_until("cam", |_| true).await;
    let elsewhere = crate::harness::placed(&pattern("other", 10), "site=paris");
    apply(&mut admin, &elsewhere).await;
    let after = fixture.device_until("cam", |_| true).await;
    assert_eq!(after.desired_generation, before.desired_generation);
    assert!(!agent.id.is_empty());
}

#[tokio::test]
async fn a_device_that_is_ahead_of_a_restored_database_is_overtaken() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    apply(&mut fixture.admin().await, &pattern("one", 10)).await;
    let mut session = agent
        .session_with(v1::Hello {
            applied_generation: 40,
            applied_hash: "of another time".to_owned(),
            ..v1::Hello::default()
        })
        .await
        .unwrap();
    assert_eq!(session.assignment().await.generation, 41);
    let current = fixture.device_until("cam", |_| true).await;
    assert_eq!(current.desired_generation, 41);
}

#[tokio::test]
async fn a_refused_assignment_is_shown_with_its_reason() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    apply(&mut fixture.admin().await, &pattern("one", 10)).await;
    let mut session = agent.session().await;
    let assignment = session.assignment().await;
    session
        .ack(&assignment, AckResult::FailedStore, "disk full")
        .await;
    let device = fixture
        .device_until("cam", |device| !device.conditions.is_empty())
        .await;
    assert_eq!(device.health(), v1::DeviceHealth::Degraded);
    assert!(device.message.contains("disk full"), "{}", device.message);
    let event = until(async || {
        let events = events(&fixture).await;
        events
            .into_iter()
            .find(|event| event.reason == "AssignmentRefused")
    })
    .await;
    assert_eq!(event.severity, "error");
}

#[tokio::test]
async fn events_are_stored_once_and_acknowledged() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut session = agent.session().await;
    let report = |sequence, message: &str| {
        Up::Event(v1::EventReport {
            sequence,
            gap: 0,
            event: Some(v1::Event {
                severity: "error".to_owned(),
                reason: "InstanceExited".to_owned(),
                message: message.to_owned(),
                ..v1::Event::default()
            }),
        })
    };
    session.send(report(1, "first")).await;
    session.send(report(1, "first again")).await;
    session.send(report(2, "second")).await;
    loop {
        if let Down::EventAck(ack) = session.next().await.unwrap()
            && ack.sequence == 2
        {
            break;
        }
    }
    let texts: Vec<_> = events(&fixture)
        .await
        .into_iter()
        .filter(|event| event.reason == "InstanceExited")
        .map(|event| event.message)
        .collect();
    assert_eq!(texts, ["first", "second"]);
}

#[tokio::test]
async fn a_session_without_a_hello_or_a_common_protocol_is_refused() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let newer = v1::Hello {
        protocol_min: 90,
        protocol_max: 99,
        ..v1::Hello::default()
    };
    let error = agent.session_with(newer).await.err().unwrap();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("90 to 99"), "{error}");
}

#[tokio::test]
async fn new_facts_change_what_a_device_runs() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let manifest = crate::harness::placed(&pattern("arm", 10), "edgeflow.dev/arch=x86_64");
    apply(&mut fixture.admin().await, &manifest).await;
    let mut session = agent.session().await;
    let empty = session.assignment().await;
    session
        .send(Up::Status(v1::StatusReport {
            facts: Some(v1::DeviceFacts {
                arch: "x86_64".to_owned(),
                ..facts()
            }),
            ..status(&empty, InstancePhase::Ready, "")
        }))
        .await;
    let full = session.assignment().await;
    let body = edgeflow_spec::Assignment::from_body(&full.body).unwrap();
    assert_eq!(body.instances.len(), 2);
}

async fn events(fixture: &Fixture) -> Vec<v1::Event> {
    let mut admin = fixture.admin().await;
    let mut found = Vec::new();
    let mut stream = admin
        .watch_events(v1::WatchEventsRequest::default())
        .await
        .unwrap()
        .into_inner();
    while let Some(event) = stream.message().await.unwrap() {
        found.push(event);
    }
    found
}

#[tokio::test]
async fn the_picture_of_an_event_is_kept_for_those_who_are_let_in() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut session = agent.session().await;
    let report = |sequence, picture: &[u8]| {
        Up::Event(v1::EventReport {
            sequence,
            gap: 0,
            event: Some(v1::Event {
                reason: format!("Seen{sequence}"),
                picture: picture.to_vec(),
                ..v1::Event::default()
            }),
        })
    };
    session.send(report(1, b"\xff\xd8\xff picture")).await;
    session.send(report(2, b"<script>")).await;
    loop {
        if let Down::EventAck(ack) = session.next().await.unwrap()
            && ack.sequence == 2
        {
            break;
        }
    }
    let all = events(&fixture).await;
    let of = |reason: &str| all.iter().find(|event| event.reason == reason).unwrap();
    let (with, without) = (of("Seen1"), of("Seen2"));
    assert!(with.has_picture && with.picture.is_empty() && !without.has_picture);
    let bearer = format!("authorization: Bearer {}", fixture.server.admin_token());
    let path = |event: &v1::Event| format!("/events/{}/picture", event.id);
    let get = async |path: &str, headers: &[&str]| http(&fixture, "GET", path, headers, "").await;
    let got = get(&path(with), &[&bearer]).await;
    assert!(
        got.starts_with("HTTP/1.1 200") && got.contains("image/jpeg"),
        "{got}"
    );
    assert!(got.ends_with(" picture"), "{got}");
    let none = get(&path(without), &[&bearer]).await;
    assert!(none.starts_with("HTTP/1.1 404"), "{none}");
    let stranger = get(&path(with), &[]).await;
    assert!(stranger.starts_with("HTTP/1.1 401"), "{stranger}");
}
