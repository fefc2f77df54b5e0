//! Whatever consumers do, no frame is unaccounted for, and durable loses none.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use edgeflow_spec::qos::{LinkQos, OnFull};
use edgeflow_stream::Subscriber;
use proptest::prelude::*;

use crate::support::*;

/// One step of a schedule.
#[derive(Clone, Debug)]
enum Act {
    Send {
        size: usize,
    },
    /// Consumer `member` of `group` takes a frame if there is one.
    Receive {
        group: usize,
        member: usize,
    },
    /// It dies in its loop and a new one takes its place.
    Crash {
        group: usize,
        member: usize,
    },
    /// It gives the frame back.
    Forget {
        group: usize,
        member: usize,
    },
}

const GROUPS: [&str; 2] = ["realtime", "durable"];
const MEMBERS: usize = 2;

fn act() -> impl Strategy<Value = Act> {
    let who = (0..GROUPS.len(), 0..MEMBERS);
    prop_oneof![
        4 => prop_oneof![Just(10_usize), Just(50_000), Just(700_000)].prop_map(|size| Act::Send { size }),
        6 => who.clone().prop_map(|(group, member)| Act::Receive { group, member }),
        1 => who.clone().prop_map(|(group, member)| Act::Crash { group, member }),
        1 => who.prop_map(|(group, member)| Act::Forget { group, member }),
    ]
}

fn qos(group: usize) -> LinkQos {
    if group == 0 {
        LinkQos::realtime()
    } else {
        durable(200, OnFull::Fail)
    }
}

fn member(transport: &Unix, group: usize, member: usize) -> Subscriber {
    subscriber(
        transport,
        &format!("m.{member}"),
        GROUPS[group],
        &qos(group),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_is_accounted_for(acts in proptest::collection::vec(act(), 1..60)) {
        let mut transport = Unix::new();
        let groups = (0..2).map(|index| group(GROUPS[index], &qos(index))).collect();
        let publisher = publisher(&mut transport, groups);
        let mut members: Vec<Vec<Subscriber>> = (0..2)
            .map(|group| (0..MEMBERS).map(|m| member(&transport, group, m)).collect())
            .collect();
        let mut finished = BTreeSet::new();
        let mut in_loop = [[None; MEMBERS]; 2];
        let mut sent = 0;
        for act in acts {
            match act {
                Act::Send { size } => {
                    publisher.send(sized(sent, size)).unwrap();
                    sent += 1;
                }
                Act::Receive { group, member: m } => {
                    // The loop returned: what it had is finished.
                    finished.extend(in_loop[group][m].take().filter(|_| group == 1));
                    let received = members[group][m].recv(Duration::from_millis(3)).unwrap();
                    in_loop[group][m] = received.as_ref().map(number);
                }
                Act::Crash { group, member: m } => {
                    in_loop[group][m] = None;
                    members[group][m] = member(&transport, group, m);
                }
                Act::Forget { group, member: m } => {
                    in_loop[group][m] = None;
                    members[group][m].forget();
                }
            }
            for stats in publisher.stats() {
                prop_assert!(stats.is_conserved(), "{:?}", stats);
            }
        }
        // Everything durable arrives in the end.
        let start = Instant::now();
        while finished.len() < sent as usize {
            prop_assert!(start.elapsed() < PATIENCE, "{} of {sent}", finished.len());
            for (consumer, held) in members[1].iter_mut().zip(&mut in_loop[1]) {
                finished.extend(held.take());
                *held = consumer.recv(Duration::from_millis(3)).unwrap().as_ref().map(number);
            }
        }
        members[1].iter_mut().for_each(Subscriber::ack);
        wait_for(&publisher, "durable", |stats| stats.delivered == u64::from(sent));
        let last = publisher.close(Duration::ZERO);
        prop_assert!(last.iter().all(|stats| stats.is_conserved() && stats.in_flight == 0));
    }
}

#[test]
fn a_thousand_durable_frames_survive_consumers_that_keep_dying() {
    let mut transport = Unix::new();
    let qos = durable(64, OnFull::Block);
    let publisher = publisher(&mut transport, vec![group("c", &qos)]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..1000 {
                publisher.send(numbered(number)).unwrap();
            }
        });
        let mut finished = BTreeSet::new();
        let mut consumer = subscriber(&transport, "c.0", "c", &qos);
        let mut turn = 0;
        while finished.len() < 1000 {
            let number = number(&expect(&mut consumer));
            turn += 1;
            if turn % 100 == 99 {
                // Dies in the loop.
                consumer = subscriber(&transport, "c.0", "c", &qos);
                continue;
            }
            finished.insert(number);
            consumer.ack();
        }
    });
    wait_for(&publisher, "c", |stats| stats.delivered == 1000);
}
