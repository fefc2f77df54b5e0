//! Frames that a loop puts aside, ordered links behind replicas, and several inputs of which one is
//! busy.

use std::time::{Duration, Instant};

use edgeflow_spec::qos::{LinkQos, OnFull};
use edgeflow_stream::stats::DropReason;
use edgeflow_stream::transport::memory::{self, MemoryDial};
use edgeflow_stream::{
    Frame, GroupConfig, InputConfig, Limits, Publisher, PublisherConfig, Subscriber,
    SubscriberConfig,
};

use crate::support::*;

fn ordered(qos: &LinkQos, timeout_ms: u32) -> LinkQos {
    LinkQos {
        order_timeout_ms: Some(timeout_ms),
        ..qos.clone()
    }
}

/// Replicas, as the outputs that they have, and the node that joins what they send.
fn replicas(count: u32, qos: &LinkQos) -> (Vec<Publisher>, Subscriber) {
    let mut publishers = Vec::new();
    let mut inputs = Vec::new();
    for replica in 0..count {
        let (listen, dial): (_, MemoryDial) = memory::pair().unwrap();
        let config = PublisherConfig {
            name: format!("s.p.{replica}/out"),
            groups: vec![GroupConfig {
                link: "p->c".to_owned(),
                group: "c".to_owned(),
                qos: qos.clone(),
            }],
            limits: Limits::default(),
            shared_memory: Some(edgeflow_stream::transport::shm::SharedMemory::default()),
        };
        publishers.push(Publisher::new(config, Box::new(listen)).unwrap());
        inputs.push(InputConfig {
            port: "in".to_owned(),
            link: "p->c".to_owned(),
            group: "c".to_owned(),
            qos: qos.clone(),
            from: format!("s.p.{replica}"),
            dial: Box::new(dial),
        });
    }
    let config = SubscriberConfig {
        member: "c.0".to_owned(),
        limits: Limits::default(),
    };
    (publishers, Subscriber::new(&config, inputs).unwrap())
}

/// A frame that one origin numbered before it went through a replica.
fn traced(number: u32) -> Frame {
    let mut frame = numbered(number);
    frame.header.trace_id[0] = 9;
    frame.header.trace_id[8..].copy_from_slice(&u64::from(number).to_le_bytes());
    frame
}

#[test]
fn frames_put_aside_are_finished_in_any_order_and_acknowledged_up_to_the_first_gap() {
    let mut transport = Memory::new();
    let qos = LinkQos::durable();
    let publisher = publisher(&mut transport, vec![group("c", &qos)]);
    let mut consumer = subscriber(&transport, "c.0", "c", &qos);
    // More than the consumer takes before it acknowledges.
    for number in 0..30 {
        publisher.send(numbered(number)).unwrap();
    }
    let mut held = Vec::new();
    for number in 0..30 {
        assert_eq!(crate::support::number(&expect(&mut consumer)), number);
        held.push(consumer.hold().unwrap());
    }
    assert_eq!(stats_of(&publisher, "c").delivered, 0);
    for late in held.iter().skip(1).rev() {
        consumer.release(late);
    }
    assert!(consumer.recv(QUIET).unwrap().is_none());
    assert_eq!(
        stats_of(&publisher, "c").delivered,
        0,
        "the first is not done"
    );
    assert_eq!(publisher.handle().settled(), 0);
    consumer.release(&held[0]);
    wait_for(&publisher, "c", |stats| stats.delivered == 30);
    assert_eq!(publisher.handle().settled(), 30);
}

#[test]
fn a_frame_put_aside_does_not_come_again_over_a_new_connection() {
    let mut transport = Memory::new();
    let qos = LinkQos::durable();
    let publisher = publisher(&mut transport, vec![group("c", &qos)]);
    let mut consumer = subscriber(&transport, "c.0", "c", &qos);
    for number in 0..3 {
        publisher.send(numbered(number)).unwrap();
    }
    assert_eq!(number(&expect(&mut consumer)), 0);
    let held = consumer.hold().unwrap();
    assert_eq!(number(&expect(&mut consumer)), 1);
    // The connection is lost with 0 aside and 1 in the loop.
    consumer.forget();
    assert_eq!(expect_numbers(&mut consumer, 2), [1, 2]);
    consumer.ack();
    assert_eq!(stats_of(&publisher, "c").delivered, 0);
    consumer.release(&held);
    wait_for(&publisher, "c", |stats| stats.delivered == 3);
}

#[test]
fn an_acknowledgement_wakes_who_waits_for_it() {
    let mut transport = Memory::new();
    let qos = LinkQos::durable();
    let publisher = publisher(&mut transport, vec![group("c", &qos)]);
    let mut consumer = subscriber(&transport, "c.0", "c", &qos);
    let mut idle = subscriber(&Memory::connected(), "idle", "x", &LinkQos::realtime());
    publisher.handle().set_settled_waker(idle.waker());
    publisher.handle().want_settled();
    publisher.send(numbered(0)).unwrap();
    assert_eq!(number(&expect(&mut consumer)), 0);
    consumer.ack();
    let start = Instant::now();
    assert!(idle.recv(PATIENCE).unwrap().is_none());
    assert!(start.elapsed() < PATIENCE / 2, "woken");
    assert_eq!(publisher.handle().settled(), 1);
    let handle = publisher.handle();
    publisher.send(numbered(1)).unwrap();
    publisher.close(Duration::ZERO);
    assert_eq!(handle.settled(), 1, "what was lost is not settled");
}

#[test]
fn an_ordered_link_restores_the_order_of_the_origin() {
    for qos in [LinkQos::durable(), LinkQos::realtime()] {
        let (publishers, mut consumer) = replicas(2, &ordered(&qos, 10_000));
        connect(&mut consumer);
        // Each replica has its frame; the second is ready first.
        publishers[1].send(traced(2)).unwrap();
        assert!(consumer.recv(QUIET).unwrap().is_none(), "1 may still come");
        publishers[0].send(traced(1)).unwrap();
        assert_eq!(expect_numbers(&mut consumer, 2), [1, 2]);
        // 3 was superseded: known when both have sent something newer.
        publishers[0].send(traced(4)).unwrap();
        publishers[1].send(traced(5)).unwrap();
        let start = Instant::now();
        assert_eq!(expect_numbers(&mut consumer, 2), [4, 5]);
        assert!(start.elapsed() < PATIENCE / 2, "and not after the timeout");
        consumer.ack();
        for publisher in &publishers {
            wait_for(publisher, "c", |stats| stats.in_flight == 0);
        }
        let input = consumer.stats().take().remove(0);
        assert_eq!((input.frames, input.dropped.len()), (4, 0));
        assert!(input.age.max_us >= input.hop.p50_us);
    }
}

#[test]
fn a_late_frame_is_dropped_on_a_realtime_link_and_passed_on_a_durable_one() {
    for (qos, reason) in [
        (LinkQos::realtime(), DropReason::Late),
        (LinkQos::durable(), DropReason::OutOfTurn),
    ] {
        let (publishers, mut consumer) = replicas(2, &ordered(&qos, 50));
        connect(&mut consumer);
        publishers[0].send(traced(2)).unwrap();
        let start = Instant::now();
        assert_eq!(number(&expect(&mut consumer)), 2);
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(40), "{waited:?}");
        publishers[1].send(traced(1)).unwrap();
        if qos.is_lossless() {
            assert_eq!(number(&expect(&mut consumer)), 1);
            consumer.ack();
        } else {
            assert!(consumer.recv(QUIET).unwrap().is_none());
        }
        let input = consumer.stats().take().remove(0);
        assert_eq!(input.dropped[&reason], 1);
        wait_for(&publishers[1], "c", |stats| stats.delivered == 1);
    }
}

#[test]
fn what_waits_for_its_turn_is_not_lost_with_its_consumer() {
    let (publishers, mut consumer) = replicas(1, &ordered(&LinkQos::durable(), 10_000));
    publishers[0].send(traced(1)).unwrap();
    assert_eq!(number(&expect(&mut consumer)), 1);
    consumer.ack();
    wait_for(&publishers[0], "c", |stats| stats.delivered == 1);
    // From here on another source is missing, so that 3 waits.
    let (publishers, mut consumer) = replicas(2, &ordered(&LinkQos::durable(), 10_000));
    publishers[0].send(traced(3)).unwrap();
    assert!(consumer.recv(QUIET).unwrap().is_none());
    drop(consumer);
    let stats = wait_for(&publishers[0], "c", |stats| stats.consumers == 0);
    assert_eq!((stats.delivered, stats.in_flight), (0, 1));
}

#[test]
fn a_busy_input_does_not_starve_another() {
    let qos = durable(64, OnFull::Block);
    let (mut busy, mut calm) = (Memory::new(), Memory::new());
    let many = publisher(&mut busy, vec![group("c", &qos)]);
    let few = publisher(&mut calm, vec![group("c", &LinkQos::realtime())]);
    let config = SubscriberConfig {
        member: "c.0".to_owned(),
        limits: Limits::default(),
    };
    let inputs = vec![
        input(&busy, "busy", "c", &qos),
        input(&calm, "calm", "c", &LinkQos::realtime()),
    ];
    let mut consumer = Subscriber::new(&config, inputs).unwrap();
    connect(&mut consumer);
    for number in 0..64 {
        many.send(numbered(number)).unwrap();
    }
    // As the loop of a slow node: a new frame is there whenever it comes back.
    let mut calm_frames = 0;
    for number in 0..20 {
        few.send(numbered(number)).unwrap();
        calm_frames += u32::from(&*expect(&mut consumer).port == "calm");
        // The work of the loop, in which the next frame can arrive.
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(calm_frames >= 8, "{calm_frames} of 20");
}

#[test]
fn a_frame_of_an_ordered_link_that_was_given_back_comes_again() {
    let (publishers, mut consumer) = replicas(1, &ordered(&LinkQos::durable(), 10_000));
    for number in 1..=3 {
        publishers[0].send(traced(number)).unwrap();
    }
    assert_eq!(number(&expect(&mut consumer)), 1);
    consumer.forget();
    assert_eq!(expect_numbers(&mut consumer, 3), [1, 2, 3]);
    consumer.ack();
    wait_for(&publishers[0], "c", |stats| stats.delivered == 3);
}
