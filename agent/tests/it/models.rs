//! Models: fetched by digest before a node starts, kept, and told of when they are not to be had.

use edgeflow_proto::v1::{AckResult, InstancePhase, InstanceStatus};
use edgeflow_spec::assignment::{Assignment, Instance, Model, body_hash};
use sha2::{Digest, Sha256};

use crate::{agent::AgentDirs, eventually, fleet::Fleet, node::well_behaved};

const BYTES: usize = 10_000;

fn model(content: &[u8]) -> Model {
    let digest = Sha256::digest(content);
    Model {
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes: content.len() as u64,
        extension: "onnx".to_owned(),
        description: r#"{"labels":["bolt"]}"#.to_owned(),
    }
}

fn content() -> Vec<u8> {
    (0..BYTES).map(|at| (at % 251) as u8).collect()
}

/// A node that uses `bolts`.
fn node() -> Instance {
    let mut node = well_behaved("detect");
    node.models.insert("bolts".to_owned());
    node
}

async fn assign(fleet: &Fleet, generation: u64, model: &Model) {
    let assignment = Assignment {
        instances: vec![node()],
        models: [("bolts".to_owned(), model.clone())].into(),
        ..Assignment::default()
    };
    let body = assignment.to_body();
    let ack = fleet.assign_body(generation, body_hash(&body), body).await;
    assert_eq!(ack.result(), AckResult::Accepted, "{}", ack.message);
}

fn instance_file(dirs: &AgentDirs) -> serde_json::Value {
    let files = std::fs::read_dir(&dirs.run).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.extension().is_some_and(|it| it == "json"));
    serde_json::from_slice(&std::fs::read(file.unwrap()).unwrap()).unwrap()
}

async fn waits(fleet: &Fleet, words: &str) -> InstanceStatus {
    let id = node().id;
    fleet
        .instance(&format!("`{words}`"), &id, |status| {
            status.phase() == InstancePhase::Pending && status.reason.contains(words)
        })
        .await
}

#[tokio::test]
async fn a_node_starts_with_its_model_once_it_is_here_and_later_without_the_control_plane() {
    let mut fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let agent = dirs.start(&fleet.address(), &fleet.token());
    let model = model(&content());
    fleet.cut_files_after(Some(4000));
    fleet.give_file(&model.sha256, &content());
    assign(&fleet, 1, &model).await;
    let waiting = waits(&fleet, "model bolts is not here").await;
    assert!(waiting.reason.contains("cut off"), "{}", waiting.reason);
    fleet
        .status("a condition", |status| {
            let mut all = status.conditions.iter();
            all.any(|it| it.r#type == "ModelMissing" && it.message.contains("bolts"))
        })
        .await;
    fleet.cut_files_after(None);
    let ready = fleet.ready(&node().id).await;
    let fetches = fleet.fetches();
    let more = |offset: &u64| *offset >= 4000;
    assert!(
        fetches[0] == 0 && fetches[1..].iter().all(more),
        "{fetches:?}"
    );
    fleet
        .status("no condition", |status| status.conditions.is_empty())
        .await;
    let file = instance_file(&dirs);
    let brought = &file["models"]["bolts"];
    let path = brought["path"].as_str().unwrap();
    assert_eq!(std::fs::read(path).unwrap(), content());
    assert_eq!(brought["description"], r#"{"labels":["bolt"]}"#);
    let environ = std::fs::read(format!("/proc/{}/environ", ready.pid)).unwrap();
    let environ = String::from_utf8_lossy(&environ).into_owned();
    assert!(
        environ.contains(&format!("EDGEFLOW_MODEL_BOLTS={path}")),
        "{environ}"
    );
    let told = |reason: &str| fleet.events().iter().any(|event| event.reason == reason);
    eventually("events", || {
        (told("ModelFetched") && told("ModelFetchFailed")).then_some(())
    })
    .await;

    // Killed, and started where nobody answers: what is on the disk is enough.
    agent.kill();
    fleet.stop();
    let agent = dirs.start(&fleet.address(), &fleet.token());
    let started = eventually("the node without a control plane", || {
        dirs.node_pids().into_iter().find(|pid| *pid != ready.pid)
    })
    .await;
    fleet.start_again().await;
    assert_eq!(fleet.ready(&node().id).await.pid, started);
    assert_eq!(fleet.fetches(), fetches);
    agent.kill();

    // Damaged on the disk: fetched again.
    std::fs::write(path, b"damaged").unwrap();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    eventually("another fetch", || {
        let now = fleet.fetches();
        (now.len() == fetches.len() + 1 && now.last() == Some(&0)).then_some(())
    })
    .await;
    fleet.ready(&node().id).await;
    assert_eq!(std::fs::read(path).unwrap(), content());
}

#[tokio::test]
async fn what_is_not_the_model_or_too_large_keeps_the_node_waiting_and_says_why() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let args = ["--model-cache", "20000B"];
    let _agent = dirs.start_with(&fleet.address(), &fleet.token(), &args);
    let right = model(&content());
    assign(&fleet, 1, &right).await;
    waits(&fleet, "the file is lost").await;
    let mut wrong = content();
    wrong[77] ^= 1;
    fleet.give_file(&right.sha256, &wrong);
    waits(&fleet, "not the one that was announced").await;
    fleet.give_file(&right.sha256, &content());
    fleet.ready(&node().id).await;

    let large = model(&vec![7; 30_000]);
    fleet.assign_accepted(2, &[]).await;
    assign(&fleet, 3, &large).await;
    waits(&fleet, "--model-cache").await;
    // A stop does not wait for it.
    fleet.assign_accepted(4, &[]).await;
    fleet
        .status("nothing runs", |status| {
            status.observed_generation == 4 && status.instances.is_empty()
        })
        .await;
}
