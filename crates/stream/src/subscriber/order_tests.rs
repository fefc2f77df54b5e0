//! The order of frames behind replicas, over scripted and random arrivals. No links, no waiting.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const TIMEOUT: Duration = Duration::from_millis(500);

fn header(stream: u8, number: u64) -> Header {
    let mut header = Header::default();
    header.trace_id[0] = stream;
    header.trace_id[8..].copy_from_slice(&number.to_le_bytes());
    header
}

struct Bench {
    start: Instant,
    order: Order<u64>,
    late: Vec<u64>,
}

impl Bench {
    fn new(sources: usize) -> Self {
        let mut order = Order::new(TIMEOUT);
        (0..sources).for_each(|source| assert_eq!(order.add_source(), source));
        Self {
            start: Instant::now(),
            order,
            late: Vec::new(),
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn push(&mut self, ms: u64, source: usize, number: u64) {
        let (now, header) = (self.at(ms), header(1, number));
        self.late
            .extend(self.order.push(now, source, &header, 1, number));
    }

    fn pop(&mut self, ms: u64) -> Vec<u64> {
        let now = self.at(ms);
        std::iter::from_fn(|| self.order.pop(now)).collect()
    }
}

#[test]
fn frames_of_two_replicas_come_in_order() {
    let mut bench = Bench::new(2);
    bench.push(0, 1, 2);
    assert_eq!(bench.pop(0), [0; 0], "1 may still come");
    bench.push(1, 0, 1);
    assert_eq!(bench.pop(1), [1, 2]);
    bench.push(2, 0, 3);
    assert_eq!(bench.pop(2), [3], "nothing is missing");
}

#[test]
fn a_missing_number_costs_until_the_others_have_passed_it() {
    let mut bench = Bench::new(2);
    bench.push(0, 0, 1);
    bench.push(0, 1, 2);
    assert_eq!(bench.pop(0), [1, 2]);
    // 3 was superseded on its way to the replicas.
    bench.push(10, 0, 4);
    assert_eq!(bench.pop(10), [0; 0]);
    bench.push(11, 1, 5);
    assert_eq!(bench.pop(11), [4, 5]);
}

#[test]
fn a_frozen_replica_costs_one_timeout_and_not_one_for_every_frame() {
    let mut bench = Bench::new(2);
    bench.push(0, 0, 1);
    bench.push(0, 1, 2);
    assert_eq!(bench.pop(0), [1, 2]);
    // Source 1 has 3 and is frozen.
    bench.push(10, 0, 4);
    assert_eq!(bench.pop(509), [0; 0]);
    assert_eq!(bench.order.deadline(), Some(bench.at(510)));
    assert_eq!(bench.pop(510), [4]);
    for number in [5, 7, 9] {
        bench.push(520, 0, number);
        assert_eq!(bench.pop(520), [number]);
    }
    // It is back: what it had is late, and it is waited for again.
    bench.push(600, 1, 3);
    assert_eq!(bench.late, [3]);
    bench.push(601, 0, 11);
    assert_eq!(bench.pop(601), [0; 0]);
    bench.push(602, 1, 10);
    assert_eq!(bench.pop(602), [10, 11]);
}

#[test]
fn a_frame_that_a_killed_replica_left_is_waited_for() {
    let mut bench = Bench::new(2);
    bench.push(0, 0, 1);
    assert_eq!(bench.pop(500), [1], "2 is not waited for any more");
    bench.push(501, 1, 2);
    bench.push(502, 0, 4);
    bench.push(503, 0, 5);
    assert_eq!(bench.pop(503), [2], "3 went to the killed one");
    bench.push(600, 0, 3);
    assert_eq!(bench.pop(600), [3, 4, 5]);
}

#[test]
fn two_frames_of_one_capture_stay_together() {
    let mut bench = Bench::new(2);
    bench.push(0, 0, 1);
    bench.push(0, 1, 1);
    assert_eq!(bench.pop(0), [1, 1]);
    bench.push(1, 0, 1);
    assert_eq!(bench.pop(1), [1]);
}

#[test]
fn another_life_of_the_origin_starts_anew() {
    let mut bench = Bench::new(1);
    bench.push(0, 0, 900);
    assert_eq!(bench.pop(0), [900]);
    let now = bench.at(1);
    assert_eq!(bench.order.push(now, 0, &header(2, 1), 1, 1), None);
    assert_eq!(bench.pop(1), [1]);
}

#[test]
fn what_is_held_and_remembered_is_bounded() {
    let mut bench = Bench::new(2);
    for number in 0..2 * MAX_HELD_FRAMES as u64 {
        bench.push(0, 0, 2 * number + 2);
        bench.pop(0);
        assert!(bench.order.frames <= MAX_HELD_FRAMES);
    }
    for stream in 2..=200 {
        let now = bench.at(1000);
        bench.order.push(now, 0, &header(stream, 1), 1, 1);
        bench.pop(2000);
        assert!(bench.order.origins.len() <= MAX_ORIGINS);
    }
}

proptest! {
    /// Whatever replicas do with their frames: all of them go, each once, in order but for the
    /// late ones, and none waits longer than the timeout.
    #[test]
    fn nothing_is_lost_repeated_or_kept(
        frames in prop::collection::vec((0_usize..3, 0_u64..900), 1..80),
    ) {
        let mut bench = Bench::new(3);
        // Number, source and when it arrives; within a source, order is kept.
        let mut last = [0; 3];
        let mut arrivals: Vec<(u64, usize, u64)> = Vec::new();
        for (index, (source, delay)) in frames.iter().enumerate() {
            let number = index as u64 + 1;
            let arrival = (number * 10 + delay).max(last[*source]);
            last[*source] = arrival;
            arrivals.push((arrival, *source, number));
        }
        arrivals.sort_unstable();
        let mut arrived = BTreeSet::new();
        let mut gone = Vec::new();
        let mut waiting: Vec<(u64, u64)> = Vec::new();
        let end = arrivals.last().map_or(0, |last| last.0) + 501;
        for ms in 0..=end {
            for (_, source, number) in arrivals.iter().filter(|arrival| arrival.0 == ms) {
                let late = bench.late.len();
                bench.push(ms, *source, *number);
                arrived.insert(*number);
                if bench.late.len() == late {
                    waiting.push((*number, ms + 500));
                }
            }
            for number in bench.pop(ms) {
                waiting.retain(|(held, _)| *held != number);
                gone.push(number);
            }
            prop_assert!(waiting.iter().all(|(_, until)| *until > ms), "{:?} at {}", waiting, ms);
        }
        prop_assert!(gone.is_sorted());
        let mut all: Vec<u64> = gone.iter().chain(&bench.late).copied().collect();
        all.sort_unstable();
        prop_assert_eq!(all, arrived.into_iter().collect::<Vec<_>>());
        prop_assert_eq!((bench.order.frames, bench.order.bytes), (0, 0));
    }
}
