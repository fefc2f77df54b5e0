//! Apply, plan and rollback: outcomes, waiting, exit codes and texts.

use edgeflow_proto::v1;
use tonic::Status;

use crate::{
    fake::{Fake, State},
    run::Home,
};

const MANIFEST: &str = "kind: System\n";

fn system(phase: v1::SystemPhase) -> v1::System {
    v1::System {
        name: "entrance".into(),
        revision: 3,
        etag: "e3".into(),
        status: Some(v1::SystemStatus {
            phase: phase.into(),
            devices_matched: 1,
            devices_ready: u32::from(phase == v1::SystemPhase::Ready),
            instances_desired: 1,
            instances_ready: u32::from(phase == v1::SystemPhase::Ready),
            instances: vec![instance(phase)],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn instance(phase: v1::SystemPhase) -> v1::InstanceStatus {
    let (phase, reason) = match phase {
        v1::SystemPhase::Ready => (v1::InstancePhase::Ready, ""),
        v1::SystemPhase::Degraded => (
            v1::InstancePhase::CrashLoop,
            "exited with code 3 after 1.2 s",
        ),
        _ => (v1::InstancePhase::Starting, ""),
    };
    v1::InstanceStatus {
        id: "entrance.detect.0".into(),
        system: "entrance".into(),
        node: "detect".into(),
        phase: phase.into(),
        reason: reason.into(),
        device_name: "pi-1".into(),
        last_exit: Some(v1::ExitInfo {
            code: Some(3),
            message: "exited with code 3 after 1.2 s".into(),
            log_tail: vec!["model yolo.onnx is missing".into()],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn seen(phase: v1::SystemPhase, settled: bool) -> v1::WatchSystemResponse {
    v1::WatchSystemResponse {
        system: Some(system(phase)),
        settled,
    }
}

fn updated() -> v1::ApplySystemResponse {
    v1::ApplySystemResponse {
        outcome: v1::ApplyOutcome::Updated.into(),
        system: Some(system(v1::SystemPhase::Progressing)),
        plan: Some(v1::Plan {
            nodes: vec![v1::NodeChange {
                node: "detect".into(),
                action: v1::ChangeAction::Change.into(),
                details: vec!["with.threshold: 0.4 -> 0.6".into()],
            }],
            devices: vec![v1::DevicePlan {
                device_name: "pi-1".into(),
                online: true,
                instances: vec![
                    v1::InstanceChange {
                        instance: "entrance.camera.0".into(),
                        action: v1::ChangeAction::Keep.into(),
                        reason: String::new(),
                    },
                    v1::InstanceChange {
                        instance: "entrance.detect.0".into(),
                        action: v1::ChangeAction::Change.into(),
                        reason: "parameters changed".into(),
                    },
                ],
                ..Default::default()
            }],
            manifest_diff: "--- revision 2\n+++ new\n@@ -1 +1 @@\n-a: 0.4\n+a: 0.6\n".into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn fake(watch: Vec<v1::WatchSystemResponse>) -> Fake {
    Fake::start(State {
        apply: Some(updated()),
        watch,
        ..Default::default()
    })
}

#[test]
fn apply_waits_until_ready_and_tells_what_changed_on_the_way() {
    let fake = fake(vec![
        seen(v1::SystemPhase::Progressing, false),
        seen(v1::SystemPhase::Progressing, false),
        seen(v1::SystemPhase::Ready, true),
    ]);
    let file = fake.home.write("system.yaml", MANIFEST);
    let ran = fake.home.run(&["apply", &file]).expect(0);
    assert_eq!(
        ran.stdout,
        "entrance updated, revision 3: 1 to restart on 1 device\n"
    );
    let starting = "entrance/detect on pi-1: starting";
    assert_eq!(ran.stderr.matches(starting).count(), 1, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("entrance runs: 1/1 ready on 1 device in"),
        "{}",
        ran.stderr
    );
    assert!(
        !ran.stderr.contains('\x1b'),
        "escape codes without a terminal"
    );
    let state = fake.state.lock().unwrap();
    assert_eq!(state.applied.len(), 1);
    assert_eq!(state.applied[0].manifest, MANIFEST);
    assert_eq!(state.applied[0].file, file);
}

#[test]
fn a_system_that_fails_is_exit_1_with_the_reason_and_the_last_log_lines() {
    let fake = fake(vec![seen(v1::SystemPhase::Degraded, true)]);
    let file = fake.home.write("system.yaml", MANIFEST);
    let ran = fake.home.run(&["apply", &file]).expect(1);
    assert!(
        ran.stderr
            .contains("detect on pi-1 is crash_loop: exited with code 3"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("| model yolo.onnx is missing"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("edgeflow rollback entrance"),
        "{}",
        ran.stderr
    );
}

#[test]
fn no_matching_device_is_exit_1_with_the_way_out() {
    let mut nowhere = system(v1::SystemPhase::Unplaced);
    nowhere.selector = "site=moon".into();
    let fake = fake(vec![v1::WatchSystemResponse {
        system: Some(nowhere),
        settled: true,
    }]);
    let file = fake.home.write("system.yaml", MANIFEST);
    let ran = fake.home.run(&["apply", &file]).expect(1);
    assert!(
        ran.stderr
            .contains("no device matches the selector `site=moon`"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("--no-wait"), "{}", ran.stderr);
}

#[test]
fn a_wait_that_takes_too_long_is_6() {
    let fake = Fake::start(State {
        apply: Some(updated()),
        watch: vec![seen(v1::SystemPhase::Progressing, false)],
        ..Default::default()
    });
    let file = fake.home.write("system.yaml", MANIFEST);
    let ran = fake
        .home
        .run(&["apply", &file, "--timeout", "100ms"])
        .expect(6);
    assert!(
        ran.stderr.contains("not ready after 100 ms"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("detect on pi-1 is starting"),
        "{}",
        ran.stderr
    );
}

#[test]
fn no_wait_returns_at_once() {
    let fake = fake(Vec::new());
    let file = fake.home.write("system.yaml", MANIFEST);
    fake.home.run(&["apply", &file, "--no-wait"]).expect(0);
}

#[test]
fn a_rejected_manifest_is_4_and_every_problem_is_shown_with_its_line() {
    let problem = |line: u32, source: &str, message: &str, hint: &str| v1::Problem {
        code: "unknown-field".into(),
        severity: "error".into(),
        message: message.into(),
        hint: hint.into(),
        file: "system.yaml".into(),
        line,
        column: 3,
        length: 5,
        source_line: source.into(),
    };
    let fake = Fake::start(State {
        apply: Some(v1::ApplySystemResponse {
            outcome: v1::ApplyOutcome::Rejected.into(),
            problems: vec![
                problem(
                    7,
                    "  nodse:",
                    "unknown field `nodse`",
                    "did you mean `nodes`?",
                ),
                problem(
                    9,
                    "  linsk:",
                    "unknown field `linsk`",
                    "did you mean `links`?",
                ),
            ],
            ..Default::default()
        }),
        ..Default::default()
    });
    let file = fake.home.write("system.yaml", MANIFEST);
    let ran = fake.home.run(&["apply", &file]).expect(4);
    for text in [
        "unknown field `nodse`",
        "did you mean `nodes`?",
        "unknown field `linsk`",
        "system.yaml:7:3",
        "  nodse:",
    ] {
        assert!(
            ran.stderr.contains(text),
            "{text:?} is not in:\n{}",
            ran.stderr
        );
    }
    assert!(ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    let painted = fake
        .home
        .run(&["apply", &file, "--color", "always"])
        .expect(4);
    assert!(painted.stderr.contains("\x1b["));
}

#[test]
fn several_manifests_are_all_checked_before_any_is_applied() {
    let fake = fake(vec![seen(v1::SystemPhase::Ready, true)]);
    let one = fake.home.write("all/a.yaml", "a\n");
    fake.home.write("all/b.yml", "b\n");
    let dir = fake.home.path("all").display().to_string();
    fake.home.run(&["apply", "-f", &dir, "--no-wait"]).expect(0);
    let dry: Vec<bool> = fake
        .state
        .lock()
        .unwrap()
        .applied
        .iter()
        .map(|one| one.dry_run)
        .collect();
    assert_eq!(dry, [true, true, false, false]);
    assert!(
        fake.state
            .lock()
            .unwrap()
            .applied
            .iter()
            .any(|request| request.file == one)
    );
}

#[test]
fn standard_input_is_a_manifest_too() {
    let fake = fake(Vec::new());
    let file = fake.home.write("in.yaml", MANIFEST);
    let mut command = fake
        .home
        .command(&["apply", "-", "--no-wait", "-o", "name"]);
    command.stdin(std::fs::File::open(file).unwrap());
    let ran = crate::run::Ran::from(command.output().unwrap()).expect(0);
    assert_eq!(ran.stdout, "entrance\n");
    assert_eq!(fake.state.lock().unwrap().applied[0].file, "-");
}

#[test]
fn plan_shows_the_changes_and_its_exit_code_on_request() {
    let fake = fake(Vec::new());
    let file = fake.home.write("system.yaml", MANIFEST);
    let ran = fake.home.run(&["plan", &file]).expect(0);
    insta::assert_snapshot!(ran.stdout, @r"
    entrance: 1 to restart on 1 device
      nodes
        ~ detect
            with.threshold: 0.4 -> 0.6
      devices
        pi-1
          ~ restart entrance.detect.0  parameters changed
          = 1 kept running
      manifest
        --- revision 2
        +++ new
        @@ -1 +1 @@
        -a: 0.4
        +a: 0.6
    ");
    fake.home
        .run(&["plan", &file, "--detailed-exitcode"])
        .expect(2);
    assert!(
        fake.state
            .lock()
            .unwrap()
            .applied
            .iter()
            .all(|request| request.dry_run)
    );
    let json = fake
        .home
        .run(&["plan", &file, "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(json[0]["outcome"], "updated");
    assert_eq!(json[0]["etag"], "e3");
    assert_eq!(
        json[0]["plan"]["devices"][0]["instances"][1]["action"],
        "restart"
    );
    fake.state.lock().unwrap().apply.as_mut().unwrap().outcome = v1::ApplyOutcome::Unchanged.into();
    fake.home
        .run(&["plan", &file, "--detailed-exitcode"])
        .expect(0);
}

#[test]
fn json_of_an_apply_has_the_change_and_the_state_after_the_wait() {
    let fake = fake(vec![seen(v1::SystemPhase::Ready, true)]);
    let file = fake.home.write("system.yaml", MANIFEST);
    let json = fake
        .home
        .run(&["apply", &file, "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(json[0]["system"], "entrance");
    assert_eq!(json[0]["revision"], 3);
    assert_eq!(json[0]["status"]["phase"], "ready");
    assert_eq!(json[0]["status"]["instances"][0]["device"], "pi-1");
}

#[test]
fn statuses_have_their_exit_codes() {
    for (status, code) in [
        (Status::aborted("the system is at another etag"), 7),
        (Status::not_found("no such revision"), 5),
        (Status::invalid_argument("too long"), 2),
        (Status::permission_denied("read only"), 8),
        (Status::internal("database"), 1),
        (Status::unavailable("shutting down"), 3),
    ] {
        let message = status.message().to_owned();
        let fake = Fake::start(State {
            apply_status: Some(status),
            ..Default::default()
        });
        let file = fake.home.write("system.yaml", MANIFEST);
        let ran = fake.home.run(&["apply", &file]).expect(code);
        assert!(ran.stderr.contains(&message), "{}", ran.stderr);
    }
}

#[test]
fn a_wrong_token_is_8_and_is_not_printed() {
    let fake = fake(Vec::new());
    let server = fake
        .home
        .command(&[])
        .get_envs()
        .find(|(name, _)| *name == "EDGEFLOW_SERVER")
        .and_then(|(_, value)| value)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let home = Home::new()
        .env("EDGEFLOW_SERVER", &server)
        .env("EDGEFLOW_TOKEN", "efa_wrong");
    let ran = home.run(&["get", "systems"]).expect(8);
    assert!(
        ran.stderr.contains("the token is not valid"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("efa_wrong"));
    let home = Home::new().env("EDGEFLOW_SERVER", &server);
    let ran = home.run(&["get", "systems"]).expect(8);
    assert!(
        ran.stderr.contains("needs a token and none was given"),
        "{}",
        ran.stderr
    );
}

#[test]
fn rollback_waits_and_names_a_revision_that_is_not_there() {
    let fake = fake(vec![seen(v1::SystemPhase::Ready, true)]);
    let ran = fake.home.run(&["rollback", "entrance"]).expect(0);
    assert!(
        ran.stdout.starts_with("entrance updated, revision 3"),
        "{}",
        ran.stdout
    );
    fake.home
        .run(&["rollback", "entrance", "--to", "9"])
        .expect(5);
}
