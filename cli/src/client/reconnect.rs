//! How long a follower of a stream dials again after it lost the control plane.

use std::time::{Duration, Instant};

use tonic::Status;

use super::is_connection_loss;

/// Counts the time since a stream broke. A stream that gives something again starts afresh.
#[derive(Debug)]
pub(crate) struct Reconnect {
    limit: Duration,
    every: Duration,
    lost_at: Option<Instant>,
}

impl Reconnect {
    /// Dials again every `every`, for at most `limit` in a row. A `limit` of zero gives up at once.
    pub(crate) fn new(limit: Duration, every: Duration) -> Self {
        Self {
            limit,
            every,
            lost_at: None,
        }
    }

    /// The stream gave something.
    pub(crate) fn heard(&mut self) {
        self.lost_at = None;
    }

    /// Whether this is the first failure since something was heard.
    pub(crate) fn is_new(&self) -> bool {
        self.lost_at.is_none()
    }

    /// Waits for the next attempt. `false`: not a lost connection, or lost for too long.
    pub(crate) async fn again(&mut self, status: &Status) -> bool {
        let since = *self.lost_at.get_or_insert_with(Instant::now);
        let again = is_connection_loss(status) && since.elapsed() < self.limit;
        if again {
            tokio::time::sleep(self.every).await;
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_lost_connection_is_dialled_again() {
        let mut reconnect = Reconnect::new(Duration::from_secs(60), Duration::from_millis(1));
        assert!(!reconnect.again(&Status::not_found("no such system")).await);
        assert!(reconnect.again(&Status::unavailable("gone")).await);
        assert!(!reconnect.is_new());
        reconnect.heard();
        assert!(reconnect.is_new());
    }

    #[tokio::test]
    async fn a_limit_of_zero_gives_up_at_once() {
        let mut reconnect = Reconnect::new(Duration::ZERO, Duration::from_secs(60));
        assert!(!reconnect.again(&Status::unavailable("gone")).await);
    }
}
