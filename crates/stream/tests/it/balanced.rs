//! Balanced links: everything while the consumer keeps up, the newest when it does not. Run over
//! every transport by `conformance`.

use std::time::Duration;

use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::stats::DropReason;

use crate::support::*;

fn balanced(max_lag: u32) -> LinkQos {
    LinkQos {
        max_lag,
        ..LinkQos::balanced()
    }
}

pub(crate) fn balanced_keeps_everything_within_its_lag(transport: &mut dyn Transport) {
    let qos = balanced(10);
    let publisher = publisher(transport, vec![group("c", &qos)]);
    for number in 0..10 {
        publisher.send(numbered(number)).unwrap();
    }
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    assert_eq!(
        expect_numbers(&mut consumer, 10),
        (0..10).collect::<Vec<_>>()
    );
    consumer.ack();
    let stats = wait_for(&publisher, "c", |stats| stats.delivered == 10);
    assert!(stats.dropped.is_empty());
    assert_eq!(consumer.stats().take()[0].missing, 0);
}

pub(crate) fn balanced_skips_to_the_newest_when_it_lags(transport: &mut dyn Transport) {
    let qos = balanced(5);
    let publisher = publisher(transport, vec![group("c", &qos)]);
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    connect(&mut consumer);
    publisher.send(numbered(0)).unwrap();
    assert_eq!(number(&expect(&mut consumer)), 0);
    // The loop is busy with 0; one more frame travels, what is behind it is skipped twice.
    for number in 1..=9 {
        publisher.send(numbered(number)).unwrap();
        assert!(stats_of(&publisher, "c").in_flight <= 6);
    }
    assert_eq!(expect_numbers(&mut consumer, 3), [1, 8, 9]);
    consumer.ack();
    let stats = wait_for(&publisher, "c", |stats| stats.delivered == 4);
    assert_eq!(stats.dropped[&DropReason::Skipped], 6);
    assert_eq!((stats.produced, stats.in_flight), (10, 0));
    assert!(consumer.recv(QUIET).unwrap().is_none());
    assert_eq!(consumer.stats().take()[0].missing, 6);
}

pub(crate) fn balanced_skips_what_has_waited_too_long(transport: &mut dyn Transport) {
    let qos = LinkQos {
        max_age_ms: Some(50),
        ..balanced(100)
    };
    let publisher = publisher(transport, vec![group("c", &qos)]);
    for number in 0..20 {
        publisher.send(numbered(number)).unwrap();
    }
    // What is tested is the passing of time.
    std::thread::sleep(Duration::from_millis(80));
    publisher.send(numbered(20)).unwrap();
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    assert_eq!(number(&expect(&mut consumer)), 20);
    consumer.ack();
    let stats = wait_for(&publisher, "c", |stats| stats.delivered == 1);
    assert_eq!(stats.dropped[&DropReason::Skipped], 20);
    assert_eq!(consumer.stats().take()[0].missing, 20);
}

pub(crate) fn balanced_gives_a_lost_frame_again(transport: &mut dyn Transport) {
    let qos = balanced(5);
    let publisher = publisher(transport, vec![group("c", &qos)]);
    publisher.send(numbered(0)).unwrap();
    publisher.send(numbered(1)).unwrap();
    let mut doomed = subscriber(transport, "c.0", "c", &qos);
    assert_eq!(number(&expect(&mut doomed)), 0);
    drop(doomed);
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    assert_eq!(expect_numbers(&mut consumer, 2), [0, 1]);
    consumer.ack();
    wait_for(&publisher, "c", |stats| stats.delivered == 2);
}

pub(crate) fn a_balanced_window_is_bounded_in_bytes(transport: &mut dyn Transport) {
    let qos = LinkQos {
        window_bytes: 1_000_000,
        ..balanced(1000)
    };
    let publisher = publisher(transport, vec![group("c", &qos)]);
    for number in 0..10 {
        publisher.send(sized(number, 300_000)).unwrap();
    }
    let stats = stats_of(&publisher, "c");
    assert!(stats.in_flight <= 3, "{stats:?}");
    assert!(stats.is_conserved());
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    let first = number(&expect(&mut consumer));
    assert!(first >= 7, "{first} is too old");
}
