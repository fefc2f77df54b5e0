//! Frames that kill their consumer, behind a real redis-server. Skipped where none is installed.

use std::time::{Duration, Instant};

use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::publisher::DeadLetter;

use crate::broker_fixture::*;
use crate::support::*;

const DEADLY: u32 = 4;

fn start(max_deliveries: u32) -> Option<Fixture> {
    Fixture::start(LinkQos {
        max_deliveries,
        ..LinkQos::durable()
    })
}

fn dead_letters(fixture: &Fixture) -> Vec<DeadLetter> {
    let start = Instant::now();
    loop {
        let letters = fixture.publisher.handle().dead_letters().unwrap();
        if !letters.is_empty() {
            return letters;
        }
        assert!(start.elapsed() < PATIENCE, "no dead letter");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends numbers of `len` bytes, and takes them with a consumer that dies with one of them.
fn deadly(fixture: &Fixture, len: usize) -> (Vec<u32>, u32) {
    for number in 0..10 {
        fixture.publisher.send(sized(number, len)).unwrap();
    }
    let (mut lives, mut finished) = (1, Vec::new());
    let mut consumer = fixture.consumer("c.0");
    while finished.len() < 9 {
        let number = number(&expect(&mut consumer));
        if number == DEADLY {
            lives += 1;
            consumer = fixture.consumer("c.0");
            continue;
        }
        finished.push(number);
        consumer.ack();
    }
    (finished, lives)
}

#[test]
fn a_frame_that_kills_its_consumer_is_put_aside_at_the_producer() {
    for len in [4, 200_000] {
        let Some(fixture) = start(3) else {
            return;
        };
        let (finished, lives) = deadly(&fixture, len);
        assert_eq!(finished, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
        assert_eq!(lives, 4, "three deaths");
        let letters = dead_letters(&fixture);
        let [letter] = &letters[..] else {
            panic!("{letters:?}")
        };
        assert_eq!((letter.deliveries, letter.header.seq), (3, 5));
        assert_eq!(letter.link, "p->c");
        fixture.drained();
        let state = format!("{}:state", key());
        let fields = fixture.redis.command(&["hkeys", &state]).unwrap();
        assert!(!fields.contains("deaths"), "{fields}");

        let handle = fixture.publisher.handle();
        assert!(handle.replay_dead_letter(&letter.id).unwrap());
        let mut consumer = fixture.consumer("c.0");
        assert_eq!(number(&expect(&mut consumer)), DEADLY);
        consumer.close();
        fixture.drained();
    }
}

#[test]
fn an_end_by_will_and_a_broken_connection_blame_no_frame() {
    let Some(mut fixture) = start(2) else {
        return;
    };
    fixture.send(0..3);
    for _ in 0..4 {
        let mut consumer = fixture.consumer("c.0");
        assert_eq!(number(&expect(&mut consumer)), 0);
        // Stopped with the frame in its loop.
        let _held = consumer.hold();
        consumer.close();
    }
    // One process, whose broker goes again and again.
    let mut consumer = fixture.consumer("c.0");
    for _ in 0..3 {
        assert_eq!(number(&expect(&mut consumer)), 0);
        fixture.redis.kill9().unwrap();
        fixture.redis.restart().unwrap();
        consumer.forget();
    }
    let mut last = 0;
    while last < 2 {
        last = number(&expect(&mut consumer));
        consumer.ack();
    }
    assert_eq!(fixture.publisher.handle().dead_letters().unwrap(), []);
}

#[test]
fn a_broker_that_goes_while_nothing_is_sent_is_noticed_and_found_again() {
    let Some(mut fixture) = start(3) else {
        return;
    };
    fixture.send(0..1);
    fixture.stored(1);
    fixture.redis.kill9().unwrap();
    assert!(fixture.problem().contains("broker"));
    fixture.redis.restart().unwrap();
    let start = Instant::now();
    while fixture.reports.recv_timeout(PATIENCE).unwrap().is_some() {
        assert!(start.elapsed() < PATIENCE, "the problem stays");
    }
    let mut consumer = fixture.consumer("c.0");
    assert_eq!(number(&expect(&mut consumer)), 0);
}

#[test]
fn rubbish_in_the_list_of_the_dead_is_removed() {
    let Some(fixture) = start(3) else {
        return;
    };
    fixture.send(0..1);
    fixture.stored(1);
    let list = format!("{}:dead", key());
    for note in [
        "",
        "no entry",
        "1-1 3",
        "99999999999999999999999-0 x",
        "* 4",
    ] {
        fixture.redis.command(&["rpush", &list, note]).unwrap();
    }
    let start = Instant::now();
    while fixture.redis.command(&["llen", &list]).unwrap() != "0" {
        assert!(start.elapsed() < PATIENCE, "rubbish is left");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(fixture.publisher.handle().dead_letters().unwrap(), []);
    let mut consumer = fixture.consumer("c.0");
    assert_eq!(number(&expect(&mut consumer)), 0);
}
