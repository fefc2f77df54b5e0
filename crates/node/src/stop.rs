//! One request to stop, seen by everything that waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Tells a node that it has to stop. Clones share the request.
#[derive(Clone, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The node has to stop.
    Stop,
    /// Somebody wants the loop to look around.
    Nudge,
    /// Nothing happened.
    Time,
}

type Hook = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requested: bool,
    nudged: bool,
    hooks: Vec<Hook>,
}

impl Stop {
    /// Whether the node has to stop.
    pub fn is_requested(&self) -> bool {
        self.state().requested
    }

    /// Sleeps for `time`, or until the node has to stop. Returns whether it has to.
    pub fn sleep(&self, time: Duration) -> bool {
        self.sleep_until(Instant::now() + time)
    }

    /// Sleeps until `deadline`, or until the node has to stop. Returns whether it has to.
    pub fn sleep_until(&self, deadline: Instant) -> bool {
        let mut state = self.state();
        while !state.requested {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.shared.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    /// Waits until `deadline`, a stop, or a nudge, which is used up.
    pub(crate) fn wait_until(&self, deadline: Instant) -> Woken {
        let mut state = self.state();
        loop {
            if state.requested {
                return Woken::Stop;
            }
            if std::mem::take(&mut state.nudged) {
                return Woken::Nudge;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Woken::Time;
            }
            state = match self.shared.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Ends the present [`Self::wait_until`], or the next one.
    pub(crate) fn nudge(&self) {
        self.state().nudged = true;
        self.shared.changed.notify_all();
    }

    /// Asks to stop; wakes every wait. A second request does nothing.
    pub(crate) fn request(&self) {
        let mut state = self.state();
        if !state.requested {
            state.requested = true;
            state.hooks.iter().for_each(|hook| hook());
            self.shared.changed.notify_all();
        }
    }

    /// Runs `hook` when a stop is requested; at once when it is already.
    pub(crate) fn on_request(&self, hook: impl Fn() + Send + 'static) {
        let mut state = self.state();
        if state.requested {
            hook();
        }
        state.hooks.push(Box::new(hook));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stop")
            .field("requested", &self.is_requested())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_a_sleep() {
        let stop = Stop::default();
        let other = stop.clone();
        let sleeper = std::thread::spawn(move || other.sleep(Duration::from_secs(60)));
        stop.request();
        assert!(sleeper.join().unwrap());
        assert!(stop.sleep(Duration::ZERO));
    }

    #[test]
    fn a_nudge_ends_a_wait_once_but_no_sleep() {
        let stop = Stop::default();
        stop.nudge();
        let far = Instant::now() + Duration::from_secs(60);
        assert_eq!(stop.wait_until(far), Woken::Nudge);
        stop.nudge();
        assert!(!stop.sleep(Duration::from_millis(1)));
        assert_eq!(stop.wait_until(far), Woken::Nudge);
        assert_eq!(stop.wait_until(Instant::now()), Woken::Time);
        stop.request();
        assert_eq!(stop.wait_until(far), Woken::Stop);
    }

    #[test]
    fn hooks_run_even_when_late() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let stop = Stop::default();
        let first = sender.clone();
        stop.on_request(move || first.send(1).unwrap());
        stop.request();
        stop.on_request(move || sender.send(2).unwrap());
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2]);
    }
}
