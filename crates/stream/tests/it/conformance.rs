//! What every transport has to do.

use std::time::{Duration, Instant};

use edgeflow_spec::qos::{LinkQos, OnFull};
use edgeflow_stream::stats::{DropReason, GroupStats};
use edgeflow_stream::{Limits, SendError};

use crate::balanced::*;
use crate::dead_letters::*;
use crate::spill::*;
use crate::support::*;

/// Runs each behaviour over each transport as a test of its own.
macro_rules! conformance {
    ($($behaviour:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $behaviour() { super::$behaviour(&mut crate::support::Memory::new()); })*
        }
        mod shm {
            $(#[test] fn $behaviour() { super::$behaviour(&mut crate::support::Shm::new()); })*
        }
        mod tcp {
            $(#[test] fn $behaviour() { super::$behaviour(&mut crate::tcp::Tcp::new()); })*
        }
        mod unix {
            $(#[test] fn $behaviour() { super::$behaviour(&mut crate::support::Unix::new()); })*
        }
    };
}

conformance!(
    a_frame_arrives_as_it_was_sent,
    realtime_gives_the_newest_frame,
    a_frozen_consumer_holds_up_nobody,
    replicas_share_the_frames_of_a_group,
    an_old_realtime_frame_expires,
    durable_keeps_everything_from_the_start,
    durable_blocks_and_can_be_interrupted,
    durable_fails_when_told_to,
    a_frame_that_was_not_finished_comes_again,
    unfinished_frames_of_a_lost_replica_go_to_another,
    a_frame_that_was_finished_does_not_come_twice,
    the_link_survives_a_new_producer,
    a_durable_group_has_to_be_declared,
    a_consumer_takes_the_place_of_its_older_self,
    a_frame_over_the_consumers_limit_is_left_out,
    a_view_leaves_nothing_behind,
    closing_waits_for_durable_consumers,
    several_inputs_are_served_in_turn,
    a_wake_ends_a_wait,
    balanced_keeps_everything_within_its_lag,
    balanced_skips_to_the_newest_when_it_lags,
    balanced_skips_what_has_waited_too_long,
    balanced_gives_a_lost_frame_again,
    a_balanced_window_is_bounded_in_bytes,
    what_the_window_has_no_room_for_comes_from_disk_in_order,
    a_frame_that_kills_its_consumer_is_put_aside,
    a_consumer_that_leaves_blames_no_frame,
);

/// The same over a broker, as far as it can hold there.
macro_rules! over_a_broker {
    ($($behaviour:ident),* $(,)?) => {
        mod redis {
            $(#[test] fn $behaviour() {
                if let Some(mut transport) = crate::support::Redis::new() {
                    super::$behaviour(&mut transport);
                }
            })*
        }
    };
}

// What is not here, and why. `broker` has tests of its own in its place.
// * Groups that nobody declared, views among them: a broker has streams of declared links only, and
//   a consumer may be there before its producer. (a_frame_arrives_as_it_was_sent,
//   a_durable_group_has_to_be_declared, a_consumer_takes_the_place_of_its_older_self,
//   a_view_leaves_nothing_behind)
// * The producer's counters see the broker take frames, not the consumer: when it connects, how old
//   frames are at it, its limits. (realtime_gives_the_newest_frame, replicas_share_the_frames_of_a_group,
//   a_frozen_consumer_holds_up_nobody, an_old_realtime_frame_expires, a_frame_over_the_consumers_limit_is_left_out)
// * The broker holds a window beside that of the output. (durable_blocks_and_can_be_interrupted,
//   durable_fails_when_told_to, balanced_skips_to_the_newest_when_it_lags,
//   balanced_skips_what_has_waited_too_long, a_balanced_window_is_bounded_in_bytes,
//   what_the_window_has_no_room_for_comes_from_disk_in_order)
// * A broker does not see a consumer die: its frames go to another one after half a minute, and none
//   is blamed. (unfinished_frames_of_a_lost_replica_go_to_another, a_frame_that_kills_its_consumer_is_put_aside,
//   a_frame_that_was_finished_does_not_come_twice)
// * A consumer stays connected when its producer goes. (the_link_survives_a_new_producer)
over_a_broker!(
    durable_keeps_everything_from_the_start,
    a_frame_that_was_not_finished_comes_again,
    closing_waits_for_durable_consumers,
    several_inputs_are_served_in_turn,
    a_wake_ends_a_wait,
    balanced_keeps_everything_within_its_lag,
    balanced_gives_a_lost_frame_again,
    a_consumer_that_leaves_blames_no_frame,
);

fn a_frame_arrives_as_it_was_sent(transport: &mut dyn Transport) {
    let qos = LinkQos::realtime();
    let publisher = publisher(transport, vec![]);
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    for len in [0, 1000, 50_000, 6_000_000] {
        connect_or_wait(&mut consumer);
        wait_for(&publisher, "c", |stats| stats.consumers == 1);
        let mut frame = sized(3, len);
        frame.header.width = 640;
        let mut meta = frame.read_meta().unwrap();
        meta.set("key", "value").unwrap();
        frame.set_meta(&meta);
        let seq = publisher.send(frame.clone()).unwrap();
        let received = expect(&mut consumer);
        assert_eq!(received.frame.payload, frame.payload);
        assert_eq!(received.frame.meta, frame.meta);
        assert_eq!(received.frame.header.seq, seq);
        assert_eq!(received.frame.header.width, 640);
        assert_eq!(received.frame.header.capture_ns, frame.header.capture_ns);
        assert_ne!(received.frame.header.trace_id, [0; 16]);
        assert!(received.hop.unwrap() < PATIENCE);
        consumer.ack();
    }
    let input = consumer.stats().take().remove(0);
    assert_eq!((input.frames, input.connected, input.expected), (4, 1, 1));
    assert_eq!(input.hop.count, 4);
}

fn connect_or_wait(consumer: &mut edgeflow_stream::Subscriber) {
    if !consumer.is_connected() {
        connect(consumer);
    }
}

fn realtime_gives_the_newest_frame(transport: &mut dyn Transport) {
    let publisher = publisher(transport, vec![group("c", &LinkQos::realtime())]);
    publisher.send(numbered(0)).unwrap();
    assert_eq!(
        stats_of(&publisher, "c").dropped[&DropReason::NoConsumer],
        1
    );
    let mut consumer = subscriber(transport, "c.0", "c", &LinkQos::realtime());
    connect(&mut consumer);
    publisher.send(numbered(1)).unwrap();
    assert_eq!(number(&expect(&mut consumer)), 1);
    // The loop is busy with 1: of these only the newest is of use.
    for number in 2..=9 {
        publisher.send(numbered(number)).unwrap();
    }
    assert_eq!(number(&expect(&mut consumer)), 9);
    assert!(consumer.recv(QUIET).unwrap().is_none());
    let stats = wait_for(&publisher, "c", |stats| stats.delivered == 2);
    assert_eq!(stats.dropped[&DropReason::Superseded], 7);
    assert_eq!((stats.produced, stats.in_flight), (10, 0));
}

fn a_frozen_consumer_holds_up_nobody(transport: &mut dyn Transport) {
    let qos = LinkQos::realtime();
    let publisher = publisher(transport, vec![group("a", &qos), group("b", &qos)]);
    let mut frozen = subscriber(transport, "a.0", "a", &qos);
    let mut lively = subscriber(transport, "b.0", "b", &qos);
    connect(&mut frozen);
    connect(&mut lively);
    // Far more than any socket buffer holds, and `frozen` never reads again.
    for number in 0..20 {
        let start = Instant::now();
        publisher.send(sized(number, 1_000_000)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(1));
        let got = expect(&mut lively);
        assert_eq!(crate::support::number(&got), number);
        assert!(lively.recv(Duration::ZERO).unwrap().is_none());
    }
    let stats = wait_for(&publisher, "a", |stats| stats.produced == 20);
    assert_eq!((stats.delivered, stats.in_flight), (0, 2));
    drop(frozen);
    wait_for(&publisher, "a", |stats| stats.in_flight == 0);
}

fn replicas_share_the_frames_of_a_group(transport: &mut dyn Transport) {
    let qos = LinkQos::realtime();
    let publisher = publisher(transport, vec![group("c", &qos)]);
    let mut first = subscriber(transport, "c.0", "c", &qos);
    let mut second = subscriber(transport, "c.1", "c", &qos);
    connect(&mut first);
    connect(&mut second);
    wait_for(&publisher, "c", |stats| stats.consumers == 2);
    publisher.send(numbered(1)).unwrap();
    let one = first.recv(QUIET).unwrap();
    publisher.send(numbered(2)).unwrap();
    let mut got: Vec<u32> = one.iter().map(number).collect();
    got.extend(second.recv(QUIET).unwrap().iter().map(number));
    got.extend(second.recv(QUIET).unwrap().iter().map(number));
    got.sort_unstable();
    assert_eq!(got, [1, 2], "every frame went to exactly one of them");
}

fn an_old_realtime_frame_expires(transport: &mut dyn Transport) {
    let qos = LinkQos {
        max_age_ms: Some(500),
        ..LinkQos::realtime()
    };
    let publisher = publisher(transport, vec![group("c", &qos)]);
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    connect(&mut consumer);
    let mut old = numbered(1);
    old.header.capture_mono_ns = old.header.capture_mono_ns.saturating_sub(1_000_000_000);
    publisher.send(old).unwrap();
    assert!(consumer.recv(QUIET).unwrap().is_none());
    publisher.send(numbered(2)).unwrap();
    assert_eq!(number(&expect(&mut consumer)), 2);
    consumer.ack();
    let stats = wait_for(&publisher, "c", |stats| stats.delivered == 1);
    assert_eq!(stats.dropped[&DropReason::Expired], 1);
    let input = consumer.stats().take().remove(0);
    assert_eq!(input.dropped[&DropReason::Expired], 1);
}

fn durable_keeps_everything_from_the_start(transport: &mut dyn Transport) {
    let qos = LinkQos::durable();
    let publisher = publisher(transport, vec![group("c", &qos)]);
    for number in 0..50 {
        publisher.send(numbered(number)).unwrap();
    }
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    let got = expect_numbers(&mut consumer, 50);
    assert_eq!(got, (0..50).collect::<Vec<_>>());
    consumer.ack();
    wait_for(&publisher, "c", |stats| {
        stats.delivered == 50 && stats.in_flight == 0
    });
}

fn durable_blocks_and_can_be_interrupted(transport: &mut dyn Transport) {
    let qos = durable(2, OnFull::Block);
    let publisher = publisher(transport, vec![group("c", &qos)]);
    publisher.send(numbered(0)).unwrap();
    publisher.send(numbered(1)).unwrap();
    let handle = publisher.handle();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| publisher.send(numbered(2)));
        let mut consumer = subscriber(transport, "c.0", "c", &qos);
        assert_eq!(expect_numbers(&mut consumer, 3), [0, 1, 2]);
        assert_eq!(blocked.join().unwrap().unwrap(), 3);
        consumer.ack();
        drop(consumer);
        wait_for(&publisher, "c", |stats| stats.delivered == 3);
        publisher.send(numbered(3)).unwrap();
        publisher.send(numbered(4)).unwrap();
        let blocked = scope.spawn(|| publisher.send(numbered(5)));
        handle.interrupt();
        assert!(matches!(blocked.join().unwrap(), Err(SendError::Closing)));
    });
    let stats = publisher.close(Duration::ZERO).remove(0);
    assert_eq!(stats.dropped[&DropReason::Undelivered], 2);
    assert!(stats.is_conserved());
}

fn durable_fails_when_told_to(transport: &mut dyn Transport) {
    let groups = vec![
        group("other", &LinkQos::realtime()),
        group("c", &durable(2, OnFull::Fail)),
    ];
    let publisher = publisher(transport, groups);
    publisher.send(numbered(0)).unwrap();
    publisher.send(numbered(1)).unwrap();
    let error = publisher.send(numbered(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "link `p->c` is full: 2 frames wait for `c`"
    );
    let stats = stats_of(&publisher, "c");
    assert_eq!(stats.dropped[&DropReason::Overflow], 1);
    assert!(stats.is_conserved());
    assert_eq!(stats_of(&publisher, "other").produced, 2, "all or nothing");
}

fn a_frame_that_was_not_finished_comes_again(transport: &mut dyn Transport) {
    let qos = LinkQos::durable();
    let publisher = publisher(transport, vec![group("c", &qos)]);
    for number in 0..3 {
        publisher.send(numbered(number)).unwrap();
    }
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    assert_eq!(number(&expect(&mut consumer)), 0);
    assert_eq!(number(&expect(&mut consumer)), 1);
    // Killed in its loop.
    drop(consumer);
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    let again = expect(&mut consumer);
    assert_eq!(number(&again), 1);
    assert!(again.redelivered);
    consumer.forget();
    assert_eq!(expect_numbers(&mut consumer, 2), [1, 2]);
    consumer.ack();
    wait_for(&publisher, "c", |stats| stats.delivered == 3);
}

fn unfinished_frames_of_a_lost_replica_go_to_another(transport: &mut dyn Transport) {
    let qos = LinkQos::durable();
    let publisher = publisher(transport, vec![group("c", &qos)]);
    let mut doomed = subscriber(transport, "c.0", "c", &qos);
    connect(&mut doomed);
    for number in 0..8 {
        publisher.send(numbered(number)).unwrap();
    }
    assert_eq!(number(&expect(&mut doomed)), 0);
    let mut heir = subscriber(transport, "c.1", "c", &qos);
    connect(&mut heir);
    drop(doomed);
    let got = expect_numbers(&mut heir, 8);
    assert_eq!(got, (0..8).collect::<Vec<_>>(), "in order");
    heir.ack();
    wait_for(&publisher, "c", |stats| stats.delivered == 8);
}

fn a_frame_that_was_finished_does_not_come_twice(transport: &mut dyn Transport) {
    let qos = LinkQos::durable();
    let publisher = publisher(transport, vec![group("c", &qos)]);
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    connect(&mut consumer);
    publisher.send(numbered(0)).unwrap();
    publisher.send(numbered(1)).unwrap();
    assert_eq!(number(&expect(&mut consumer)), 0);
    // While 0 is in the loop a second connection of the same name closes the first one, so that
    // the acknowledgement of 0 has nowhere to go.
    let mut usurper = subscriber(transport, "c.0", "c", &LinkQos::durable());
    wait_for_takeover(&mut usurper);
    drop(usurper);
    assert_eq!(number(&expect(&mut consumer)), 1);
    // On some ways it takes a moment until the consumer hears that its connection is closed.
    let start = Instant::now();
    while stats_of(&publisher, "c").delivered < 2 {
        assert!(start.elapsed() < PATIENCE);
        assert!(consumer.recv(Duration::from_millis(10)).unwrap().is_none());
    }
    let input = consumer.stats().take().remove(0);
    assert_eq!(input.frames, 2);
    let again = input.dropped[&DropReason::Duplicate];
    assert!((1..=2).contains(&again), "{again}");
}

fn wait_for_takeover(usurper: &mut edgeflow_stream::Subscriber) {
    let first = expect(usurper);
    assert_eq!(number(&first), 0);
}

fn the_link_survives_a_new_producer(transport: &mut dyn Transport) {
    let qos = LinkQos::durable();
    let old = publisher(transport, vec![group("c", &qos)]);
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    old.send(numbered(1)).unwrap();
    let first = expect(&mut consumer);
    consumer.ack();
    wait_for(&old, "c", |stats| stats.delivered == 1);
    old.close(Duration::ZERO);
    assert!(consumer.recv(QUIET).unwrap().is_none());
    assert!(!consumer.is_connected());
    if transport.dial().address() == "memory" {
        return; // A pair is gone with its producer.
    }
    let new = publisher(transport, vec![group("c", &qos)]);
    new.send(numbered(2)).unwrap();
    let second = expect(&mut consumer);
    assert_eq!(number(&second), 2);
    // The same number in another life is another frame.
    assert_eq!(first.frame.header.seq, second.frame.header.seq);
    assert_ne!(first.frame.header.epoch, second.frame.header.epoch);
}

fn a_durable_group_has_to_be_declared(transport: &mut dyn Transport) {
    let publisher = publisher(transport, vec![group("c", &LinkQos::realtime())]);
    for name in ["c", "unknown"] {
        let mut consumer = subscriber(transport, "c.0", name, &LinkQos::durable());
        assert!(consumer.recv(QUIET).unwrap().is_none());
        assert!(!consumer.is_connected());
    }
    assert_eq!(publisher.stats().len(), 1);
}

fn a_consumer_takes_the_place_of_its_older_self(transport: &mut dyn Transport) {
    let qos = LinkQos::realtime();
    let publisher = publisher(transport, vec![]);
    let mut old = subscriber(transport, "v", "view:1", &qos);
    connect(&mut old);
    let mut new = subscriber(transport, "v", "view:1", &qos);
    connect(&mut new);
    wait_for(&publisher, "view:1", |stats| stats.consumers == 1);
    publisher.send(numbered(1)).unwrap();
    assert_eq!(number(&expect(&mut new)), 1);
}

fn a_frame_over_the_consumers_limit_is_left_out(transport: &mut dyn Transport) {
    let limits = Limits {
        max_payload: 100,
        ..Limits::default()
    };
    let groups = vec![
        group("d", &LinkQos::durable()),
        group("r", &LinkQos::realtime()),
    ];
    let publisher = publisher(transport, groups);
    for (name, qos) in [("d", LinkQos::durable()), ("r", LinkQos::realtime())] {
        let mut consumer = subscriber_with(transport, "m", name, &qos, limits);
        connect(&mut consumer);
        publisher.send(sized(1, 101)).unwrap();
        // A realtime one is superseded instead if the credit is still on its way.
        let too_large = |stats: &GroupStats| stats.dropped.get(&DropReason::TooLarge) == Some(&1);
        wait_for(&publisher, name, too_large);
        publisher.send(sized(2, 100)).unwrap();
        assert_eq!(number(&expect(&mut consumer)), 2);
    }
}

fn a_view_leaves_nothing_behind(transport: &mut dyn Transport) {
    let publisher = publisher(transport, vec![]);
    let mut view = subscriber(transport, "v", "view:1", &LinkQos::realtime());
    connect(&mut view);
    wait_for(&publisher, "view:1", |stats| stats.consumers == 1);
    drop(view);
    let start = Instant::now();
    while !publisher.stats().is_empty() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

fn closing_waits_for_durable_consumers(transport: &mut dyn Transport) {
    let qos = LinkQos::durable();
    let publisher = publisher(transport, vec![group("c", &qos)]);
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    connect(&mut consumer);
    for number in 0..20 {
        publisher.send(numbered(number)).unwrap();
    }
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| publisher.close(PATIENCE));
        assert_eq!(expect_numbers(&mut consumer, 20).len(), 20);
        consumer.ack();
        let stats = closing.join().unwrap().remove(0);
        assert_eq!((stats.delivered, stats.in_flight), (20, 0));
        assert!(stats.dropped.is_empty());
    });
}

fn several_inputs_are_served_in_turn(transport: &mut dyn Transport) {
    let qos = LinkQos::durable();
    let groups = vec![group("a", &qos), group("b", &qos)];
    let publisher = publisher(transport, groups);
    for number in 0..8 {
        publisher.send(numbered(number)).unwrap();
    }
    let config = edgeflow_stream::SubscriberConfig {
        member: "c.0".to_owned(),
        limits: Limits::default(),
    };
    let inputs = vec![
        input(transport, "left", "a", &qos),
        input(transport, "right", "b", &qos),
    ];
    let mut consumer = edgeflow_stream::Subscriber::new(&config, inputs).unwrap();
    let mut ports: Vec<String> = Vec::new();
    for _ in 0..16 {
        ports.push(expect(&mut consumer).port.to_string());
    }
    let tail = &ports[4..12];
    assert!(tail.iter().any(|port| port == "left"));
    assert!(tail.iter().any(|port| port == "right"));
    assert_eq!(ports.iter().filter(|port| *port == "left").count(), 8);
}

fn a_wake_ends_a_wait(transport: &mut dyn Transport) {
    let _publisher = publisher(transport, vec![]);
    let mut consumer = subscriber(transport, "c.0", "c", &LinkQos::realtime());
    consumer.waker().wake();
    let start = Instant::now();
    assert!(consumer.recv(PATIENCE).unwrap().is_none());
    assert!(start.elapsed() < PATIENCE / 2);
}
