//! Named tasks that are cancelled and joined, never leaked.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// The tasks of one daemon. Cheap to clone; all clones share the tasks.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// No tasks; they stop when `token` is cancelled.
    pub fn new(token: CancellationToken) -> Self {
        Self {
            tracker: TaskTracker::new(),
            token,
        }
    }

    /// The token that stops the tasks.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Spawns a task that ends when the token is cancelled at the latest.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = self.token.clone();
        let run = async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = future => {}
            }
        };
        self.tracker
            .spawn(run.instrument(tracing::info_span!("task", name)));
    }

    /// Spawns a task that watches the token itself, to finish what it has begun.
    pub fn spawn_graceful<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker
            .spawn(future.instrument(tracing::info_span!("task", name)));
    }

    /// Cancels the token and waits for every task, `deadline` at most. Returns whether all ended.
    pub async fn shut_down(&self, deadline: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait())
            .await
            .is_ok()
    }
}
