//! When an instance that ended is started again. Pure: the caller brings the clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use edgeflow_spec::assignment::RestartPolicy;

/// First delay; doubles with every exit in a row.
pub(super) const FIRST_DELAY: Duration = Duration::from_millis(200);
/// Longest delay.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(30);
/// A run of this length ends the row.
pub(super) const STABLE: Duration = Duration::from_secs(10);
/// Exits of short runs that make a crash loop…
pub(super) const LOOP_EXITS: usize = 5;
/// …within this time.
pub(super) const LOOP_WINDOW: Duration = Duration::from_secs(60);

/// What follows an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Start it again after a while.
    Restart { after: Duration, crash_loop: bool },
    /// The restart policy leaves it.
    Leave,
}

/// The memory of one instance's exits.
#[derive(Debug, Default)]
pub(super) struct Policy {
    row: u32,
    short_exits: VecDeque<Instant>,
    looping: bool,
}

impl Policy {
    pub(super) fn exited(
        &mut self,
        now: Instant,
        uptime: Duration,
        success: bool,
        restart: RestartPolicy,
    ) -> Next {
        match restart {
            RestartPolicy::Never => return Next::Leave,
            RestartPolicy::OnFailure if success => return Next::Leave,
            RestartPolicy::OnFailure | RestartPolicy::Always => {}
        }
        if uptime >= STABLE {
            *self = Self::default();
        } else {
            self.short_exits.push_back(now);
            while self
                .short_exits
                .front()
                .is_some_and(|exit| now.duration_since(*exit) > LOOP_WINDOW)
            {
                self.short_exits.pop_front();
            }
            // Stays a loop at 30 s a try, until a run is stable.
            self.looping |= self.short_exits.len() >= LOOP_EXITS;
        }
        let after = if self.looping {
            MAX_DELAY
        } else {
            FIRST_DELAY
                .saturating_mul(1 << self.row.min(16))
                .min(MAX_DELAY)
        };
        self.row += 1;
        Next::Restart {
            after,
            crash_loop: self.looping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(policy: &mut Policy, now: Instant, uptime: Duration) -> Next {
        policy.exited(now, uptime, false, RestartPolicy::Always)
    }

    #[test]
    fn the_delay_doubles_and_a_stable_run_resets_it() {
        let mut policy = Policy::default();
        let now = Instant::now();
        let delays: Vec<u128> = [0, 1, 2]
            .iter()
            .map(
                |second| match exit(&mut policy, now + Duration::from_secs(*second), STABLE / 2) {
                    Next::Restart { after, .. } => after.as_millis(),
                    Next::Leave => 0,
                },
            )
            .collect();
        assert_eq!(delays, [200, 400, 800]);
        assert_eq!(
            exit(&mut policy, now + Duration::from_secs(20), STABLE),
            Next::Restart {
                after: FIRST_DELAY,
                crash_loop: false
            }
        );
    }

    #[test]
    fn five_short_runs_within_a_minute_are_a_crash_loop_until_one_is_stable() {
        let mut policy = Policy::default();
        let start = Instant::now();
        let looping =
            |next| matches!(next, Next::Restart { after, crash_loop: true } if after == MAX_DELAY);
        for second in 0..4 {
            let now = start + Duration::from_secs(second);
            assert!(!looping(exit(&mut policy, now, Duration::ZERO)));
        }
        for second in [4, 34, 64, 94, 124] {
            let now = start + Duration::from_secs(second);
            assert!(looping(exit(&mut policy, now, Duration::ZERO)), "{second}");
        }
        let now = start + Duration::from_secs(150);
        assert!(!looping(exit(&mut policy, now, STABLE)));
    }

    #[test]
    fn five_short_runs_over_minutes_are_no_crash_loop() {
        let mut policy = Policy::default();
        let start = Instant::now();
        for minute in 0..10 {
            let now = start + Duration::from_secs(61 * minute);
            assert!(matches!(
                exit(&mut policy, now, Duration::ZERO),
                Next::Restart {
                    crash_loop: false,
                    ..
                }
            ));
        }
    }

    #[test]
    fn the_restart_policy_decides() {
        let mut policy = Policy::default();
        let now = Instant::now();
        let mut next = |success, restart| policy.exited(now, Duration::ZERO, success, restart);
        assert_eq!(next(false, RestartPolicy::Never), Next::Leave);
        assert_eq!(next(true, RestartPolicy::OnFailure), Next::Leave);
        assert_ne!(next(false, RestartPolicy::OnFailure), Next::Leave);
        assert_ne!(next(true, RestartPolicy::Always), Next::Leave);
    }
}
