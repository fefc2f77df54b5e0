//! Which frames belong together, over scripted and random arrivals. No links, no waiting.

use std::collections::BTreeMap;

use edgeflow_stream::Codec;
use proptest::prelude::*;

use super::*;

const MS: i64 = 1_000_000;

fn frame(capture_ms: i64) -> Frame {
    let mut frame = Frame::new(Codec::Bytes, vec![0; 100]);
    frame.header.capture_ns = capture_ms * MS;
    frame
}

fn fusion(policy: Policy) -> Fusion {
    let others = vec!["right".to_owned(), "lidar".to_owned()];
    let mut fusion = Fusion::new("left", others);
    fusion.policy = policy;
    fusion.tolerance = (policy == Policy::Nearest).then_some(Duration::from_millis(20));
    fusion
}

/// A matcher on a clock of its own, in milliseconds.
struct Bench {
    start: Instant,
    matcher: Matcher,
    tickets: BTreeMap<Ticket, i64>,
}

#[derive(Debug, PartialEq)]
enum Seen {
    /// Capture times in milliseconds.
    Set(i64, Vec<Option<i64>>),
    Dropped(i64, &'static str),
}

fn set(primary: i64, others: [Option<i64>; 2]) -> Seen {
    Seen::Set(primary, others.to_vec())
}

impl Bench {
    fn new(fusion: &Fusion) -> Self {
        Self {
            start: Instant::now(),
            matcher: Matcher::new(fusion),
            tickets: BTreeMap::new(),
        }
    }

    fn push(&mut self, at_ms: u64, input: usize, capture_ms: i64) -> Vec<Seen> {
        let now = self.start + Duration::from_millis(at_ms);
        let ticket = self.matcher.push(now, input, frame(capture_ms));
        self.tickets.insert(ticket, capture_ms);
        self.seen()
    }

    fn expire(&mut self, at_ms: u64) -> Vec<Seen> {
        self.matcher
            .expire(self.start + Duration::from_millis(at_ms));
        self.seen()
    }

    fn seen(&mut self) -> Vec<Seen> {
        let of = |frame: &Frame| frame.header.capture_ns / MS;
        let mut seen = Vec::new();
        while let Some(outcome) = self.matcher.next() {
            match outcome {
                Outcome::Set(_, primary, others) => {
                    let others = others.iter().map(|frame| frame.as_ref().map(of));
                    seen.push(Seen::Set(of(&primary), others.collect()));
                }
                Outcome::Finished(ticket, reason) => {
                    let capture = self.tickets.remove(&ticket).expect("finished once");
                    seen.extend(reason.map(|reason| Seen::Dropped(capture, reason.name())));
                }
            }
        }
        seen
    }
}

#[test]
fn exact_joins_frames_of_one_capture_and_drops_the_rest() {
    let mut bench = Bench::new(&fusion(Policy::Exact));
    assert_eq!(bench.push(0, 0, 100), []);
    assert_eq!(bench.push(1, 1, 100), []);
    assert_eq!(bench.push(2, 2, 100), [set(100, [Some(100), Some(100)])]);
    assert_eq!(bench.push(3, 0, 130), []);
    assert_eq!(bench.push(4, 1, 130), []);
    // The lidar went on to 160: nothing of 130 can come from it.
    assert_eq!(bench.push(5, 2, 160), [Seen::Dropped(130, "unmatched")]);
    assert_eq!(bench.push(6, 0, 160), [Seen::Dropped(130, "unmatched")]);
    assert_eq!(bench.push(7, 1, 160), [set(160, [Some(160), Some(160)])]);
}

#[test]
fn nearest_waits_until_nothing_nearer_can_come() {
    let mut bench = Bench::new(&fusion(Policy::Nearest));
    bench.push(0, 1, 95);
    bench.push(0, 2, 90);
    assert_eq!(bench.push(1, 0, 100), [], "101 may still come");
    bench.push(2, 1, 106);
    assert_eq!(
        bench.push(3, 2, 103),
        [
            set(100, [Some(95), Some(103)]),
            Seen::Dropped(90, "unmatched"),
        ]
    );
    // Two are as far: the older one.
    bench.push(4, 0, 110);
    bench.push(5, 2, 110);
    assert_eq!(bench.push(6, 1, 114), [set(110, [Some(106), Some(110)])]);
}

#[test]
fn a_frame_out_of_tolerance_does_not_match() {
    let mut fusion = fusion(Policy::Nearest);
    let lidar = Duration::from_millis(60);
    fusion.tolerances.insert("lidar".to_owned(), lidar);
    let mut bench = Bench::new(&fusion);
    bench.push(0, 0, 100);
    bench.push(0, 2, 155);
    assert_eq!(bench.push(1, 1, 121), [Seen::Dropped(100, "unmatched")]);
    bench.push(2, 0, 125);
    assert_eq!(bench.push(3, 1, 130), [set(125, [Some(121), Some(155)])]);
}

#[test]
fn when_its_time_is_up_a_frame_goes_alone_or_not_at_all() {
    let mut wanted = fusion(Policy::Nearest);
    let mut bench = Bench::new(&wanted);
    bench.push(0, 0, 100);
    bench.push(50, 1, 100);
    assert_eq!(bench.expire(199), []);
    assert_eq!(bench.expire(200), [Seen::Dropped(100, "unmatched_timeout")]);
    assert_eq!(bench.expire(250), [Seen::Dropped(100, "unmatched_timeout")]);
    assert_eq!(bench.matcher.deadline(), None);
    wanted.partial = true;
    let mut bench = Bench::new(&wanted);
    bench.push(0, 1, 100);
    bench.push(50, 0, 100);
    assert_eq!(bench.expire(200), [set(100, [Some(100), None])]);
    // What would have matched is too late now.
    bench.push(210, 0, 150);
    bench.push(210, 2, 150);
    assert_eq!(bench.push(210, 1, 150), [set(150, [Some(150), Some(150)])]);
    assert_eq!(
        bench.push(211, 2, 100),
        [Seen::Dropped(100, "unmatched_late")]
    );
    assert_eq!(
        bench.push(212, 0, 100),
        [Seen::Dropped(100, "unmatched_late")]
    );
}

#[test]
fn latest_takes_the_newest_of_each_at_once_and_again() {
    let mut bench = Bench::new(&fusion(Policy::Latest));
    assert_eq!(bench.push(0, 0, 10), [Seen::Dropped(10, "unmatched")]);
    bench.push(1, 1, 1);
    bench.push(2, 2, 2);
    assert_eq!(bench.push(3, 1, 3), [Seen::Dropped(1, "superseded")]);
    assert_eq!(bench.push(4, 0, 40), [set(40, [Some(3), Some(2)])]);
    assert_eq!(bench.push(5, 0, 70), [set(70, [Some(3), Some(2)])]);
    assert_eq!(bench.push(6, 2, 71), [], "2 was of use");
    assert_eq!(bench.push(7, 2, 60), [Seen::Dropped(60, "superseded")]);
    assert_eq!(bench.matcher.deadline(), None);
    let mut wanted = fusion(Policy::Latest);
    wanted.tolerance = Some(Duration::from_millis(10));
    wanted.partial = true;
    let mut bench = Bench::new(&wanted);
    bench.push(0, 1, 0);
    bench.push(0, 2, 90);
    assert_eq!(bench.push(1, 0, 100), [set(100, [None, Some(90)])]);
}

#[test]
fn a_full_buffer_lets_the_oldest_go() {
    let mut wanted = fusion(Policy::Nearest);
    wanted.max_frames = 2;
    let mut bench = Bench::new(&wanted);
    bench.push(0, 1, 100);
    bench.push(0, 1, 101);
    assert_eq!(
        bench.push(0, 1, 102),
        [Seen::Dropped(100, "unmatched_overflow")]
    );
    bench.push(0, 0, 100);
    bench.push(0, 0, 105);
    assert_eq!(
        bench.push(0, 0, 110),
        [Seen::Dropped(100, "unmatched_overflow")]
    );
    wanted.max_frames = 100;
    wanted.max_bytes = 500;
    let mut bench = Bench::new(&wanted);
    (0..50).for_each(|capture| drop(bench.push(0, 1, capture)));
    assert_eq!(bench.matcher.inputs[1].waiting.len(), 2);
}

#[test]
fn a_timeline_that_starts_again_is_not_late_for_ever() {
    let mut bench = Bench::new(&fusion(Policy::Exact));
    for capture in [10_000, 1_000] {
        for input in [1, 2] {
            assert_eq!(bench.push(0, input, capture), []);
        }
        let seen = bench.push(0, 0, capture);
        assert_eq!(seen, [set(capture, [Some(capture), Some(capture)])]);
    }
}

#[test]
fn a_mark_without_a_frame_says_that_nothing_older_comes() {
    let mut bench = Bench::new(&fusion(Policy::Exact));
    bench.push(0, 0, 100);
    bench.push(0, 1, 100);
    bench.matcher.advance(2, 101 * MS);
    assert_eq!(bench.seen(), [Seen::Dropped(100, "unmatched")]);
}

#[derive(Clone, Debug)]
struct Step {
    input: usize,
    /// Capture time before now, milliseconds.
    age: i64,
    /// Passes before the step, milliseconds.
    wait: u64,
}

fn step() -> impl Strategy<Value = Step> {
    (0_usize..3, 0_i64..400, 0_u64..40).prop_map(|(input, age, wait)| Step { input, age, wait })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever arrives when: every frame is finished once, nothing waits past the timeout, the
    /// memory is bounded, the sets are in order and within the tolerance.
    #[test]
    fn every_frame_is_accounted_for(
        steps in prop::collection::vec(step(), 1..150),
        policy in prop::sample::select(vec![Policy::Exact, Policy::Nearest, Policy::Latest]),
        partial in any::<bool>(),
        ordered in any::<bool>(),
    ) {
        let mut wanted = fusion(policy);
        (wanted.partial, wanted.max_frames) = (partial, 5);
        let mut bench = Bench::new(&wanted);
        let mut now = 0;
        let mut arrived: BTreeMap<Ticket, u64> = BTreeMap::new();
        let mut newest = [0; 3];
        let mut sets: Vec<i64> = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            for _ in 0..step.wait {
                now += 1;
                for seen in bench.expire(now) {
                    check(&seen, policy, partial, &mut sets)?;
                }
                arrived.retain(|ticket, _| bench.tickets.contains_key(ticket));
                if policy != Policy::Latest {
                    prop_assert!(arrived.values().all(|at| at + 200 > now));
                }
            }
            let mut capture = i64::try_from(now).unwrap() + 1000 - step.age;
            if ordered {
                capture = capture.max(newest[step.input]);
                newest[step.input] = capture;
            }
            for seen in bench.push(now, step.input, capture) {
                check(&seen, policy, partial, &mut sets)?;
            }
            arrived.insert(number as Ticket + 1, now);
            for buffer in &bench.matcher.inputs {
                prop_assert!(buffer.waiting.len() <= 5);
                let bytes: usize = buffer.waiting.iter().map(|it| it.bytes).sum();
                prop_assert_eq!(bytes, buffer.bytes);
            }
        }
        bench.expire(now + 200);
        // With `latest`, the newest of each input stays.
        let left = if policy == Policy::Latest { 2 } else { 0 };
        prop_assert!(bench.tickets.len() <= left, "{:?}", bench.tickets);
        if ordered && policy != Policy::Latest {
            prop_assert!(sets.is_sorted());
        }
    }
}

fn check(
    seen: &Seen,
    policy: Policy,
    partial: bool,
    sets: &mut Vec<i64>,
) -> Result<(), TestCaseError> {
    let Seen::Set(primary, others) = seen else {
        return Ok(());
    };
    sets.push(*primary);
    prop_assert!(partial || others.iter().all(Option::is_some));
    let tolerance = match policy {
        Policy::Exact => 0,
        Policy::Nearest => 20,
        Policy::Latest => i64::MAX,
    };
    for other in others.iter().flatten() {
        prop_assert!((other - primary).abs() <= tolerance);
    }
    Ok(())
}
