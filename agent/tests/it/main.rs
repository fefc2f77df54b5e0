//! The agent's program against a control plane made of a real TLS server, with real node processes.

// Helpers fail a test by panicking, like the tests themselves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agent;
mod boot;
mod bulk;
mod fleet;
mod instances;
mod models;
mod node;
mod params;
mod setup;
mod trust;

use std::time::Duration;

/// Limit of every wait.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at a state.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` finds something; fails with `what` when it never does.
async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < LIMIT, "never happened: {what}");
        tokio::time::sleep(POLL).await;
    }
}
