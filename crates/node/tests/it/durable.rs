//! What durable links promise when real processes are killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use edgeflow_proto::v1::{DeadLettersAsk, NodeReport, OutputStats};
use edgeflow_spec::qos::{LinkQos, OnFull};
use rustix::process::Signal;
use serde_json::json;

use crate::process::*;

fn output(report: &NodeReport) -> Option<OutputStats> {
    report.stats.as_ref()?.outputs.first().cloned()
}

/// The numbers that a sink has written so far.
fn lines(path: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// Waits until a sink has written what is wanted.
fn wait_for_lines(path: &Path, wanted: impl Fn(&[u32]) -> bool) -> Vec<u32> {
    let start = Instant::now();
    loop {
        let lines = lines(path);
        if wanted(&lines) {
            return lines;
        }
        assert!(start.elapsed() < PATIENCE, "{} lines", lines.len());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_a_killed_producer_has_spilled_arrives_before_anything_new() {
    let world = World::new();
    let qos = LinkQos {
        window_frames: 8,
        on_full: OnFull::Spill,
        ..LinkQos::durable()
    };
    let params = json!({"count": 500});
    let numbers = world.start("numbers", "numbers", None, Some("sink"), &qos, params);
    numbers.report(|report| output(report).is_some_and(|o| o.in_flight == 500));
    numbers.signal(Signal::KILL);
    assert_eq!(numbers.wait().status.code(), None);

    let params = json!({"first": 1000, "count": 10});
    let numbers = world.start("numbers", "numbers", None, Some("sink"), &qos, params);
    let file = world.path("got");
    let params = json!({"append_to": file});
    let _sink = world.start("relay", "sink", Some("numbers"), None, &qos, params);
    let got = wait_for_lines(&file, |lines| lines.len() >= 502);
    // The first eight were only in memory.
    let expected: Vec<u32> = (9..=500).chain(1001..=1010).collect();
    assert_eq!(got, expected);
    let done = |o: OutputStats| o.produced == 502 && o.in_flight == 0;
    let report = numbers.report(|report| output(report).is_some_and(done));
    let output = output(&report).unwrap();
    assert_eq!((output.produced, output.delivered), (502, 502));
    assert!(output.dropped.is_empty());
}

#[test]
fn a_stopped_producer_loses_nothing_that_spills() {
    let world = World::new();
    let qos = LinkQos {
        window_frames: 8,
        on_full: OnFull::Spill,
        ..LinkQos::durable()
    };
    let params = json!({"count": 20});
    let numbers = world.start("numbers", "numbers", None, Some("sink"), &qos, params);
    numbers.report(|report| output(report).is_some_and(|o| o.in_flight == 20));
    numbers.stop();
    let ended = numbers.wait();
    assert_eq!(ended.status.code(), Some(0));
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(log.contains("frames stay on disk"), "{log}");
    let params = json!({"count": 0});
    let _numbers = world.start("numbers", "numbers", None, Some("sink"), &qos, params);
    let file = world.path("got");
    let params = json!({"append_to": file});
    let _sink = world.start("relay", "sink", Some("numbers"), None, &qos, params);
    let got = wait_for_lines(&file, |lines| lines.len() >= 20);
    assert_eq!(got, (1..=20).collect::<Vec<_>>());
}

#[test]
fn fifteen_hundred_frames_survive_five_kills_of_their_consumer() {
    let world = World::new();
    let qos = LinkQos::durable();
    let params = json!({"count": 1500});
    let numbers = world.start("numbers", "numbers", None, Some("sink"), &qos, params);
    let file = world.path("got");
    let start = || {
        let params = json!({"append_to": file});
        world.start("relay", "sink", Some("numbers"), None, &qos, params)
    };
    let mut sink = start();
    for kill in 1..=5 {
        wait_for_lines(&file, |lines| lines.len() >= kill * 200);
        sink.signal(Signal::KILL);
        assert_eq!(sink.wait().status.code(), None);
        sink = start();
    }
    let report = numbers.report(|report| output(report).is_some_and(|o| o.delivered == 1500));
    let got = lines(&file);
    let once: BTreeSet<u32> = got.iter().copied().collect();
    assert_eq!(once, (1..=1500).collect());
    let twice = got.len() - once.len();
    assert!(twice <= qos.window_frames as usize, "{twice} came twice");
    assert!(output(&report).unwrap().dropped.is_empty());
    drop(sink);
}

#[test]
fn a_frame_that_kills_its_consumer_five_times_is_put_aside() {
    let world = World::new();
    let qos = LinkQos::durable();
    let params = json!({"count": 50});
    let numbers = world.start("numbers", "numbers", None, Some("sink"), &qos, params);
    let file = world.path("got");
    let start = || {
        let params = json!({"append_to": file, "die_at": 20});
        world.start("relay", "sink", Some("numbers"), None, &qos, params)
    };
    for _ in 0..qos.max_deliveries {
        assert_eq!(start().wait().status.code(), None, "it aborts");
    }
    let sink = start();
    let done = |o: OutputStats| o.produced == 50 && o.in_flight == 0;
    let report = numbers.report(|report| output(report).is_some_and(done));
    let counted = output(&report).unwrap();
    assert_eq!(counted.dropped.get("dead_letter"), Some(&1));
    assert_eq!(counted.delivered, 49);
    let got: BTreeSet<u32> = lines(&file).into_iter().collect();
    assert_eq!(got, (1..=50).filter(|number| *number != 20).collect());

    // It waits until the consumer is mended.
    let listed = numbers.dead_letters(DeadLettersAsk::default());
    let [letter] = &listed.dead_letters[..] else {
        panic!("{listed:?}")
    };
    assert_eq!((letter.sequence, letter.deliveries), (20, 5));
    assert_eq!(letter.link, "numbers->sink");
    drop(sink);
    let params = json!({"append_to": file});
    let _sink = world.start("relay", "sink", Some("numbers"), None, &qos, params);
    let answer = numbers.dead_letters(DeadLettersAsk {
        replay_ids: vec![letter.id.clone()],
        replay_all: false,
    });
    assert_eq!((answer.replayed, answer.dead_letters.len()), (1, 0));
    wait_for_lines(&file, |lines| lines.contains(&20));
    numbers.report(|report| output(report).is_some_and(|o| o.delivered == 50));
    let answer = numbers.dead_letters(DeadLettersAsk {
        replay_ids: vec![letter.id.clone()],
        replay_all: false,
    });
    assert!(answer.error.contains("no dead letter"), "{}", answer.error);
}
