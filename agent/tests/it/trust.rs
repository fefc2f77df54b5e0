//! Enrolment: whom the agent believes and what it keeps.

use crate::{
    agent::{AgentDirs, mode},
    eventually,
    fleet::{Fleet, SECRET},
};

#[tokio::test]
async fn it_enrols_once_and_keeps_its_key_private() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let agent = dirs.start_with(&fleet.address(), &fleet.token(), &["--name", "camera-1"]);
    let hello = fleet.hello(1).await;
    assert_eq!(hello.applied_generation, 0);
    assert!(!hello.facts.unwrap().kernel.is_empty());
    assert_eq!(mode(&dirs.data), 0o700);
    assert_eq!(mode(&dirs.run), 0o700);
    assert_eq!(mode(&dirs.data.join("identity/device.pem")), 0o600);
    assert_eq!(agent.terminate().await, Some(0));
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    fleet.hello(2).await;
    assert_eq!(fleet.enrolments(), 1);
}

#[tokio::test]
async fn the_secret_is_not_sent_to_a_server_with_another_ca() {
    let (fleet, other) = (Fleet::start().await, Fleet::start().await);
    let dirs = AgentDirs::new();
    let output = dirs
        .fails(&other.address(), &["--join", &fleet.token()])
        .await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("its CA differs"), "{text}");
    assert_eq!(other.enrolments(), 0);
}

#[tokio::test]
async fn a_refused_token_ends_the_start_with_the_servers_words() {
    let fleet = Fleet::start().await;
    let token = fleet.token().replace(SECRET, &SECRET.replace("c2V", "d2V"));
    let output = AgentDirs::new()
        .fails(&fleet.address(), &["--join", &token])
        .await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("the token is used up"), "{text}");
}

#[tokio::test]
async fn an_enrolled_device_does_not_move_to_another_fleet_by_a_token() {
    let (fleet, other) = (Fleet::start().await, Fleet::start().await);
    let dirs = AgentDirs::new();
    let agent = dirs.start(&fleet.address(), &fleet.token());
    fleet.hello(1).await;
    assert_eq!(agent.terminate().await, Some(0));
    let output = dirs
        .fails(&other.address(), &["--join", &other.token()])
        .await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("another control plane"), "{text}");
    assert_eq!(other.enrolments(), 0);
}

#[tokio::test]
async fn it_waits_for_a_control_plane_that_is_not_there_yet() {
    let mut fleet = Fleet::start().await;
    fleet.stop();
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    fleet.start_again().await;
    fleet.hello(1).await;
}

#[tokio::test]
async fn a_certificate_is_renewed_once_with_a_new_key_and_used_next_time() {
    let fleet = Fleet::start().await;
    fleet.sign_old_certificates();
    let dirs = AgentDirs::new();
    let agent = dirs.start(&fleet.address(), &fleet.token());
    eventually("a renewal", || (fleet.renewals() == 1).then_some(())).await;
    fleet.status("a status", |_| true).await;
    assert_eq!(agent.terminate().await, Some(0));
    let file = dirs.data.join("identity/device.pem");
    let before = std::fs::read(&file).unwrap();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    eventually("another key", || {
        (std::fs::read(&file).unwrap() != before).then_some(())
    })
    .await;
    assert_eq!(fleet.renewals(), 2, "one for each start");
}
