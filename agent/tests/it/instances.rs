//! Instances: started, restarted, reported, stopped.

use edgeflow_proto::v1::{AckResult, InstancePhase};
use edgeflow_spec::assignment::{Assignment, Program, body_hash};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    agent::{Agent, AgentDirs, is_alive, signal},
    eventually,
    fleet::Fleet,
    node::{command, helper, well_behaved},
};

#[tokio::test]
async fn an_assigned_node_becomes_ready_and_is_stopped_when_it_is_taken_away() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = well_behaved("camera");
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    let ready = fleet.ready(&node.id).await;
    assert_eq!(ready.reason, "");
    assert_eq!(ready.stats.unwrap().fps, 25.0);
    assert_eq!(ready.spec_hash, node.restart_hash());
    let status = fleet
        .status("the generation", |status| status.observed_generation == 1)
        .await;
    assert!(!status.observed_hash.is_empty());
    assert!(status.load.is_some_and(|load| load.memory_total_bytes > 0));

    fleet.assign_accepted(2, &[]).await;
    fleet
        .status("nothing runs", |status| {
            status.observed_generation == 2 && status.instances.is_empty()
        })
        .await;
    assert!(!is_alive(ready.pid));
}

#[tokio::test]
async fn only_a_changed_node_is_restarted() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let (mut kept, mut changed) = (well_behaved("kept"), well_behaved("changed"));
    fleet
        .assign_accepted(1, &[kept.clone(), changed.clone()])
        .await;
    let kept_pid = fleet.ready(&kept.id).await.pid;
    let changed_pid = fleet.ready(&changed.id).await.pid;
    kept.revision = 2;
    changed.revision = 2;
    changed.env.insert("X".to_owned(), "1".to_owned());
    fleet.assign_accepted(2, &[kept.clone(), changed]).await;
    let ready = |status: &edgeflow_proto::v1::InstanceStatus| {
        status.revision == 2 && status.phase() == InstancePhase::Ready
    };
    let kept_now = fleet.instance("kept revised", &kept.id, ready).await;
    let changed_now = fleet
        .instance("changed again", "test.changed.0", ready)
        .await;
    assert_eq!(kept_now.pid, kept_pid);
    assert_ne!(changed_now.pid, changed_pid);
    assert!(!is_alive(changed_pid));
}

#[tokio::test]
async fn a_killed_node_is_restarted_and_counted_with_its_cause() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = helper("camera", &json!({"say": "last words"}));
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    let before = fleet.ready(&node.id).await;
    signal(before.pid, Signal::KILL);
    let after = fleet
        .instance("the node is back", &node.id, |status| {
            status.restarts == 1 && status.phase() == InstancePhase::Ready
        })
        .await;
    assert_ne!(after.pid, before.pid);
    let exit = after.last_exit.unwrap();
    assert_eq!(exit.signal, Some(9));
    assert!(!exit.out_of_memory);
    assert!(exit.message.contains("SIGKILL"), "{}", exit.message);
    assert!(exit.log_tail.iter().any(|line| line == "last words"));
    eventually("the event", || {
        let events = fleet.events();
        events.into_iter().find(|e| e.reason == "InstanceExited")
    })
    .await;
}

#[tokio::test]
async fn a_node_that_exits_again_and_again_is_a_crash_loop_with_code_and_last_lines() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = command("broken", &["sh", "-c", "echo no camera here >&2; exit 3"]);
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    let status = fleet
        .instance("a crash loop", &node.id, |status| {
            status.phase() == InstancePhase::CrashLoop
        })
        .await;
    assert!(status.restarts >= 5);
    assert!(
        status.reason.contains("exited with code 3"),
        "{}",
        status.reason
    );
    assert!(status.next_start_unix_ms > 0);
    let exit = status.last_exit.unwrap();
    assert_eq!(exit.code, Some(3));
    assert_eq!(exit.log_tail, ["no camera here"]);
}

#[tokio::test]
async fn a_missing_program_fails_with_what_to_do() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start_with(
        &fleet.address(),
        &fleet.token(),
        &["--nodes-bin", "/nowhere/edgeflow-nodes"],
    );
    let missing = command("missing", &["no-such-program"]);
    let mut builtin = command("builtin", &[]);
    builtin.program = Program::Builtin("pattern".to_owned());
    fleet
        .assign_accepted(1, &[missing.clone(), builtin.clone()])
        .await;
    for (id, words) in [
        (&missing.id, "`no-such-program` is not on this device"),
        (&builtin.id, "/nowhere/edgeflow-nodes is not there"),
    ] {
        let status = fleet
            .instance("it failed", id, |status| {
                status.phase() == InstancePhase::Failed
            })
            .await;
        assert!(status.reason.contains(words), "{}", status.reason);
    }
}

#[tokio::test]
async fn a_program_that_is_no_node_runs_and_says_what_it_waits_for() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = command("sleeper", &["sleep", "1000"]);
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    let status = fleet
        .instance("it runs", &node.id, |status| status.pid != 0)
        .await;
    assert_eq!(status.phase(), InstancePhase::Starting);
    assert!(status.reason.contains("report ready"), "{}", status.reason);
}

#[tokio::test]
async fn a_node_that_ignores_every_request_is_killed_with_its_children() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let mut node = helper("stubborn", &json!({"stubborn": true}));
    node.stop_grace_ms = 300;
    let mut parent = command("parent", &["sh", "-c", "trap '' TERM; sleep 1000 & wait"]);
    parent.stop_grace_ms = 300;
    fleet
        .assign_accepted(1, &[node.clone(), parent.clone()])
        .await;
    fleet.ready(&node.id).await;
    eventually("three processes", || {
        Some(()).filter(|()| dirs.node_pids().len() >= 3)
    })
    .await;
    fleet.assign_accepted(2, &[]).await;
    fleet
        .status("nothing runs", |status| status.instances.is_empty())
        .await;
    eventually("no process is left", || {
        Some(()).filter(|()| dirs.node_pids().is_empty())
    })
    .await;
}

#[tokio::test]
async fn the_environment_is_clean_and_names_the_instance_file() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let mut command_line = dirs.command(&fleet.address());
    command_line
        .args(["--join", &fleet.token()])
        .env("SECRET_OF_THE_HOST", "x");
    let _agent = Agent::spawn(command_line);
    let mut node = command(
        "env",
        &["sh", "-c", "env > env.txt; pwd > pwd.txt; sleep 1000"],
    );
    node.env.insert("CAMERA".to_owned(), "front".to_owned());
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    let state = dirs.data.join("state").join(&node.id);
    let pwd = eventually("the node wrote", || {
        std::fs::read_to_string(state.join("pwd.txt"))
            .ok()
            .filter(|text| text.ends_with('\n'))
    })
    .await;
    let env = std::fs::read_to_string(state.join("env.txt")).unwrap();
    assert_eq!(std::path::Path::new(pwd.trim()), state);
    assert!(env.contains("CAMERA=front\n"));
    assert!(env.contains("EDGEFLOW_INSTANCE="));
    assert!(!env.contains("SECRET_OF_THE_HOST"));
}

#[tokio::test]
async fn assignments_that_break_the_rules_are_refused_and_change_nothing() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = well_behaved("camera");
    fleet.assign_accepted(5, std::slice::from_ref(&node)).await;
    let pid = fleet.ready(&node.id).await.pid;

    let stale = fleet.assign(4, &[]).await;
    assert_eq!(stale.result(), AckResult::RefusedStale);
    let conflict = fleet.assign(5, &[]).await;
    assert_eq!(conflict.result(), AckResult::RefusedConflict);
    let body = Assignment::default().to_body();
    let invalid = fleet.assign_body(6, body_hash(b"other"), body).await;
    assert_eq!(invalid.result(), AckResult::RefusedInvalid);
    assert!(invalid.message.contains("hash"), "{}", invalid.message);
    let status = fleet
        .status("the condition", |status| !status.conditions.is_empty())
        .await;
    assert_eq!(status.conditions[0].r#type, "AssignmentRefused");
    assert_eq!(status.observed_generation, 5);
    assert_eq!(fleet.ready(&node.id).await.pid, pid);

    fleet.assign_accepted(6, &[node]).await;
    fleet
        .status("the condition is gone", |status| {
            status.conditions.is_empty()
        })
        .await;
}

#[tokio::test]
async fn spans_go_to_a_control_plane_that_wants_them_and_to_no_other() {
    let mut fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = well_behaved("camera");
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    fleet.ready(&node.id).await;
    // Spans go with a report: those of the first two are there when the third is.
    fleet.reports(3).await;
    assert!(fleet.take_spans().is_empty());

    fleet.want_spans(true);
    fleet.stop();
    fleet.start_again().await;
    let report = eventually("spans", || fleet.take_spans().pop()).await;
    assert!(report.lost > 0, "what the node lost is passed on");
    let instance = &report.instances[0];
    assert_eq!(
        (instance.instance.as_str(), instance.system.as_str()),
        ("test.camera.0", "test")
    );
    let span = &instance.spans[0];
    assert_eq!((span.trace_id.len(), span.error.len()), (16, 200));

    fleet.want_spans(false);
    fleet.stop();
    fleet.start_again().await;
    fleet.take_spans();
    fleet.reports(3).await;
    assert!(fleet.take_spans().is_empty());
}

#[tokio::test]
async fn what_a_node_tells_of_is_an_event_with_its_picture() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = well_behaved("watch");
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    let event = eventually("the event", || {
        let events = fleet.events().into_iter();
        events
            .into_iter()
            .find(|event| event.reason == "PersonSeen")
    })
    .await;
    assert_eq!(
        (event.severity.as_str(), event.message.as_str()),
        ("warning", "1 person")
    );
    assert_eq!(event.instance, node.id);
    assert_eq!(event.picture, [0xff, 0xd8, 0xff, 0xd9]);
    // Acknowledged: nothing stays on the disk.
    let pictures = dirs.data.join("event-pictures");
    eventually("no picture left", || {
        let left = std::fs::read_dir(&pictures).map_or(0, |left| left.count());
        (left == 0).then_some(())
    })
    .await;
}
