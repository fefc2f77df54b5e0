//! Models: kept under a name for ever, given to the devices that need them and to nobody else.

use edgeflow_proto::v1::{
    self, add_model_request::Part, artifact_service_client::ArtifactServiceClient,
};
use edgeflow_spec::Assignment;
use sha2::{Digest, Sha256};
use tonic::{Code, Status};

use crate::harness::{Admin, Agent, Fixture, apply};

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn described(name: &str, bytes: &[u8]) -> v1::Model {
    v1::Model {
        name: name.to_owned(),
        sha256: digest(bytes),
        bytes: bytes.len() as u64,
        extension: "onnx".to_owned(),
        description: r#"{"labels":["bolt"]}"#.to_owned(),
        ..v1::Model::default()
    }
}

async fn send(
    admin: &mut Admin,
    model: v1::Model,
    bytes: &[u8],
) -> Result<v1::AddModelResponse, Status> {
    let pieces = bytes.chunks(1000).map(|piece| Part::Piece(piece.to_vec()));
    let parts = std::iter::once(Part::Model(model)).chain(pieces);
    let messages: Vec<_> = parts
        .map(|part| v1::AddModelRequest { part: Some(part) })
        .collect();
    let response = admin.add_model(tokio_stream::iter(messages)).await?;
    Ok(response.into_inner())
}

async fn fetch(agent: &Agent, sha256: &str, offset: u64) -> Result<Vec<u8>, Status> {
    let mut client = ArtifactServiceClient::new(agent.channel.clone());
    let sha256 = sha256.to_owned();
    let response = client.fetch(v1::FetchRequest { sha256, offset }).await?;
    let mut pieces = response.into_inner();
    let mut bytes = Vec::new();
    while let Some(message) = pieces.message().await? {
        bytes.extend(message.piece);
    }
    Ok(bytes)
}

fn manifest(model: &str) -> String {
    format!(
        "apiVersion: edgeflow.dev/v1\nkind: System\nmetadata: {{name: factory}}\nspec:\n  nodes:\n    source: {{use: pattern}}\n    detect: {{use: detect, with: {{model: {model}}}}}\n  links: [source -> detect]\n"
    )
}

fn content() -> Vec<u8> {
    (0..700_000).map(|at| (at % 251) as u8).collect()
}

async fn names(admin: &mut Admin) -> Vec<String> {
    let response = admin.list_models(v1::ListModelsRequest {}).await;
    let models = response.unwrap().into_inner().models;
    models.into_iter().map(|model| model.name).collect()
}

#[tokio::test]
async fn a_model_goes_to_the_devices_that_need_it_and_outlives_a_restart() {
    let fixture = Fixture::start().await;
    let mut admin = fixture.admin().await;
    let agent = fixture.join("edge-1").await;
    let bytes = content();
    let refused = apply(&mut admin, &manifest("bolts")).await;
    assert_eq!(refused.outcome(), v1::ApplyOutcome::Rejected);
    let problem = &refused.problems[0];
    assert_eq!(problem.code, "unknown-model");
    assert!(problem.hint.contains("edgeflow model add"), "{problem:?}");

    let model = described("bolts", &bytes);
    let added = send(&mut admin, model.clone(), &bytes).await.unwrap();
    assert!(!added.unchanged && added.model.unwrap().added_unix_ms > 0);
    // Nothing there uses it yet.
    let early = fetch(&agent, &model.sha256, 0).await.unwrap_err();
    assert_eq!(early.code(), Code::NotFound);
    let applied = apply(&mut admin, &manifest("bolts")).await;
    assert_eq!(applied.outcome(), v1::ApplyOutcome::Created, "{applied:?}");
    let mut session = agent.session().await;
    let assignment = Assignment::from_body(&session.assignment().await.body).unwrap();
    let named = &assignment.models["bolts"];
    assert_eq!((&named.sha256, named.bytes), (&model.sha256, 700_000));
    assert_eq!(named.description, model.description);
    let detect = assignment.instances.iter().find(|it| it.node == "detect");
    assert!(detect.unwrap().models.contains("bolts"));
    assert_eq!(fetch(&agent, &model.sha256, 0).await.unwrap(), bytes);
    let rest = fetch(&agent, &model.sha256, 699_000).await.unwrap();
    assert_eq!(rest, bytes[699_000..]);
    let beyond = fetch(&agent, &model.sha256, 700_001).await.unwrap_err();
    assert_eq!(beyond.code(), Code::InvalidArgument);
    // A device that does not run it gets nothing, and a stranger not even that.
    let stranger = ArtifactServiceClient::new(fixture.stranger().await)
        .fetch(v1::FetchRequest::default())
        .await
        .unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated);

    let fixture = fixture.restart().await;
    let agent = fixture.reconnect(agent).await;
    let mut admin = fixture.admin().await;
    assert_eq!(names(&mut admin).await, ["bolts"]);
    assert_eq!(fetch(&agent, &model.sha256, 0).await.unwrap(), bytes);
    let name = || v1::DeleteModelRequest {
        name: "bolts".to_owned(),
    };
    let used = admin.delete_model(name()).await.unwrap_err();
    assert_eq!(used.code(), Code::FailedPrecondition);
    assert!(used.message().contains("used by factory"), "{used:?}");

    // A file that was lost is told of, and comes back when it is added again.
    let file = fixture.dir.path().join("models").join(&model.sha256);
    std::fs::remove_file(&file).unwrap();
    let lost = fetch(&agent, &model.sha256, 0).await.unwrap_err();
    assert!(lost.message().contains("add it again"), "{lost:?}");
    send(&mut admin, model.clone(), &bytes).await.unwrap();
    assert_eq!(fetch(&agent, &model.sha256, 0).await.unwrap(), bytes);
    let delete = v1::DeleteSystemRequest {
        name: "factory".to_owned(),
        ..v1::DeleteSystemRequest::default()
    };
    admin.delete_system(delete).await.unwrap();
    admin.delete_model(name()).await.unwrap();
    assert!(names(&mut admin).await.is_empty() && !file.exists());
}

#[tokio::test]
async fn a_name_keeps_its_file_and_what_is_wrong_leaves_nothing() {
    let fixture = Fixture::start().await;
    let mut admin = fixture.admin().await;
    let (one, other) = (b"one model".to_vec(), b"other model".to_vec());
    let model = described("bolts", &one);
    send(&mut admin, model.clone(), &one).await.unwrap();
    // The same again is fine, and needs no second file.
    let again = send(&mut admin, model.clone(), &[]).await.unwrap();
    assert!(again.unchanged);
    let mut alias = model.clone();
    alias.name = "nuts".to_owned();
    send(&mut admin, alias, &[]).await.unwrap();

    let taken = send(&mut admin, described("bolts", &other), &other).await;
    let taken = taken.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    assert!(taken.message().contains("bolts-2"), "{taken:?}");
    let reserved = send(&mut admin, described("yolox-nano", &other), &other).await;
    assert!(reserved.unwrap_err().message().contains("catalogue"));
    let damaged = send(&mut admin, described("third", &other), b"other modem").await;
    let damaged = damaged.unwrap_err();
    assert_eq!(damaged.code(), Code::InvalidArgument);
    assert!(damaged.message().contains("SHA-256"), "{damaged:?}");
    for (change, words) in [
        ("name", "can't be the name"),
        ("sha256", "digest"),
        ("extension", "ending"),
        ("description", "unknown field"),
        ("bytes", "0 bytes"),
    ] {
        let mut bad = described("third", &other);
        match change {
            "name" => bad.name = "Third!".to_owned(),
            "sha256" => bad.sha256 = "../../etc/passwd".to_owned(),
            "extension" => bad.extension = "../x".to_owned(),
            "description" => bad.description = r#"{"lables":[]}"#.to_owned(),
            _ => bad.bytes = 0,
        }
        let refused = send(&mut admin, bad, &other).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{change}");
        assert!(refused.message().contains(words), "{change}: {refused:?}");
    }
    let headless = v1::AddModelRequest {
        part: Some(Part::Piece(other)),
    };
    let refused = admin.add_model(tokio_stream::iter([headless])).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(names(&mut admin).await, ["bolts", "nuts"]);
    let files = || std::fs::read_dir(fixture.dir.path().join("models")).unwrap();
    assert_eq!(files().count(), 1);
    // Two names, one file.
    for (name, left) in [("bolts", 1), ("nuts", 0)] {
        let name = name.to_owned();
        admin
            .delete_model(v1::DeleteModelRequest { name })
            .await
            .unwrap();
        assert_eq!(files().count(), left);
    }
}
