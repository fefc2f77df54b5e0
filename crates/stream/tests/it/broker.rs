//! Links over a real redis-server: killed, emptied, full, hostile. What every transport has to do is
//! in `conformance`. Skipped where none is installed.

use std::time::{Duration, Instant};

use edgeflow_spec::qos::{LinkQos, OnFull};
use edgeflow_stream::broker::{RedisDial, admin, stream_key};
use edgeflow_stream::{SendError, Subscriber};

use crate::broker_fixture::*;
use crate::support::*;

fn expect_in_order(consumer: &mut Subscriber, numbers: std::ops::Range<u32>) {
    for wanted in numbers {
        assert_eq!(number(&expect(consumer)), wanted);
    }
}

#[test]
fn a_frame_of_any_size_arrives_as_it_was_sent_and_leaves_nothing_behind() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    let mut consumer = fixture.consumer("c.0");
    for len in [4, 1000, 50_000, 900_000, 6_000_000] {
        let mut frame = sized(7, len);
        frame.header.width = 640;
        let mut meta = frame.read_meta().unwrap();
        meta.set("key", "value").unwrap();
        frame.set_meta(&meta);
        let seq = fixture.publisher.send(frame.clone()).unwrap();
        let received = expect(&mut consumer);
        assert_eq!(received.frame.payload, frame.payload);
        assert_eq!(received.frame.meta, frame.meta);
        assert_eq!(
            (received.frame.header.seq, received.frame.header.width),
            (seq, 640)
        );
        assert!(
            received.hop.unwrap() < PATIENCE,
            "both ends are on one clock"
        );
    }
    consumer.ack();
    fixture.drained();
}

#[test]
fn frames_wait_for_a_consumer_and_keep_their_order() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.send(0..50);
    fixture.stored(50);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..50);
    fixture.send(50..80);
    expect_in_order(&mut consumer, 50..80);
    consumer.ack();
    fixture.drained();
}

#[test]
fn realtime_jumps_to_the_newest() {
    let Some(fixture) = Fixture::start(LinkQos::realtime()) else {
        return;
    };
    wait_for(&fixture.publisher, GROUP, |stats| stats.consumers == 1);
    let mut consumer = fixture.consumer("c.0");
    for sent in 0..40 {
        // The sink has taken the one before, so that every frame reaches the broker.
        fixture.send(sent..sent + 1);
        fixture.stored(u64::from(sent) + 1);
    }
    assert_eq!(number(&expect(&mut consumer)), 39);
    assert!(fixture.length() <= 2);
    fixture.send(40..41);
    assert_eq!(number(&expect(&mut consumer)), 40);
}

#[test]
fn replicas_share_the_frames() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    let (mut first, mut second) = (fixture.consumer("c.0"), fixture.consumer("c.1"));
    fixture.send(0..60);
    let mut seen = vec![];
    let start = Instant::now();
    while seen.len() < 60 {
        assert!(start.elapsed() < PATIENCE, "only {seen:?}");
        for consumer in [&mut first, &mut second] {
            let received = consumer.recv(Duration::from_millis(5)).unwrap();
            seen.extend(received.as_ref().map(number));
        }
    }
    first.ack();
    second.ack();
    seen.sort_unstable();
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    fixture.drained();
}

#[test]
fn a_broker_that_is_killed_three_times_loses_nothing() {
    const FRAMES: u32 = 3000;
    let Some(mut fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    let mut consumer = fixture.consumer("c.0");
    let handle = std::thread::spawn(move || {
        let numbers = expect_numbers(&mut consumer, FRAMES as usize);
        consumer.ack();
        (numbers, consumer)
    });
    for quarter in 0..4 {
        let (from, to) = (quarter * FRAMES / 4, (quarter + 1) * FRAMES / 4);
        fixture.send(from..to);
        if quarter < 3 {
            fixture.redis.kill9().unwrap();
            fixture.redis.restart().unwrap();
        }
    }
    let (numbers, _consumer) = handle.join().unwrap();
    assert_eq!(numbers, (0..FRAMES).collect::<Vec<_>>());
    assert_eq!(fixture.sink.as_ref().unwrap().lost(), 0);
    fixture.drained();
}

#[test]
fn a_full_stream_makes_the_output_full() {
    let Some(fixture) = Fixture::start(durable(4, OnFull::Fail)) else {
        return;
    };
    // Four in the broker, four in the window of the output.
    let start = Instant::now();
    let mut sent = 0;
    while sent < 8 {
        assert!(start.elapsed() < PATIENCE, "only {sent} were taken");
        match fixture.publisher.send(numbered(sent)) {
            Ok(_) => sent += 1,
            Err(SendError::Full { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    let full = fixture.publisher.send(numbered(8));
    assert!(matches!(full, Err(SendError::Full { .. })), "{full:?}");
    assert_eq!(fixture.length(), 4);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..8);
    consumer.ack();
    fixture.drained();
}

#[test]
fn a_broker_that_is_away_is_reported_and_waited_for() {
    let Some(mut fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.send(0..5);
    fixture.stored(5);
    fixture.redis.kill9().unwrap();
    fixture.send(5..20);
    let problem = fixture.problem();
    assert!(problem.contains("broker"), "{problem}");
    fixture.redis.restart().unwrap();
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..20);
}

#[test]
fn a_broker_that_does_not_answer_is_reported_and_holds_up_no_end() {
    let Some(mut fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.send(0..5);
    fixture.stored(5);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..5);
    fixture.redis.freeze().unwrap();
    fixture.send(5..10);
    let problem = fixture.problem();
    assert!(problem.contains("broker"), "{problem}");
    // It dials a broker that accepts and says nothing.
    let start = Instant::now();
    fixture.sink = None;
    drop(consumer);
    assert!(
        start.elapsed() < PATIENCE,
        "the end took {:?}",
        start.elapsed()
    );
}

#[test]
fn an_emptied_broker_is_counted_and_the_link_goes_on() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.send(0..10);
    fixture.stored(10);
    fixture.redis.command(&["flushall"]).unwrap();
    fixture.send(10..11);
    fixture.stored(11);
    assert_eq!(fixture.sink.as_ref().unwrap().lost(), 10);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 10..11);
    // Emptied under a reader that waits.
    assert!(consumer.recv(Duration::from_millis(10)).unwrap().is_none());
    fixture.redis.command(&["flushall"]).unwrap();
    fixture.send(11..12);
    expect_in_order(&mut consumer, 11..12);
}

#[test]
fn entries_that_are_no_frames_are_left_out() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.send(0..1);
    fixture.stored(1);
    let key = key();
    for fields in [["h", "rubbish"], ["x", "y"], ["b", "nowhere"]] {
        fixture
            .redis
            .command(&["xadd", &key, "*", fields[0], fields[1]])
            .unwrap();
    }
    fixture.send(1..3);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..3);
    consumer.ack();
    fixture.drained();
}

#[test]
fn a_wrong_password_is_reported_without_showing_it() {
    let options = ["--requirepass", "right"];
    let Some(fixture) = Fixture::start_with(LinkQos::durable(), &options, Some("wrong-one")) else {
        return;
    };
    fixture.send(0..3);
    let problem = fixture.problem();
    assert!(problem.to_lowercase().contains("password"), "{problem}");
    assert!(!problem.contains("wrong-one"), "{problem}");
    // A new password is taken without a restart.
    let file = fixture.broker.password_file.clone().unwrap();
    std::fs::write(file, "right\n").unwrap();
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..3);
}

#[test]
fn what_a_dead_replica_had_goes_to_another_after_a_while() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    let mut doomed = fixture.consumer("c.0");
    fixture.send(0..4);
    assert_eq!(number(&expect(&mut doomed)), 0);
    drop(doomed);
    let pending = || {
        fixture
            .redis
            .command(&["xpending", &key(), GROUP, "-", "+", "10", "d/c.0"])
    };
    let start = Instant::now();
    let ids = loop {
        let pending = pending().unwrap();
        let lines = pending.lines().map(str::trim);
        let ids: Vec<String> = lines
            .filter(|l| l.contains('-'))
            .map(str::to_owned)
            .collect();
        if ids.len() == 4 {
            break ids;
        }
        assert!(start.elapsed() < PATIENCE, "{pending}");
    };
    // As if half a minute had passed.
    for id in &ids {
        let words = [
            "xclaim",
            &key(),
            GROUP,
            "d/c.0",
            "0",
            id,
            "IDLE",
            "40000",
            "JUSTID",
        ];
        fixture.redis.command(&words).unwrap();
    }
    let mut heir = fixture.consumer("c.1");
    let first = expect(&mut heir);
    assert_eq!((number(&first), first.redelivered), (0, true));
    expect_in_order(&mut heir, 1..4);
    heir.ack();
    fixture.drained();
}

#[test]
fn a_frozen_consumer_holds_up_no_other_link() {
    let Some(mut transport) = Redis::new() else {
        return;
    };
    let qos = LinkQos::realtime();
    let publisher = publisher(&mut transport, vec![group("a", &qos), group("b", &qos)]);
    let mut frozen = subscriber(&transport, "a.0", "a", &qos);
    let mut lively = subscriber(&transport, "b.0", "b", &qos);
    connect(&mut frozen);
    connect(&mut lively);
    wait_for(&publisher, "b", |stats| stats.consumers == 1);
    for sent in 0..20 {
        publisher.send(sized(sent, 1_000_000)).unwrap();
        assert_eq!(number(&expect(&mut lively)), sent);
        assert!(lively.recv(Duration::ZERO).unwrap().is_none());
    }
    assert!(frozen.is_connected());
}

#[test]
fn a_full_broker_is_reported_and_can_be_emptied() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    let limit = [
        "config",
        "set",
        "maxmemory",
        "8mb",
        "maxmemory-policy",
        "noeviction",
    ];
    fixture.redis.command(&limit).unwrap();
    for number in 0..40 {
        fixture.publisher.send(sized(number, 400_000)).unwrap();
    }
    let problem = fixture.problem();
    assert!(problem.contains("maxmemory"), "{problem}");
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..40);
    consumer.ack();
    fixture.drained();
}

#[test]
fn a_stream_that_is_gone_leaves_its_frames_to_its_heir_and_nothing_else() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    let heir = stream_key("dev", "s.p.1", "p->c");
    fixture.publisher.send(sized(0, 200_000)).unwrap();
    fixture.send(1..30);
    fixture.stored(30);
    // Half of them were given to somebody who is gone.
    let mut gone = fixture.consumer("c.0");
    assert_eq!(number(&expect(&mut gone)), 0);
    drop(gone);
    let removed = admin::remove_stream(&fixture.broker, &key(), GROUP, Some(&heir)).unwrap();
    assert_eq!((removed.moved, removed.dropped), (30, 0));
    let dial = RedisDial::new(fixture.broker.clone(), &heir).from_device("d");
    let mut consumer = fixture.consumer_of("c.0", dial);
    expect_in_order(&mut consumer, 0..30);
    consumer.ack();
    let start = Instant::now();
    while fixture.redis.command(&["xlen", &heir]).unwrap() != "0" {
        assert!(start.elapsed() < PATIENCE);
    }
    let removed = admin::remove_stream(&fixture.broker, &heir, GROUP, None).unwrap();
    assert_eq!(removed, admin::Removed::default());
    assert_eq!(fixture.redis.command(&["keys", "*"]).unwrap(), "");
}

#[test]
fn without_an_heir_the_frames_go_with_their_stream() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.publisher.send(sized(0, 200_000)).unwrap();
    fixture.send(1..20);
    fixture.stored(20);
    let removed = admin::remove_stream(&fixture.broker, &key(), GROUP, None).unwrap();
    assert_eq!((removed.moved, removed.dropped), (0, 20));
    assert_eq!(fixture.redis.command(&["keys", "*"]).unwrap(), "");
}
