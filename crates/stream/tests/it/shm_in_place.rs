//! Payloads that a producer writes where its consumers read them.

use std::time::Duration;

use bytes::Bytes;
use edgeflow_spec::qos::{LinkQos, OnFull, Via};
use edgeflow_stream::{Codec, Frame, Publisher};

use crate::shm::{assert_payload, wait_held};
use crate::support::*;

const LEN: usize = 50_000;

/// A frame like `sized(number, LEN)`, written in place if that is possible; and whether it was.
fn in_place(publisher: &Publisher, number: u32) -> (Frame, bool) {
    let mut buffer = publisher.buffer(LEN);
    assert_eq!(buffer.len(), LEN);
    buffer.copy_from_slice(&sized(number, LEN).payload);
    let shared = buffer.is_shared();
    (Frame::new(Codec::Bytes, buffer), shared)
}

#[test]
fn a_payload_written_in_place_is_not_copied() {
    let mut transport = Shm::new();
    let qos = LinkQos::realtime();
    let publisher = publisher(&mut transport, vec![]);
    let (frame, shared) = in_place(&publisher, 0);
    assert!(!shared, "nobody is there to share it with");
    publisher.send(frame).unwrap();
    let names = ["a", "b", "c"];
    let mut consumers = names.map(|name| subscriber(&transport, "m", name, &qos));
    consumers.iter_mut().for_each(connect);
    for sent in 1..=40 {
        let (frame, shared) = in_place(&publisher, sent);
        assert!(shared);
        publisher.send(frame).unwrap();
        for consumer in &mut consumers {
            let received = expect(consumer);
            assert_payload(&received.frame.payload, sent, LEN);
            drop(received);
            consumer.recv(Duration::ZERO).unwrap();
        }
    }
    let memory = publisher.handle().shared_memory();
    assert_eq!((memory.written, memory.segments), (0, 1), "{memory:?}");
    drop(consumers);
    wait_held(&publisher, 0);
}

#[test]
fn a_slot_stays_while_the_producer_or_a_consumer_has_it() {
    let mut transport = Shm::new();
    let qos = durable(64, OnFull::Block);
    let publisher = publisher(&mut transport, vec![group("c", &qos)]);
    let mut consumer = subscriber(&transport, "c.0", "c", &qos);
    connect(&mut consumer);
    let (frame, _) = in_place(&publisher, 1);
    let kept = frame.payload.clone();
    publisher.send(frame).unwrap();
    let received = expect(&mut consumer).frame.payload;
    consumer.ack();
    wait_for(&publisher, "c", |stats| stats.delivered == 1);
    // The consumer gives it up first, and the producer sends it again, and a part of it.
    drop(received);
    wait_held(&publisher, 1);
    publisher
        .send(Frame::new(Codec::Bytes, kept.clone()))
        .unwrap();
    publisher
        .send(Frame::new(Codec::Bytes, kept.slice(10..20_000)))
        .unwrap();
    let again = expect(&mut consumer).frame.payload;
    let part = expect(&mut consumer).frame.payload;
    consumer.ack();
    assert_eq!(again, kept);
    assert_eq!(part, kept.slice(10..20_000));
    assert_eq!(publisher.handle().shared_memory().written, 0);
    // The producer gives it up first, then uses as many slots as there are.
    wait_for(&publisher, "c", |stats| stats.delivered == 3);
    drop((kept, again));
    for sent in 2..40 {
        publisher.send(in_place(&publisher, sent).0).unwrap();
        assert_payload(&expect(&mut consumer).frame.payload, sent, LEN);
    }
    consumer.ack();
    assert!(part.iter().all(|byte| *byte == 1));
    drop(part);
    wait_for(&publisher, "c", |stats| stats.delivered == 41);
    wait_held(&publisher, 0);
}

#[test]
fn what_is_kept_leaves_memory_to_others_and_outlives_the_port() {
    let budget = 4 << 20;
    let mut transport = Shm::with_budget(Some(budget));
    let qos = durable(200, OnFull::Block);
    let publisher = publisher(&mut transport, vec![group("c", &qos)]);
    let mut consumer = subscriber(&transport, "c.0", "c", &qos);
    connect(&mut consumer);
    let mut kept: Vec<Bytes> = Vec::new();
    let mut shared = 0;
    for sent in 0..100 {
        let (frame, is_shared) = in_place(&publisher, sent);
        shared += u64::from(is_shared);
        kept.push(frame.payload.clone());
        publisher.send(frame).unwrap();
        assert_payload(&expect(&mut consumer).frame.payload, sent, LEN);
    }
    consumer.ack();
    let memory = publisher.handle().shared_memory();
    assert!(memory.bytes <= budget, "{memory:?}");
    // A slot has 64 KiB; half of the budget at most is lent.
    assert!((16..=32).contains(&shared), "{shared}");
    assert_eq!(memory.written, 100 - shared, "the rest was copied");
    publisher.close(Duration::ZERO);
    drop(consumer);
    for (sent, payload) in (0..).zip(&kept) {
        assert_payload(payload, sent, LEN);
    }
}

#[test]
fn it_may_be_shortened_and_goes_to_those_that_share_nothing() {
    let mut transport = Shm::new();
    let near = LinkQos::realtime();
    let socket = LinkQos {
        via: Via::Socket,
        ..LinkQos::realtime()
    };
    let publisher = publisher(&mut transport, vec![]);
    let mut one = subscriber(&transport, "m", "near", &near);
    let mut other = subscriber(&transport, "m", "socket", &socket);
    connect(&mut one);
    connect(&mut other);
    let mut buffer = publisher.buffer(LEN);
    assert!(buffer.is_shared());
    buffer[..5].copy_from_slice(b"short");
    buffer.truncate(5);
    buffer.truncate(500);
    publisher.send(Frame::new(Codec::Bytes, buffer)).unwrap();
    assert_eq!(expect(&mut one).frame.payload, "short");
    assert_eq!(expect(&mut other).frame.payload, "short");
    // One that is never sent.
    drop((publisher.buffer(LEN), publisher.buffer(0)));
    one.recv(Duration::ZERO).unwrap();
    other.recv(Duration::ZERO).unwrap();
    wait_held(&publisher, 0);
}
