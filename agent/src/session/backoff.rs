//! Pauses between attempts to connect: full jitter, so that a fleet does not come back at once.

use std::time::Duration;

/// Bound of the first full-jitter pause.
const FIRST: Duration = Duration::from_secs(1);
/// Bound of the longest.
const MAX: Duration = Duration::from_secs(60);
/// Attempts that come fast, for a control plane that has only just restarted.
const FAST_ATTEMPTS: u32 = 3;
const FAST: Duration = Duration::from_millis(300);
const MIN: Duration = Duration::from_millis(50);
/// A session of this length makes the next attempts fast again.
const STABLE: Duration = Duration::from_secs(5);

/// Counts the attempts.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Tells how long the last session was.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time >= STABLE {
            self.attempts = 0;
        }
    }

    /// The pause before the next attempt.
    pub(super) fn next(&mut self) -> Duration {
        let bound = Self::bound(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        rand::random_range(MIN..=bound)
    }

    fn bound(attempts: u32) -> Duration {
        match attempts.checked_sub(FAST_ATTEMPTS) {
            None => FAST,
            Some(slow) => FIRST.saturating_mul(1 << slow.min(6)).min(MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_start_over_after_a_stable_session() {
        assert_eq!(Backoff::bound(0), FAST);
        assert_eq!(Backoff::bound(3), FIRST);
        assert_eq!(Backoff::bound(4), FIRST * 2);
        assert_eq!(Backoff::bound(1000), MAX);
        let mut backoff = Backoff { attempts: 100 };
        backoff.lasted(Duration::from_secs(1));
        assert_eq!(backoff.attempts, 100);
        backoff.lasted(STABLE);
        assert_eq!(backoff.attempts, 0);
    }

    #[test]
    fn a_pause_is_within_its_bound() {
        let mut backoff = Backoff::default();
        for attempt in 0..100 {
            let pause = backoff.next();
            assert!(pause >= MIN && pause <= Backoff::bound(attempt));
        }
    }
}
