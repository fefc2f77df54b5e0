//! Keeps a running node's parameters at the desired ones: hands it what has changed, notes what it
//! took or refused. One task a process; the newest wish wins. Never restarts anything.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use edgeflow_spec::assignment::Instance;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{Phase, Shared};
use crate::{
    events::{Event, Severity},
    session::node::{self, ParamsAnswer},
};

/// How long a busy node may take to answer before it is asked again.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Pause before it is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The parameters that an instance's process works with, across its restarts.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    accepted: Map<String, Value>,
    /// Hash of the newest set that was refused.
    refused: Option<String>,
}

impl Known {
    /// The instance as it is to be started: with what its last process accepted when that process
    /// refused what is desired now, so that a refused value can't keep a node from starting.
    pub(super) fn start_with(&self, desired: &Instance) -> Instance {
        let mut inner = self.lock();
        let mut instance = desired.clone();
        if inner.refused.as_ref() != Some(&desired.params_hash()) {
            inner.refused = None;
            inner.accepted = desired.effective_params();
        }
        // The instance file shows what takes effect.
        instance.params = inner.accepted.clone();
        instance.overrides.clear();
        instance
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Hands one process its parameters.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) socket: PathBuf,
    pub(super) known: Known,
    pub(super) desired: watch::Receiver<Arc<Instance>>,
    /// Hash of what the process has.
    pub(super) has: String,
}

impl Keeper {
    /// Runs until it is aborted or the instance is taken away.
    pub(super) async fn run(mut self) {
        // A set without an answer may still be taken later; then the newest is sent in any case.
        let mut unsure = false;
        loop {
            let desired = Arc::clone(&self.desired.borrow_and_update());
            let hash = desired.params_hash();
            let refused = self.known.lock().refused.clone();
            if refused.as_ref() == Some(&hash) && !unsure {
                if self.desired.changed().await.is_err() {
                    return;
                }
                continue;
            }
            if hash == self.has && !unsure {
                self.settle(&desired.id, &hash);
                if self.desired.changed().await.is_err() {
                    return;
                }
                continue;
            }
            if !self.ready(&desired.id).await {
                continue;
            }
            let params = desired.effective_params();
            let json = Value::from(params.clone()).to_string();
            match node::set_params(&self.socket, json, ANSWER_WAIT).await {
                ParamsAnswer::Applied => {
                    unsure = false;
                    self.has.clone_from(&hash);
                    self.known.lock().accepted = params;
                    self.settle(&desired.id, &hash);
                    let note = "took new parameters".to_owned();
                    self.shared.logs.note(&Arc::from(desired.id.as_str()), note);
                }
                ParamsAnswer::Refused(reason) => {
                    unsure = false;
                    self.refuse(&desired, hash, reason);
                }
                ParamsAnswer::None => {
                    unsure = true;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Waits until the node is in its loop. `false`: something else is desired meanwhile.
    async fn ready(&mut self, id: &str) -> bool {
        let mut board = self.shared.board.watch();
        loop {
            let phase = self.shared.board.get(id).map(|view| view.phase);
            if phase == Some(Phase::Ready) {
                return true;
            }
            tokio::select! {
                changed = board.changed() => if changed.is_err() {
                    return false;
                },
                changed = self.desired.changed() => {
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                    self.desired.mark_changed();
                    return false;
                }
            }
        }
    }

    fn settle(&self, id: &str, hash: &str) {
        self.known.lock().refused = None;
        self.shared.board.update(id, |view| {
            hash.clone_into(&mut view.params_hash);
            view.refusal = None;
        });
    }

    fn refuse(&self, desired: &Instance, hash: String, reason: String) {
        let id = &desired.id;
        self.known.lock().refused = Some(hash.clone());
        let event = Event::new(Severity::Warning, "ParametersRefused", &reason).about(desired);
        self.shared.events.add(event);
        let note = format!("refused new parameters: {reason}");
        self.shared.logs.note(&Arc::from(id.as_str()), note);
        tracing::info!(instance = %id, reason, "the node refused its new parameters");
        self.shared.board.update(id, |view| {
            view.refusal = Some((hash, reason));
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refused_set_is_not_what_the_next_process_starts_with() {
        let instance = |gain: u32| -> Instance {
            serde_json::from_value(json!({
                "id": "s.n.0", "system": "s", "node": "n", "replica": 0, "revision": 1,
                "program": {"command": ["n"]}, "params": {"gain": 1}, "overrides": {"gain": gain},
                "stop_grace_ms": 1,
            }))
            .unwrap()
        };
        let known = Known::default();
        let started_with = |gain| known.start_with(&instance(gain)).params["gain"].clone();
        assert_eq!(started_with(2), 2);
        known.lock().refused = Some(instance(99).params_hash());
        assert_eq!(started_with(99), 2);
        // Something else is tried, and then the refused one again.
        assert_eq!(started_with(3), 3);
        assert_eq!(started_with(99), 99);
    }
}
