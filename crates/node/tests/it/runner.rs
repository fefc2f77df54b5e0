//! What the runner promises to nodes, agents and people.

use std::time::{Duration, Instant};

use edgeflow_proto::v1::{InputStats, NodeReport, NodeState, OutputStats};
use edgeflow_spec::qos::LinkQos;
use rustix::process::Signal;
use serde_json::json;

use crate::process::*;

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn last_line(output: &std::process::Output) -> String {
    stderr(output).lines().last().unwrap_or_default().to_owned()
}

fn is_ready(report: &NodeReport) -> bool {
    report.state() == NodeState::Ready
}

fn input(report: &NodeReport) -> Option<InputStats> {
    report.stats.as_ref()?.inputs.first().cloned()
}

fn output(report: &NodeReport) -> Option<OutputStats> {
    report.stats.as_ref()?.outputs.first().cloned()
}

#[test]
fn a_source_and_a_node_report_frames_and_latencies() {
    let (world, qos) = (World::new(), LinkQos::realtime());
    let relay = world.start("relay", "relay", Some("numbers"), None, &qos, no_params());
    let params = json!({"fps": 50});
    let numbers = world.start("numbers", "numbers", None, Some("relay"), &qos, params);
    let report = relay.report(|report| input(report).is_some_and(|input| input.frames > 60));
    assert!(is_ready(&report));
    let stats = report.stats.clone().unwrap();
    assert_eq!(stats.condition, "only a test");
    let loop_time = stats.loop_time.unwrap();
    assert!(loop_time.max_us >= loop_time.p50_us);
    let input = input(&report).unwrap();
    assert_eq!((input.connected, input.expected), (1, 1));
    assert!((25.0..75.0).contains(&input.fps), "{} fps", input.fps);
    let (hop, age) = (input.hop.unwrap(), input.age.unwrap());
    assert!(hop.p50_us > 0 && hop.p50_us <= age.p50_us + age.p50_us / 8 + 2);
    let report = numbers.report(|report| output(report).is_some_and(|o| o.delivered > 60));
    let output = output(&report).unwrap();
    let dropped: u64 = output.dropped.values().sum();
    assert_eq!(
        output.produced,
        output.delivered + dropped + output.in_flight
    );
    assert_eq!(
        (
            output.qos.as_str(),
            output.transport.as_str(),
            output.consumers
        ),
        ("realtime", "shm", 1)
    );
}

#[test]
fn a_stop_request_and_a_signal_end_in_teardown_and_code_0() {
    let (world, qos) = (World::new(), LinkQos::realtime());
    for (node, by_signal) in [("one", false), ("two", true)] {
        let relay = world.start("relay", node, Some("nobody"), None, &qos, no_params());
        relay.report(is_ready);
        if by_signal {
            relay.signal(Signal::TERM);
        } else {
            relay.stop();
        }
        let start = Instant::now();
        let output = relay.wait();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(start.elapsed() < Duration::from_secs(2));
        assert!(world.path(&format!("{node}.state/torn-down")).exists());
        assert!(!world.path(&format!("{node}.control")).exists());
        assert!(!world.path(&format!("{node}.out")).exists());
    }
}

#[test]
fn a_stop_during_setup_does_not_wait_for_it() {
    let (world, qos) = (World::new(), LinkQos::realtime());
    let params = json!({"setup_ms": 60_000});
    let relay = world.start("relay", "relay", None, None, &qos, params);
    relay.report(|report| report.state() == NodeState::Setup);
    relay.stop();
    assert_eq!(relay.wait().status.code(), Some(0));
}

#[test]
fn failures_end_with_a_code_and_their_reason_in_the_last_line() {
    let cases = [
        (
            json!({"fail": "setup"}),
            "error: setup failed: loading the model: no such model",
        ),
        (
            json!({"setup_ms": "x"}),
            "error: setup failed: parameter `setup_ms`: invalid type: string \"x\", expected u64",
        ),
        (
            json!({"fps": "x"}),
            "error: setup failed: parameter `fps`: expected a number, found text",
        ),
    ];
    let (world, qos) = (World::new(), LinkQos::realtime());
    for (params, reason) in cases {
        let output = world
            .start("relay", "relay", None, None, &qos, params)
            .wait();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(last_line(&output), reason);
    }
    let output = command("relay").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(last_line(&output).starts_with("error: EDGEFLOW_INSTANCE is not set"));
}

#[test]
fn a_fatal_error_and_a_panic_end_the_process() {
    let cases = [
        ("fatal", 1, "error: the node failed: device gone"),
        ("panic", 101, "a bug"),
    ];
    let (world, qos) = (World::new(), LinkQos::realtime());
    let params = json!({"fps": 100});
    let _numbers = world.start("numbers", "numbers", None, None, &qos, params);
    for (fail, code, reason) in cases {
        let params = json!({"fail": fail});
        let relay = world.start("relay", "relay", Some("numbers"), None, &qos, params);
        let output = relay.wait();
        assert_eq!(output.status.code(), Some(code));
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
    }
}

#[test]
fn an_error_in_the_loop_is_counted_and_becomes_visible_downstream() {
    let (world, qos) = (World::new(), LinkQos::realtime());
    let params = json!({"fps": 50});
    let _numbers = world.start("numbers", "numbers", None, Some("bad"), &qos, params);
    let params = json!({"fail": "loop"});
    let bad = world.start("relay", "bad", Some("numbers"), Some("sink"), &qos, params);
    let written = world.path("error");
    let params = json!({"write_to": written});
    let sink = world.start("relay", "sink", Some("bad"), None, &qos, params);
    sink.report(|report| input(report).is_some_and(|input| input.frames > 0));
    assert_eq!(
        std::fs::read_to_string(&written).unwrap(),
        "bad: bad picture"
    );
    let report = bad.report(|report| report.stats.as_ref().is_some_and(|s| s.errors > 10));
    assert!(is_ready(&report), "it runs on");
    bad.stop();
    let output = bad.wait();
    let logged = stderr(&output).matches("the node's loop failed").count();
    assert!(logged < 10, "logged {logged} times");
}

#[test]
fn a_durable_pipeline_survives_a_killed_consumer() {
    let (world, qos) = (World::new(), LinkQos::durable());
    let params = json!({"fps": 200});
    let numbers = world.start("numbers", "numbers", None, Some("relay"), &qos, params);
    let relay = world.start("relay", "relay", Some("numbers"), None, &qos, no_params());
    relay.report(|report| input(report).is_some_and(|input| input.frames > 50));
    relay.signal(Signal::KILL);
    assert_eq!(relay.wait().status.code(), None);
    let relay = world.start("relay", "relay", Some("numbers"), None, &qos, no_params());
    relay.report(|report| input(report).is_some_and(|input| input.frames > 50));
    let report = numbers.report(|report| output(report).is_some_and(|o| o.delivered > 150));
    assert!(output(&report).unwrap().dropped.is_empty());
}

#[test]
fn a_source_that_is_blocked_by_a_full_link_can_be_stopped() {
    let (world, qos) = (World::new(), LinkQos::durable());
    // As fast as it can, into a link that nobody reads.
    let numbers = world.start("numbers", "numbers", None, Some("relay"), &qos, no_params());
    numbers.report(|report| output(report).is_some_and(|o| o.in_flight == 64));
    numbers.stop();
    let output = numbers.wait();
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("stopped with frames that nobody took"));
}
