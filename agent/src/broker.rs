//! The device's own broker: a redis-server that the agent starts when a link of the assignment goes
//! through it, and ends when none does any more; and the streams that links leave in any broker.
//! Reads the assignment, never changes it; no frame passes through the agent.

pub mod program;
mod server;
mod streams;

use std::{path::PathBuf, sync::Arc, time::Duration};

use edgeflow_spec::{Assignment, broker::Broker};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{ledger::Ledger, reconcile::Applied, supervisor::Shared};

pub use server::Server;

/// How long an instance's start waits for the broker.
const READY_WAIT: Duration = Duration::from_secs(5);
/// Looks again this often, in case a wake-up was lost.
const PERIOD: Duration = Duration::from_secs(5);
/// Memory of an entry beside its frame.
const ENTRY_BYTES: u64 = 1024;
/// Memory of the server beside the links' frames.
const BASE_BYTES: u64 = 32 * 1024 * 1024;

/// How far the server is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing asked for it yet, or it starts.
    #[default]
    Starting,
    /// It answers.
    Running,
    /// It can't be started; why.
    Failed(String),
}

/// Asks for the broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OwnBroker {
    socket: PathBuf,
    state: watch::Receiver<State>,
}

impl OwnBroker {
    /// A handle, and where the server tells its state.
    pub fn new(socket: PathBuf) -> (Self, watch::Sender<State>) {
        let (sender, state) = watch::channel(State::default());
        (Self { socket, state }, sender)
    }

    /// Where it is, whether it runs or not.
    pub fn address(&self) -> Broker {
        Broker::at(format!("unix://{}", self.socket.display()))
    }

    /// Whether it answers now.
    pub fn is_running(&self) -> bool {
        *self.state.borrow() == State::Running
    }

    /// Waits a moment until it answers. The error says what a person can do.
    pub async fn ready(&self) -> Result<Broker, String> {
        self.ready_within(READY_WAIT).await
    }

    async fn ready_within(&self, limit: Duration) -> Result<Broker, String> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| *state != State::Starting);
        match tokio::time::timeout(limit, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Failed(reason) => Err(reason.clone()),
                State::Starting | State::Running => Ok(self.address()),
            },
            _ => Err("waiting for the device's own broker to start".to_owned()),
        }
    }
}

/// Bytes that the server may take: what the links' windows allow, and a fifth for what memory is
/// lost between entries. `None`: no link needs it.
fn memory(assignment: &Assignment) -> Option<u64> {
    let needing = assignment.instances.iter();
    let needing = needing.filter(|instance| instance.needs_own_broker());
    let outputs = needing.clone().flat_map(|instance| &instance.outputs);
    let groups = outputs.flat_map(|output| &output.groups);
    let windows = groups
        .filter(|group| group.qos.wants_broker())
        .map(|group| {
            let frames = u64::from(group.qos.window_frames) * ENTRY_BYTES;
            group.qos.window_bytes.saturating_add(frames)
        });
    let bytes = windows.fold(0_u64, u64::saturating_add);
    needing
        .count()
        .gt(&0)
        .then(|| BASE_BYTES.saturating_add(bytes).saturating_add(bytes / 5))
}

/// What the tasks of this module need.
#[derive(Clone, Debug)]
pub struct Context {
    /// The assignment.
    pub ledger: Arc<Ledger>,
    /// Changes when another assignment was carried out.
    pub applied: watch::Receiver<Applied>,
    /// Folders, logs, events, conditions, instances.
    pub shared: Arc<Shared>,
}

impl Context {
    /// The present assignment; empty before the first.
    fn assignment(&self) -> Assignment {
        let stored = self.ledger.current();
        stored.map_or_else(Assignment::default, |stored| stored.assignment.clone())
    }

    /// Waits for another assignment, for a while at most.
    async fn changed(&mut self) {
        // The reconciler is gone only when the agent ends.
        let _ = tokio::time::timeout(PERIOD, self.applied.changed()).await;
    }
}

/// Runs the broker while links need it, and removes streams that none uses any more, until the token
/// is cancelled. Gives the server back, which runs on.
pub async fn run(
    context: Context,
    state: watch::Sender<State>,
    token: CancellationToken,
) -> Server {
    let streams = tokio::spawn(streams::run(context.clone(), token.clone()));
    let server = Server::new(context, state).run(token).await;
    if let Err(error) = streams.await {
        tracing::error!(%error, "the watch over streams failed");
    }
    server
}

#[cfg(test)]
mod tests {
    use edgeflow_spec::{LinkQos, qos::Via};
    use serde_json::json;

    use super::*;

    fn assignment(via_broker: bool) -> Assignment {
        let qos = LinkQos {
            via: if via_broker { Via::Broker } else { Via::Auto },
            window_bytes: 50 * 1024 * 1024,
            ..LinkQos::durable()
        };
        let instance = json!({
            "id": "s.n.0", "system": "s", "node": "n", "replica": 0, "revision": 1,
            "program": {"builtin": "pattern"}, "stop_grace_ms": 1,
            "outputs": [{"port": "out", "groups": [{"link": "n->m", "group": "m", "qos": qos}]}],
        });
        Assignment {
            instances: vec![serde_json::from_value(instance).unwrap()],
            ..Assignment::default()
        }
    }

    #[test]
    fn the_limit_of_memory_is_that_of_the_links() {
        assert_eq!(memory(&assignment(false)), None);
        let bytes = memory(&assignment(true)).unwrap();
        assert!(bytes > BASE_BYTES + 60 * 1024 * 1024, "{bytes}");
        assert!(bytes < BASE_BYTES + 61 * 1024 * 1024, "{bytes}");
    }

    #[tokio::test]
    async fn who_waits_is_told_why_it_can_not_start() {
        let (broker, state) = OwnBroker::new("/run/x.redis".into());
        let limit = Duration::from_millis(10);
        let late = broker.ready_within(limit).await;
        assert!(late.is_err(), "it takes too long");
        state.send_replace(State::Failed("not installed".to_owned()));
        assert_eq!(broker.ready().await.unwrap_err(), "not installed");
        state.send_replace(State::Running);
        assert_eq!(broker.ready().await.unwrap().redis, "unix:///run/x.redis");
    }
}
