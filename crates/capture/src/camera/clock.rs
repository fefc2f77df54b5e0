//! From the driver's clock to UTC, with a bound on the error. Reads clocks, keeps nothing.

use rustix::time::{ClockId, clock_gettime};

/// A driver's time that is further away from now is not one of the monotonic clock.
const PLAUSIBLE_NS: i128 = 10_000_000_000;
/// Drivers count in microseconds.
const RESOLUTION_NS: u64 = 1_000;

/// When a picture was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// UTC.
    pub unix_ns: i64,
    /// This machine's monotonic clock.
    pub monotonic_ns: u64,
    /// Bound on the error of `unix_ns`, as far as this machine can know it.
    pub error_us: u32,
    /// Whether the driver said it. Otherwise it is the time at which the picture was fetched.
    pub from_driver: bool,
}

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) unix_ns: i64,
    pub(super) monotonic_ns: u64,
    /// How sure it is that both were read at the same moment.
    error_ns: u64,
}

impl Now {
    pub(super) fn read() -> Self {
        let before = nanoseconds(ClockId::Monotonic);
        let unix = nanoseconds(ClockId::Realtime);
        let after = nanoseconds(ClockId::Monotonic);
        let span = u64::try_from(after - before).unwrap_or(0);
        Self {
            unix_ns: unix,
            monotonic_ns: u64::try_from(before).unwrap_or(0) + span / 2,
            error_ns: span.div_ceil(2),
        }
    }

    /// The capture time of a picture that the driver stamped; `None`: it did not, or with a clock
    /// of its own. `frame_ns` bounds the error then: the picture came within the last frame's time.
    pub(super) fn capture(&self, stamp_ns: Option<i64>, frame_ns: u64) -> Capture {
        let age = stamp_ns.map(|stamp| i128::from(self.monotonic_ns) - i128::from(stamp));
        match age {
            Some(age) if age.abs() <= PLAUSIBLE_NS => {
                // A time in the future, as some drivers give under load, is now; the error says so.
                let ahead = u64::try_from((-age).max(0)).unwrap_or(0);
                let age = i64::try_from(age.max(0)).unwrap_or(0);
                Capture {
                    unix_ns: self.unix_ns - age,
                    monotonic_ns: self.monotonic_ns - u64::try_from(age).unwrap_or(0),
                    error_us: microseconds(self.error_ns + RESOLUTION_NS + ahead),
                    from_driver: true,
                }
            }
            _ => Capture {
                unix_ns: self.unix_ns,
                monotonic_ns: self.monotonic_ns,
                error_us: microseconds(self.error_ns + frame_ns),
                from_driver: false,
            },
        }
    }
}

/// Rounded up: 0 would say that the error is not known.
fn microseconds(ns: u64) -> u32 {
    u32::try_from(ns.div_ceil(1000).max(1)).unwrap_or(u32::MAX)
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now {
        unix_ns: 1_700_000_000_000_000_000,
        monotonic_ns: 50_000_000_000,
        error_ns: 200,
    };
    const FRAME_NS: u64 = 40_000_000;

    #[test]
    fn the_drivers_time_becomes_utc() {
        let capture = NOW.capture(Some(49_990_000_000), FRAME_NS);
        assert_eq!(capture.unix_ns, NOW.unix_ns - 10_000_000);
        assert_eq!(capture.monotonic_ns, 49_990_000_000);
        assert_eq!((capture.error_us, capture.from_driver), (2, true));
    }

    #[test]
    fn a_time_in_the_future_is_now_with_an_error() {
        let capture = NOW.capture(Some(50_003_000_000), FRAME_NS);
        assert_eq!(capture.unix_ns, NOW.unix_ns);
        assert_eq!((capture.error_us, capture.from_driver), (3_002, true));
    }

    #[test]
    fn without_a_time_it_is_that_of_arrival() {
        for stamp in [None, Some(0), Some(i64::MIN), Some(i64::MAX)] {
            let capture = NOW.capture(stamp, FRAME_NS);
            assert_eq!(capture.unix_ns, NOW.unix_ns);
            assert_eq!((capture.error_us, capture.from_driver), (40_001, false));
        }
    }

    #[test]
    fn the_clocks_are_read_together() {
        let now = Now::read();
        assert!(now.monotonic_ns > 0 && now.unix_ns > 0);
        assert!(now.error_ns < 1_000_000_000);
    }
}
