//! Live parameters: handed to the running node, kept over restarts, refused without harm.

use edgeflow_proto::v1::{InstancePhase, InstanceStatus};
use edgeflow_spec::assignment::Instance;
use rustix::process::Signal;
use serde_json::json;

use crate::{
    agent::{AgentDirs, signal},
    eventually,
    fleet::Fleet,
    node::helper,
};

fn with_level(level: u64) -> Instance {
    let mut node = helper("camera", &json!({"level": 1}));
    node.overrides.insert("level".to_owned(), level.into());
    node
}

fn has(node: &Instance) -> impl Fn(&InstanceStatus) -> bool {
    let wanted = node.params_hash();
    move |status| {
        let state = status.params.as_ref();
        status.phase() == InstancePhase::Ready && state.is_some_and(|state| state.hash == wanted)
    }
}

fn refused(status: &InstanceStatus) -> bool {
    let state = status.params.as_ref();
    state.is_some_and(|state| state.refusal == "the level is too high")
}

#[tokio::test]
async fn a_running_node_gets_other_live_parameters_without_a_restart() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let node = helper("camera", &json!({"level": 1}));
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    let before = fleet.instance("it runs", &node.id, has(&node)).await;
    assert_eq!(before.parameters[0].name, "level");
    // Set on the system, then edited in the manifest.
    let set = with_level(2);
    let edited = helper("camera", &json!({"level": 3}));
    for (generation, next) in [(2, &set), (3, &edited)] {
        fleet
            .assign_accepted(generation, std::slice::from_ref(next))
            .await;
        let after = fleet.instance("it has them", &node.id, has(next)).await;
        assert_eq!((after.pid, after.restarts), (before.pid, 0));
    }
    // What it did not declare live needs a restart.
    let other = helper("camera", &json!({"level": 3, "say": "hello"}));
    fleet.assign_accepted(4, std::slice::from_ref(&other)).await;
    let after = fleet.instance("it is new", &node.id, has(&other)).await;
    assert_ne!(after.pid, before.pid);
}

#[tokio::test]
async fn a_refused_value_leaves_the_node_alone_and_does_not_keep_it_from_starting() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let good = with_level(5);
    fleet.assign_accepted(1, std::slice::from_ref(&good)).await;
    let before = fleet.instance("it runs", &good.id, has(&good)).await;
    let bad = with_level(99);
    fleet.assign_accepted(2, std::slice::from_ref(&bad)).await;
    let shown = fleet.instance("the refusal", &good.id, refused).await;
    assert_eq!((shown.pid, shown.restarts), (before.pid, 0));
    assert!(has(&good)(&shown), "the old values stay");
    let state = shown.params.unwrap();
    assert_eq!(state.refused_hash, bad.params_hash());
    eventually("the event", || {
        let events = fleet.events();
        events.into_iter().find(|e| e.reason == "ParametersRefused")
    })
    .await;
    signal(before.pid, Signal::KILL);
    let again = fleet
        .instance("it is back", &good.id, |status| {
            status.restarts == 1 && has(&good)(status)
        })
        .await;
    assert!(refused(&again), "still not what is desired");
    fleet.assign_accepted(3, std::slice::from_ref(&good)).await;
    let calm = fleet
        .instance("the refusal is over", &good.id, |status| !refused(status))
        .await;
    assert_eq!(calm.pid, again.pid);
}

#[tokio::test]
async fn a_node_that_can_not_start_is_tried_again_as_soon_as_its_parameters_change() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    let bad = with_level(99);
    fleet.assign_accepted(1, std::slice::from_ref(&bad)).await;
    fleet
        .instance("a crash loop", &bad.id, |status| {
            status.phase() == InstancePhase::CrashLoop
        })
        .await;
    let begin = std::time::Instant::now();
    let good = with_level(3);
    fleet.assign_accepted(2, std::slice::from_ref(&good)).await;
    fleet.instance("it runs", &good.id, has(&good)).await;
    let took = begin.elapsed();
    assert!(took.as_secs() < 15, "it sat out its 30 s backoff: {took:?}");
}

#[tokio::test]
async fn what_was_set_is_there_after_a_kill_of_the_node_and_of_the_agent() {
    let fleet = Fleet::start().await;
    let dirs = AgentDirs::new();
    let agent = dirs.start(&fleet.address(), &fleet.token());
    let node = helper("camera", &json!({"level": 1}));
    fleet.assign_accepted(1, std::slice::from_ref(&node)).await;
    fleet.instance("it runs", &node.id, has(&node)).await;
    let set = with_level(4);
    fleet.assign_accepted(2, std::slice::from_ref(&set)).await;
    let before = fleet.instance("it has them", &node.id, has(&set)).await;
    signal(before.pid, Signal::KILL);
    let after = fleet
        .instance("a new process", &node.id, |status| {
            status.pid != before.pid && has(&set)(status)
        })
        .await;
    drop(agent);
    let _agent = dirs.start(&fleet.address(), &fleet.token());
    fleet
        .instance("a process of the new agent", &node.id, |status| {
            status.pid != after.pid && has(&set)(status)
        })
        .await;
}
