//! One counter that rises whenever anything visible changes, for the streams that show it.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// Shortest time between two messages of a watch stream.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// The same for a stream that somebody waits on to settle: the wait must not add to what it measures.
pub const WAIT_INTERVAL: Duration = Duration::from_millis(20);

/// Announces changes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Changes(watch::Sender<u64>);

impl Changes {
    /// Nothing has changed yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Something has changed.
    pub fn announce(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Follows the changes from now on, at most one every [`WATCH_INTERVAL`].
    pub fn follow(&self) -> Follower {
        self.follow_every(WATCH_INTERVAL)
    }

    /// Follows the changes from now on, at most one every `interval`.
    pub fn follow_every(&self, interval: Duration) -> Follower {
        Follower {
            receiver: self.0.subscribe(),
            interval,
            next: Instant::now() + interval,
        }
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits for changes, at most one every interval.
#[derive(Debug)]
pub struct Follower {
    receiver: watch::Receiver<u64>,
    interval: Duration,
    next: Instant,
}

impl Follower {
    /// Returns once something has changed since the last call. False: nothing ever will.
    pub async fn changed(&mut self) -> bool {
        if self.receiver.changed().await.is_err() {
            return false;
        }
        tokio::time::sleep_until(self.next).await;
        self.receiver.mark_unchanged();
        self.next = Instant::now() + self.interval;
        true
    }
}
