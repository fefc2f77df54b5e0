//! New parameters for a node that runs.

use std::time::{Duration, Instant};

use edgeflow_proto::v1::{NodeReport, NodeState};
use edgeflow_spec::qos::LinkQos;
use serde_json::json;

use crate::process::*;

fn is_ready(report: &NodeReport) -> bool {
    report.state() == NodeState::Ready
}

fn frames(report: &NodeReport) -> u64 {
    report.stats.as_ref().map_or(0, |stats| stats.frames)
}

#[test]
fn a_node_tells_what_it_declares_before_it_is_ready() {
    let (world, qos) = (World::new(), LinkQos::realtime());
    let params = json!({"setup_ms": 60_000});
    let relay = world.start("relay", "relay", None, None, &qos, params);
    let report = relay.report(|report| !report.parameters.is_empty());
    assert_eq!(report.state(), NodeState::Setup);
    let fps = &report.parameters[0];
    assert_eq!((fps.name.as_str(), fps.kind.as_str()), ("fps", "number"));
    assert_eq!(
        (fps.min, fps.max, fps.live),
        (Some(0.01), Some(1000.0), true)
    );
}

#[test]
fn a_source_between_two_slow_ticks_changes_at_once() {
    let (world, qos) = (World::new(), LinkQos::realtime());
    let numbers = world.start("numbers", "numbers", None, None, &qos, json!({"fps": 0.01}));
    numbers.report(|report| is_ready(report) && frames(report) == 1);
    let start = Instant::now();
    assert_eq!(numbers.set_params(&json!({"fps": 100.0})).unwrap(), "");
    numbers.report(|report| frames(report) > 20);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "it waited for its tick"
    );
}

#[test]
fn a_node_that_waits_for_frames_changes_at_once() {
    let (world, qos) = (World::new(), LinkQos::realtime());
    let relay = world.start("relay", "relay", Some("nobody"), None, &qos, no_params());
    relay.report(is_ready);
    let start = Instant::now();
    assert_eq!(relay.set_params(&json!({"busy_ms": 1})).unwrap(), "");
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "it waited for its timer"
    );
}

#[test]
fn what_does_not_fit_or_the_node_refuses_is_answered_and_the_node_goes_on() {
    let (world, qos) = (World::new(), LinkQos::realtime());
    let relay = world.start("relay", "relay", Some("numbers"), None, &qos, no_params());
    let params = json!({"fps": 50});
    let _numbers = world.start("numbers", "numbers", None, Some("relay"), &qos, params);
    relay.report(|report| frames(report) > 0);
    let refusal = |params| relay.set_params(&params).unwrap();
    assert_eq!(
        refusal(json!({"busy_ms": -1})),
        "parameter `busy_ms`: -1 is out of range; it has to be from 0 to 60000"
    );
    assert!(refusal(json!({"unknown": 1})).starts_with("unknown parameter `unknown`"));
    assert_eq!(refusal(json!({"fail": "change"})), "no such mode");
    assert!(relay.set_params(&json!([1])).is_err(), "no object");
    let seen = frames(&relay.report(is_ready));
    relay.report(|report| frames(report) > seen + 20);
}

#[test]
fn a_busy_node_reports_on_and_takes_them_when_its_loop_comes_round() {
    let (world, qos) = (World::new(), LinkQos::realtime());
    let params = json!({"busy_ms": 1500});
    let relay = world.start("relay", "relay", Some("numbers"), None, &qos, params);
    let params = json!({"fps": 20});
    let numbers = world.start("numbers", "numbers", None, Some("relay"), &qos, params);
    // In its loop, for a while.
    numbers.report(|report| {
        let outputs = report.stats.iter().flat_map(|stats| &stats.outputs);
        outputs.map(|output| output.in_flight).sum::<u64>() > 0
    });
    let start = Instant::now();
    std::thread::scope(|scope| {
        let change = scope.spawn(|| relay.set_params(&json!({"busy_ms": 1})));
        relay.report(is_ready);
        assert_eq!(change.join().unwrap().unwrap(), "");
    });
    let seen = frames(&relay.report(is_ready));
    relay.report(|report| frames(report) > seen + 20);
    assert!(start.elapsed() < Duration::from_secs(20), "it still sleeps");
}

#[test]
fn parameters_out_of_their_range_keep_a_node_from_starting() {
    let (world, qos) = (World::new(), LinkQos::realtime());
    let relay = world.start(
        "relay",
        "relay",
        None,
        None,
        &qos,
        json!({"busy_ms": 70_000}),
    );
    let output = relay.wait();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(
        last,
        "error: setup failed: parameter `busy_ms`: 70000 is out of range; it has to be from 0 to 60000"
    );
}
