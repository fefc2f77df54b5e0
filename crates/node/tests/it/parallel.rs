//! A node that works on several frames at a time, as a process between a source and a collector.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use edgeflow_proto::v1::{DeadLettersAsk, NodeReport};
use edgeflow_spec::qos::LinkQos;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::chains::{different, lines};
use crate::process::*;

const FRAMES: usize = 200;

/// A source, and a collector that writes to `written`; the node between them is started by each test.
fn ends(world: &World, written: &Path) -> [Process; 2] {
    let qos = LinkQos::durable();
    let params = json!({"count": FRAMES});
    let numbers = world.start("numbers", "numbers", None, Some("crew"), &qos, params);
    let params = json!({"write_to": written});
    let collect = world.start("collect", "collect", Some("crew"), None, &qos, params);
    [numbers, collect]
}

fn crew(world: &World, params: Value) -> Process {
    let (from, to) = (Some("numbers"), Some("collect"));
    world.start("crew", "crew", from, to, &LinkQos::durable(), params)
}

fn frames(report: &NodeReport) -> u64 {
    report.stats.as_ref().map_or(0, |stats| stats.frames)
}

fn numbers(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn frames_worked_on_at_a_time_arrive_in_order_and_are_acknowledged() {
    let world = World::new();
    let written = world.path("numbers-written");
    let [source, _collect] = ends(&world, &written);
    let crew = crew(&world, json!({"sleep_ms": 1}));
    assert_eq!(lines(&written, FRAMES), numbers(1..=FRAMES));
    let report = crew.report(|report| frames(report) == FRAMES as u64);
    let stats = report.stats.unwrap();
    assert_eq!(stats.facts.get("at_once").map(String::as_str), Some("4"));
    source.report(|report| {
        let output = report.stats.as_ref().and_then(|it| it.outputs.first());
        output.is_some_and(|it| it.delivered == FRAMES as u64 && it.in_flight == 0)
    });
}

#[test]
fn a_stop_finishes_what_is_worked_on_and_a_kill_loses_nothing() {
    let world = World::new();
    let written = world.path("numbers-written");
    let [_source, _collect] = ends(&world, &written);
    let first = crew(&world, json!({"sleep_ms": 5}));
    lines(&written, 20);
    first.stop();
    assert_eq!(first.wait().status.code(), Some(0));
    assert!(world.path("crew.state").join("torn-down").exists());
    let second = crew(&world, json!({"sleep_ms": 5}));
    lines(&written, 80);
    second.signal(Signal::KILL);
    assert_eq!(second.wait().status.code(), None);
    let _third = crew(&world, json!({"sleep_ms": 1}));
    let got = lines(&written, FRAMES);
    let once: BTreeSet<&String> = got.iter().collect();
    assert_eq!(once.len(), FRAMES);
    // What the killed one had sent on may be there twice; before it nothing was.
    let stopped = numbers(1..=80);
    assert_eq!(got[..80], stopped);
    assert!(got.len() <= FRAMES + 64, "{} lines", got.len());
}

#[test]
fn an_error_of_a_worker_keeps_its_place_and_a_panic_ends_the_process() {
    let world = World::new();
    let written = world.path("numbers-written");
    let [_source, _collect] = ends(&world, &written);
    let failing = crew(&world, json!({"sleep_ms": 1, "fail": "loop"}));
    let mut expected = numbers(1..=FRAMES);
    expected[5] = "failed".to_owned();
    assert_eq!(lines(&written, FRAMES), expected);
    let report = failing.report(|report| frames(report) == FRAMES as u64);
    assert_eq!(report.stats.unwrap().errors, 1);

    let world = World::new();
    let [_source, _collect] = ends(&world, &world.path("numbers-written"));
    let panicking = crew(&world, json!({"sleep_ms": 1, "fail": "panic"}));
    let output = panicking.wait();
    assert_eq!(output.status.code(), Some(101));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a bug"));
}

#[test]
fn of_several_frames_at_a_time_the_one_that_kills_is_put_aside() {
    let world = World::new();
    let written = world.path("numbers-written");
    let [source, _collect] = ends(&world, &written);
    let params = json!({"sleep_ms": 1, "die_at": 50});
    let dead = || source.dead_letters(DeadLettersAsk::default()).dead_letters;
    let mut lives = 0;
    let mut crew_now = crew(&world, params.clone());
    while different(&written) < FRAMES - 1 {
        if crew_now.has_ended() {
            lives += 1;
            assert!(lives <= 10, "it goes on");
            crew_now = crew(&world, params.clone());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // One that was before it in the first life may be blamed for that.
    let most = LinkQos::durable().max_deliveries;
    assert!((most..=most + 1).contains(&lives), "{lives}");
    let got = lines(&written, FRAMES - 1);
    assert!(!got.contains(&"50".to_owned()));
    let sequences: Vec<u64> = dead().iter().map(|it| it.sequence).collect();
    assert_eq!(sequences, [50]);
}
