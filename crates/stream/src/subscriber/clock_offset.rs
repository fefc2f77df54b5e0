//! How far the clocks of a producer on another machine are from this one's, measured over the link
//! itself as NTP does (RFC 5905, clock filter): a question and its answer bound the producer's time
//! to half the round trip, and the answer with the shortest way is believed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Answers that are kept.
const SAMPLES: usize = 8;
/// Pause between the first questions.
const FIRST_PERIOD: Duration = Duration::from_millis(100);
/// Questions asked in quick succession.
const QUICK: u32 = 5;
/// Pause between later questions.
const PERIOD: Duration = Duration::from_secs(5);
/// How fast two clocks part at worst, as RFC 5905 assumes: 15 µs a second.
const DRIFT_PPM: u64 = 15;

/// The producer's clocks minus this machine's, with the bound of their error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// Of UTC, nanoseconds.
    pub utc_ns: i64,
    /// Of the monotonic clocks, nanoseconds.
    pub monotonic_ns: i64,
    /// Either may be off by this, nanoseconds.
    pub error_ns: u64,
}

impl ClockOffset {
    /// A time of the producer's monotonic clock on this machine's; 0 stays unknown.
    pub fn to_local_monotonic(&self, producer_ns: u64) -> u64 {
        if producer_ns == 0 {
            return 0;
        }
        let local = i128::from(producer_ns) - i128::from(self.monotonic_ns);
        u64::try_from(local.max(1)).unwrap_or(u64::MAX)
    }
}

/// When a question was asked or answered, on one machine's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) monotonic_ns: u64,
    pub(super) unix_ns: i64,
}

#[derive(Debug)]
struct Sample {
    offset: ClockOffset,
    taken: Instant,
}

impl Sample {
    fn now(&self, now: Instant) -> ClockOffset {
        let age = now.saturating_duration_since(self.taken).as_micros();
        let age_us = u64::try_from(age).unwrap_or(u64::MAX);
        let drift_ns = age_us.saturating_mul(DRIFT_PPM) / 1000;
        ClockOffset {
            error_ns: self.offset.error_ns.saturating_add(drift_ns),
            ..self.offset
        }
    }
}

/// Asks for the producer's clocks from time to time.
#[derive(Debug, Default)]
pub(super) struct ClockFilter {
    samples: VecDeque<Sample>,
    asked: u32,
    next: Option<Instant>,
}

impl ClockFilter {
    /// When the next question is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Starts asking.
    pub(super) fn start(&mut self, now: Instant) {
        *self = Self {
            next: Some(now),
            ..Self::default()
        };
    }

    /// Whether to ask now.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        if self.next.is_none_or(|next| next > now) {
            return false;
        }
        self.asked = self.asked.saturating_add(1);
        let quick = self.asked < QUICK;
        self.next = Some(now + if quick { FIRST_PERIOD } else { PERIOD });
        true
    }

    /// An answer to what was asked at `asked_ns` has arrived at `here`.
    pub(super) fn answer(&mut self, asked_ns: u64, there: Times, here: Times, now: Instant) {
        let Some(round_trip) = here.monotonic_ns.checked_sub(asked_ns) else {
            return;
        };
        let half = round_trip / 2;
        let middle = i128::from(here.monotonic_ns) - i128::from(half);
        let middle_utc = i128::from(here.unix_ns) - i128::from(half);
        let difference = |a: i128, b: i128| i64::try_from(a - b).ok();
        let monotonic_ns = difference(there.monotonic_ns.into(), middle);
        let utc_ns = difference(there.unix_ns.into(), middle_utc);
        let (Some(monotonic_ns), Some(utc_ns)) = (monotonic_ns, utc_ns) else {
            return;
        };
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            offset: ClockOffset {
                utc_ns,
                monotonic_ns,
                error_ns: half,
            },
            taken: now,
        });
    }

    /// The best that is known.
    pub(super) fn offset(&self, now: Instant) -> Option<ClockOffset> {
        let all = self.samples.iter().map(|sample| sample.now(now));
        all.min_by_key(|offset| offset.error_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THERE: i64 = 3_600_000_000_000;

    fn exchange(filter: &mut ClockFilter, at: u64, out_ns: u64, back_ns: u64, now: Instant) {
        let there = Times {
            monotonic_ns: (at + out_ns).saturating_add_signed(THERE),
            unix_ns: 1_000 + (at + out_ns) as i64 - THERE,
        };
        let here = at + out_ns + back_ns;
        let here = Times {
            monotonic_ns: here,
            unix_ns: 1_000 + here as i64,
        };
        filter.answer(at, there, here, now);
    }

    proptest! {
        #[test]
        fn the_true_offset_is_within_the_error(
            ways in proptest::collection::vec((0_u64..50_000_000, 0_u64..50_000_000), 1..20),
        ) {
            let now = Instant::now();
            let mut filter = ClockFilter::default();
            for (n, (out, back)) in ways.iter().enumerate() {
                exchange(&mut filter, 1 + n as u64 * 1_000_000_000, *out, *back, now);
                let found = filter.offset(now).unwrap();
                prop_assert!(found.monotonic_ns.abs_diff(THERE) <= found.error_ns + 1);
                prop_assert!(found.utc_ns.abs_diff(-THERE) <= found.error_ns + 1);
            }
        }
    }

    #[test]
    fn the_shortest_way_is_believed_until_it_is_old() {
        let now = Instant::now();
        let mut filter = ClockFilter::default();
        exchange(&mut filter, 1_000, 10, 10, now);
        exchange(&mut filter, 2_000, 40_000, 0, now);
        assert_eq!(filter.offset(now).unwrap().error_ns, 10);
        let later = now + Duration::from_secs(10);
        exchange(&mut filter, 3_000, 20_000, 0, later);
        // 10 s of drift are 150 µs.
        assert_eq!(filter.offset(later).unwrap().error_ns, 10_000);
    }

    #[test]
    fn questions_are_quick_at_first_and_rare_later() {
        let now = Instant::now();
        let mut filter = ClockFilter::default();
        assert!(!filter.ask(now), "nobody started it");
        filter.start(now);
        let asked = (0..10_000_u64)
            .filter(|n| filter.ask(now + Duration::from_millis(*n)))
            .count();
        assert_eq!(asked, 6);
    }

    #[test]
    fn nonsense_from_the_other_side_changes_nothing() {
        let now = Instant::now();
        let mut filter = ClockFilter::default();
        let wild = Times {
            monotonic_ns: u64::MAX,
            unix_ns: i64::MIN,
        };
        let here = Times {
            monotonic_ns: 10,
            unix_ns: 10,
        };
        filter.answer(u64::MAX, wild, here, now);
        filter.answer(0, wild, here, now);
        assert_eq!(filter.offset(now), None);
        let offset = ClockOffset {
            utc_ns: 0,
            monotonic_ns: i64::MIN,
            error_ns: 0,
        };
        assert_eq!(offset.to_local_monotonic(0), 0);
        assert!(offset.to_local_monotonic(u64::MAX) > 0);
    }
}
