//! Frames that kill their consumer.

use std::time::Duration;

use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::publisher::DeadLetterError;
use edgeflow_stream::stats::DropReason;

use crate::support::*;

fn deadly(max_deliveries: u32) -> LinkQos {
    LinkQos {
        max_deliveries,
        ..LinkQos::durable()
    }
}

pub(crate) fn a_frame_that_kills_its_consumer_is_put_aside(transport: &mut dyn Transport) {
    let store = tempfile::tempdir().unwrap();
    let qos = deadly(3);
    let publisher = stored(transport, store.path(), vec![group("c", &qos)]);
    for number in 0..10 {
        publisher.send(numbered(number)).unwrap();
    }
    let mut lives = 0;
    let mut finished = Vec::new();
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    while finished.len() < 9 {
        let number = number(&expect(&mut consumer));
        if number == 4 {
            lives += 1;
            consumer = subscriber(transport, "c.0", "c", &qos);
            continue;
        }
        finished.push(number);
        consumer.ack();
    }
    assert_eq!(lives, 3);
    assert_eq!(finished, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
    let stats = wait_for(&publisher, "c", |stats| stats.delivered == 9);
    assert_eq!(stats.dropped[&DropReason::DeadLetter], 1);
    assert_eq!(stats.in_flight, 0);
    assert_eq!(consumer.stats().take()[0].missing, 1);

    let handle = publisher.handle();
    let [letter] = &handle.dead_letters().unwrap()[..] else {
        panic!("one dead letter")
    };
    assert_eq!((letter.deliveries, letter.header.seq), (3, 5));
    assert_eq!((letter.link.as_str(), letter.group.as_str()), ("p->c", "c"));
    assert!(handle.replay_dead_letter(&letter.id).unwrap());
    let again = expect(&mut consumer);
    assert_eq!((number(&again), again.redelivered), (4, false));
    consumer.ack();
    wait_for(&publisher, "c", |stats| stats.delivered == 10);
    assert_eq!(handle.dead_letters().unwrap(), []);
    let error = handle.replay_dead_letter(&letter.id).unwrap_err();
    assert!(matches!(error, DeadLetterError::Unknown(_)));
    let error = handle.replay_dead_letter("../../etc/passwd").unwrap_err();
    assert!(matches!(error, DeadLetterError::Unknown(_)));
}

pub(crate) fn a_consumer_that_leaves_blames_no_frame(transport: &mut dyn Transport) {
    let store = tempfile::tempdir().unwrap();
    let qos = deadly(1);
    let publisher = stored(transport, store.path(), vec![group("c", &qos)]);
    for number in 0..4 {
        publisher.send(numbered(number)).unwrap();
    }
    for number in 0..3 {
        let mut consumer = subscriber(transport, "c.0", "c", &qos);
        assert_eq!(crate::support::number(&expect(&mut consumer)), number);
        consumer.close();
    }
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    assert_eq!(number(&expect(&mut consumer)), 3);
    consumer.forget();
    assert_eq!(number(&expect(&mut consumer)), 3);
    consumer.ack();
    let stats = wait_for(&publisher, "c", |stats| stats.delivered == 4);
    assert!(stats.dropped.is_empty(), "{stats:?}");
}

#[test]
fn a_dead_letter_outlives_its_producer() {
    let store = tempfile::tempdir().unwrap();
    let qos = deadly(1);
    let mut first = Unix::new();
    let old = stored(&mut first, store.path(), vec![group("c", &qos)]);
    old.send(numbered(7)).unwrap();
    let mut consumer = subscriber(&first, "c.0", "c", &qos);
    expect(&mut consumer);
    drop(consumer);
    wait_for(&old, "c", |stats| {
        stats.dropped.contains_key(&DropReason::DeadLetter)
    });
    old.close(Duration::ZERO);
    let mut second = Unix::new();
    let new = stored(&mut second, store.path(), vec![group("c", &qos)]);
    let id = new.handle().dead_letters().unwrap().remove(0).id;
    assert!(new.handle().replay_dead_letter(&id).unwrap());
    let mut consumer = subscriber(&second, "c.0", "c", &qos);
    assert_eq!(number(&expect(&mut consumer)), 7);
}

#[test]
fn a_frame_that_can_not_be_put_aside_goes_on() {
    let store = tempfile::tempdir().unwrap();
    std::fs::write(store.path().join("dead-letters"), b"in the way").unwrap();
    let qos = deadly(1);
    let mut transport = Unix::new();
    let publisher = stored(&mut transport, store.path(), vec![group("c", &qos)]);
    publisher.send(numbered(7)).unwrap();
    for _ in 0..2 {
        let mut consumer = subscriber(&transport, "c.0", "c", &qos);
        assert_eq!(number(&expect(&mut consumer)), 7);
    }
    let stats = wait_for(&publisher, "c", |stats| stats.trouble.is_some());
    assert!(stats.dropped.is_empty());
    assert!(stats.trouble.unwrap().contains("can't be put aside"));
}
