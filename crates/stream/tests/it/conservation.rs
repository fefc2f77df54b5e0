//! Whatever consumers and producers do, no frame is unaccounted for, and durable loses none.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use edgeflow_spec::qos::{LinkQos, OnFull};
use edgeflow_stream::Subscriber;
use edgeflow_stream::stats::DropReason;
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

const GROUPS: [&str; 5] = ["realtime", "durable", "spilling", "balanced", "deadly"];
/// Frames in memory of the group that spills.
const WINDOW: u32 = 4;
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
    let patient = LinkQos {
        max_deliveries: 1000,
        ..durable(200, OnFull::Fail)
    };
    match group {
        0 => LinkQos::realtime(),
        1 => patient,
        2 => LinkQos {
            max_deliveries: 1000,
            ..durable(WINDOW, OnFull::Spill)
        },
        3 => LinkQos {
            max_lag: 3,
            ..LinkQos::balanced()
        },
        _ => LinkQos {
            max_deliveries: 1,
            ..patient
        },
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
        let store = tempfile::tempdir().unwrap();
        let all = 0..GROUPS.len();
        let groups = all.clone().map(|index| group(GROUPS[index], &qos(index))).collect();
        let publisher = stored(&mut transport, store.path(), groups);
        let mut members: Vec<Vec<Subscriber>> = all
            .map(|group| (0..MEMBERS).map(|m| member(&transport, group, m)).collect())
            .collect();
        let mut finished = [const { BTreeSet::new() }; GROUPS.len()];
        let mut twice = [0; GROUPS.len()];
        let mut in_loop = [[None; MEMBERS]; GROUPS.len()];
        let mut sent = 0;
        for act in acts {
            match act {
                Act::Send { size } => {
                    publisher.send(sized(sent, size)).unwrap();
                    sent += 1;
                }
                Act::Receive { group, member: m } => {
                    // The loop returned: what it had is finished.
                    finished[group].extend(in_loop[group][m].take());
                    let received = members[group][m].recv(Duration::from_millis(3)).unwrap();
                    in_loop[group][m] = received.as_ref().map(number);
                    let again = in_loop[group][m].is_some_and(|n| finished[group].contains(&n));
                    twice[group] += u32::from(again);
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
        // Everything durable arrives in the end, or is a dead letter.
        let start = Instant::now();
        for group in 1..GROUPS.len() {
            while stats_of(&publisher, GROUPS[group]).in_flight > 0 {
                prop_assert!(start.elapsed() < PATIENCE, "{:?}", stats_of(&publisher, GROUPS[group]));
                for (consumer, held) in members[group].iter_mut().zip(&mut in_loop[group]) {
                    finished[group].extend(held.take());
                    *held = consumer.recv(Duration::from_millis(3)).unwrap().as_ref().map(number);
                }
            }
            let stats = wait_for(&publisher, GROUPS[group], |_| true);
            let dropped: u64 = stats.dropped.values().sum();
            prop_assert_eq!(finished[group].len() as u64 + dropped, u64::from(sent));
            prop_assert!(twice[group] <= WINDOW, "{} twice", twice[group]);
            match group {
                3 => prop_assert!(dropped == 0 || stats.dropped.contains_key(&DropReason::Skipped)),
                4 => prop_assert_eq!(
                    dropped,
                    stats.dropped.get(&DropReason::DeadLetter).copied().unwrap_or(0)
                ),
                _ => prop_assert_eq!(dropped, 0),
            }
        }
        let last = publisher.close(Duration::ZERO);
        prop_assert!(last.iter().all(|stats| stats.is_conserved() && stats.in_flight == 0));
    }
}

/// One step in the life of a link that spills.
#[derive(Clone, Debug)]
enum Step {
    Send {
        size: usize,
    },
    Receive,
    Crash,
    /// The producer ends and starts again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop_oneof![Just(10_usize), Just(50_000)].prop_map(|size| Step::Send { size }),
        5 => Just(Step::Receive),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_spills_outlives_its_producers_in_order(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut transport, store) = (Unix::new(), tempfile::tempdir().unwrap());
        let qos = qos(2);
        let start = |transport: &mut Unix| stored(transport, store.path(), vec![group("c", &qos)]);
        let mut publisher = start(&mut transport);
        let mut consumer = subscriber(&transport, "c.0", "c", &qos);
        let (mut sent, mut finished, mut in_loop, mut restarts) = (0, Vec::new(), None, 0);
        for step in steps {
            match step {
                Step::Send { size } => {
                    publisher.send(sized(sent, size)).unwrap();
                    sent += 1;
                }
                Step::Receive => {
                    finished.extend(in_loop.take());
                    in_loop = consumer.recv(Duration::from_millis(3)).unwrap().as_ref().map(number);
                }
                Step::Crash => {
                    in_loop = None;
                    consumer = subscriber(&transport, "c.0", "c", &qos);
                }
                Step::Restart => {
                    let last = publisher.close(Duration::ZERO).remove(0);
                    prop_assert!(last.is_conserved() && last.dropped.is_empty(), "{:?}", last);
                    publisher = start(&mut transport);
                    restarts += 1;
                }
            }
            prop_assert!(stats_of(&publisher, "c").is_conserved());
        }
        let begin = Instant::now();
        while in_loop.is_some() || stats_of(&publisher, "c").in_flight > 0 {
            prop_assert!(begin.elapsed() < PATIENCE, "{:?}", stats_of(&publisher, "c"));
            finished.extend(in_loop.take());
            in_loop = consumer.recv(Duration::from_millis(3)).unwrap().as_ref().map(number);
        }
        // What the producer was not told of before it ended comes again, and nothing is out of turn.
        let again = finished.windows(2).filter(|pair| pair[1] <= pair[0]).count();
        prop_assert!(again <= restarts, "{:?}", finished);
        let twice = finished.len() - finished.iter().collect::<BTreeSet<_>>().len();
        prop_assert!(twice <= restarts * WINDOW as usize, "{:?}", finished);
        finished.sort_unstable();
        finished.dedup();
        prop_assert_eq!(finished, (0..sent).collect::<Vec<_>>());
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
