//! Apply, plan, wait, roll back, delete, restart.

use edgeflow_proto::v1::{self, AckResult, ApplyOutcome, ChangeAction, InstancePhase, SystemPhase};
use tonic::Code;

use crate::harness::{Admin, Fixture, apply, pattern, placed};

fn dry(manifest: &str) -> v1::ApplySystemRequest {
    v1::ApplySystemRequest {
        manifest: manifest.to_owned(),
        dry_run: true,
        ..v1::ApplySystemRequest::default()
    }
}

async fn settled(
    admin: &mut Admin,
    name: &str,
    timeout_ms: u32,
) -> Result<v1::System, tonic::Status> {
    let mut stream = admin
        .watch_system(v1::WatchSystemRequest {
            name: name.to_owned(),
            until_settled: true,
            timeout_ms,
            ..v1::WatchSystemRequest::default()
        })
        .await?
        .into_inner();
    while let Some(message) = stream.message().await? {
        if message.settled {
            return Ok(message.system.unwrap());
        }
    }
    panic!("the stream ended unsettled");
}

#[tokio::test]
async fn an_apply_makes_a_revision_and_the_same_again_does_not() {
    let fixture = Fixture::start().await;
    fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    let first = apply(&mut admin, &pattern("one", 10)).await;
    assert_eq!(first.outcome(), ApplyOutcome::Created);
    let plan = first.plan.unwrap();
    assert_eq!(plan.devices[0].device_name, "cam");
    assert!(
        plan.devices[0]
            .instances
            .iter()
            .all(|change| change.action() == ChangeAction::Add)
    );
    let same = apply(&mut admin, &format!("# a comment\n{}", pattern("one", 10))).await;
    assert_eq!(same.outcome(), ApplyOutcome::Unchanged);
    assert_eq!(same.system.unwrap().revision, 1);
    let other = pattern("one", 10).replace("fps: 10", "size: 64x64");
    let second = apply(&mut admin, &other).await;
    assert_eq!(second.outcome(), ApplyOutcome::Updated);
    let system = second.system.unwrap();
    assert_eq!(system.revision, 2);
    assert_ne!(system.etag, first.system.unwrap().etag);
    let changes = second.plan.unwrap().devices[0].instances.clone();
    let action = |node: &str| {
        changes
            .iter()
            .find(|change| change.instance == format!("one.{node}.0"))
            .map(v1::InstanceChange::action)
    };
    assert_eq!(action("source"), Some(ChangeAction::Change));
    assert_ne!(action("sink"), Some(ChangeAction::Change));
}

#[tokio::test]
async fn a_bad_manifest_and_a_dry_run_change_nothing() {
    let fixture = Fixture::start().await;
    let mut admin = fixture.admin().await;
    let bad = apply(&mut admin, &pattern("one", 10).replace("pattern", "patern")).await;
    assert_eq!(bad.outcome(), ApplyOutcome::Rejected);
    let problem = &bad.problems[0];
    assert!(
        problem.line > 0 && problem.file == "system.yaml",
        "{problem:?}"
    );
    let planned = admin
        .apply_system(dry(&pattern("one", 10)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(planned.outcome(), ApplyOutcome::Created);
    assert!(planned.dry_run);
    let list = admin
        .list_systems(v1::ListSystemsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(list.systems.is_empty());
}

#[tokio::test]
async fn a_stale_etag_is_aborted_and_the_current_one_is_not() {
    let fixture = Fixture::start().await;
    let mut admin = fixture.admin().await;
    let etag = apply(&mut admin, &pattern("one", 10))
        .await
        .system
        .unwrap()
        .etag;
    apply(&mut admin, &pattern("one", 20)).await;
    let request = |etag: &str| v1::ApplySystemRequest {
        manifest: pattern("one", 30),
        etag: etag.to_owned(),
        ..v1::ApplySystemRequest::default()
    };
    let error = admin.apply_system(request(&etag)).await.unwrap_err();
    assert_eq!(error.code(), Code::Aborted);
    let current = admin
        .get_system(v1::GetSystemRequest { name: "one".into() })
        .await
        .unwrap()
        .into_inner()
        .system
        .unwrap();
    assert_eq!(current.revision, 2);
    admin.apply_system(request(&current.etag)).await.unwrap();
}

#[tokio::test]
async fn a_wait_ends_when_every_instance_is_ready_at_the_new_generation() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    let mut session = agent.session().await;
    let first = session.assignment().await;
    session.run(&first, InstancePhase::Ready, "").await;
    let system = settled(&mut admin, "one", 10_000).await.unwrap();
    assert_eq!(system.status.unwrap().phase(), SystemPhase::Ready);

    // Ready at the old generation is not ready.
    apply(&mut admin, &pattern("one", 20)).await;
    let second = session.assignment().await;
    let error = settled(&mut admin, "one", 300).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    session.run(&second, InstancePhase::Ready, "").await;
    let system = settled(&mut admin, "one", 10_000).await.unwrap();
    assert_eq!(system.status.unwrap().instances_ready, 2);
}

#[tokio::test]
async fn a_wait_ends_degraded_with_the_reason_when_a_node_crashes() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    let mut session = agent.session().await;
    let assignment = session.assignment().await;
    session
        .run(&assignment, InstancePhase::CrashLoop, "exited with code 3")
        .await;
    let status = settled(&mut admin, "one", 10_000)
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(status.phase(), SystemPhase::Degraded);
    assert!(
        status.message.contains("exited with code 3"),
        "{}",
        status.message
    );

    // The next revision is judged anew.
    apply(&mut admin, &pattern("one", 20)).await;
    let assignment = session.assignment().await;
    session
        .ack(&assignment, AckResult::RefusedInvalid, "too new")
        .await;
    let status = settled(&mut admin, "one", 10_000)
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(status.phase(), SystemPhase::Degraded);
    assert!(status.message.contains("too new"), "{}", status.message);
}

#[tokio::test]
async fn without_a_device_a_system_settles_as_unplaced_and_an_offline_one_keeps_it_waiting() {
    let fixture = Fixture::start().await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &placed(&pattern("one", 10), "site=moon")).await;
    let status = settled(&mut admin, "one", 10_000)
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(status.phase(), SystemPhase::Unplaced);
    assert!(status.message.contains("site=moon"), "{}", status.message);

    fixture.join("cam").await;
    let request = v1::SetDeviceLabelsRequest {
        device: "cam".into(),
        set: [("site".to_owned(), "moon".to_owned())].into(),
        remove: Vec::new(),
    };
    admin.set_device_labels(request).await.unwrap();
    let error = settled(&mut admin, "one", 300).await.unwrap_err();
    assert!(error.message().contains("offline"), "{error}");
}

#[tokio::test]
async fn a_rollback_is_a_new_revision_with_its_cause() {
    let fixture = Fixture::start().await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    apply(&mut admin, &pattern("one", 20)).await;
    let back = admin
        .rollback_system(v1::RollbackSystemRequest {
            name: "one".into(),
            ..v1::RollbackSystemRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    let system = back.system.unwrap();
    assert_eq!(system.revision, 3);
    assert_eq!(system.manifest, pattern("one", 10));
    let revisions = admin
        .list_revisions(v1::ListRevisionsRequest { name: "one".into() })
        .await
        .unwrap()
        .into_inner()
        .revisions;
    assert_eq!(revisions[0].cause, "rollback to 1");
    assert_eq!(revisions.len(), 3);
}

#[tokio::test]
async fn deleting_a_system_empties_its_devices() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    let mut session = agent.session().await;
    session.assignment().await;
    let request = v1::DeleteSystemRequest {
        name: "one".into(),
        etag: String::new(),
    };
    admin.delete_system(request.clone()).await.unwrap();
    let assignment = session.assignment().await;
    let body = edgeflow_spec::Assignment::from_body(&assignment.body).unwrap();
    assert!(body.instances.is_empty());
    let error = admin.delete_system(request).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let fixture = Fixture::start().await;
    fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    let before = apply(&mut admin, &pattern("one", 20)).await.system.unwrap();
    let device = fixture.device_until("cam", |_| true).await;
    drop(admin);

    let fixture = fixture.restart().await;
    let mut admin = fixture.admin().await;
    let request = v1::GetSystemRequest { name: "one".into() };
    let after = admin
        .get_system(request)
        .await
        .unwrap()
        .into_inner()
        .system
        .unwrap();
    assert_eq!((after.revision, &after.etag), (2, &before.etag));
    let again = fixture.device_until("cam", |_| true).await;
    assert_eq!(again.id, device.id);
    assert_eq!(again.desired_generation, device.desired_generation);
}
