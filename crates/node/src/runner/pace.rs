//! Ticks at a steady rate: the schedule does not drift, and missed ticks are left out.

use std::time::{Duration, Instant};

/// Rates outside are clamped.
const MIN_FPS: f64 = 0.001;
const MAX_FPS: f64 = 1000.0;

#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    before: Option<Instant>,
}

impl Pace {
    /// When the next tick is due; `None`: at once, without a rate. A changed rate counts from the
    /// last tick.
    pub(super) fn next(&mut self, now: Instant, fps: Option<f64>) -> Option<Instant> {
        self.before = self.last;
        let Some(fps) = fps.filter(|fps| fps.is_finite() && *fps > 0.0) else {
            self.last = None;
            return None;
        };
        let period = Duration::from_secs_f64(1.0 / fps.clamp(MIN_FPS, MAX_FPS));
        let tick = match self.last {
            None => now,
            Some(last) => {
                let late = now.saturating_duration_since(last);
                // Whole periods that have passed: one is the tick that is due.
                let passed = (late.as_nanos() / period.as_nanos().max(1)).max(1);
                last + period * u32::try_from(passed).unwrap_or(u32::MAX)
            }
        };
        self.last = Some(tick);
        Some(tick)
    }

    /// The tick that was announced last does not happen; the next one is reckoned anew.
    pub(super) fn undo(&mut self) {
        self.last = self.before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_do_not_drift_and_missed_ones_are_left_out() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pace = Pace::default();
        let fps = Some(10.0);
        assert_eq!(pace.next(at(0), fps), Some(at(0)));
        assert_eq!(pace.next(at(30), fps), Some(at(100)), "a quick loop waits");
        assert_eq!(pace.next(at(190), fps), Some(at(200)), "no drift");
        assert_eq!(
            pace.next(at(560), fps),
            Some(at(500)),
            "300 and 400 are left out"
        );
        assert_eq!(pace.next(at(570), fps), Some(at(600)));
    }

    #[test]
    fn a_higher_rate_does_not_wait_for_the_slow_tick() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pace = Pace::default();
        assert_eq!(pace.next(at(0), Some(0.1)), Some(at(0)));
        assert_eq!(pace.next(at(5), Some(0.1)), Some(at(10_000)));
        pace.undo();
        assert_eq!(pace.next(at(30), Some(10.0)), Some(at(100)));
    }

    #[test]
    fn no_rate_means_no_wait() {
        let mut pace = Pace::default();
        for fps in [None, Some(0.0), Some(f64::NAN), Some(-1.0)] {
            assert_eq!(pace.next(Instant::now(), fps), None);
        }
    }
}
