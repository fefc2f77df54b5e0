//! What is known of every instance, for the status report, the metrics and the live views. Written
//! by the instance tasks; nobody decides anything from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use edgeflow_spec::assignment::Instance;
use tokio::sync::watch;

use super::exit::Exit;
use crate::session::node::{Parameter, Stats};

/// How far an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Not started yet.
    Pending,
    /// The process runs and has not announced that it is ready.
    Starting,
    /// Announced ready.
    Ready,
    /// Ended, will be started again soon.
    Backoff,
    /// Ends again and again; started again at the longest backoff.
    CrashLoop,
    /// Can't be started as specified.
    Failed,
    /// On its way out.
    Stopping,
    /// Ended, and its restart policy leaves it.
    Stopped,
}

impl Phase {
    /// For metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Backoff => "backoff",
            Self::CrashLoop => "crash-loop",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// One instance as it is now.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// `system.node.replica`.
    pub id: String,
    /// System.
    pub system: String,
    /// Node.
    pub node: String,
    /// Replica.
    pub replica: u32,
    /// Revision it belongs to.
    pub revision: u64,
    /// Restart hash of what runs.
    pub hash: String,
    /// How far it is.
    pub phase: Phase,
    /// Why it is in this phase; empty when ready.
    pub reason: String,
    /// The node answered on its socket in this run.
    pub announced: bool,
    /// Process id; 0: none.
    pub pid: u32,
    /// Start of the process; 0: none.
    pub started_unix_ms: i64,
    /// Starts after the first.
    pub restarts: u32,
    /// When it is started again; 0: not planned.
    pub next_start_unix_ms: i64,
    /// The last end.
    pub last_exit: Option<Exit>,
    /// Share of one core.
    pub cpu: f64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// What the node's runner counts.
    pub stats: Option<Stats>,
    /// What the node declared when it last ran.
    pub parameters: Vec<Parameter>,
    /// Hash of the parameters that it works with.
    pub params_hash: String,
    /// Hash of the parameters that it refused, and why.
    pub refusal: Option<(String, String)>,
}

impl InstanceView {
    /// Desired and not started.
    pub fn pending(instance: &Instance, hash: &str) -> Self {
        Self {
            id: instance.id.clone(),
            system: instance.system.clone(),
            node: instance.node.clone(),
            replica: instance.replica,
            revision: instance.revision,
            hash: hash.to_owned(),
            phase: Phase::Pending,
            reason: String::new(),
            announced: false,
            pid: 0,
            started_unix_ms: 0,
            restarts: 0,
            next_start_unix_ms: 0,
            last_exit: None,
            cpu: 0.0,
            rss_bytes: 0,
            stats: None,
            parameters: Vec::new(),
            params_hash: String::new(),
            refusal: None,
        }
    }

    /// Names of the parameters that it declared live.
    pub fn live_params(&self) -> BTreeSet<String> {
        let live = self.parameters.iter().filter(|parameter| parameter.live);
        live.map(|parameter| parameter.name.clone()).collect()
    }
}

/// All instances.
#[derive(Debug)]
pub struct Board {
    views: Mutex<BTreeMap<String, InstanceView>>,
    changed: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            views: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Board {
    /// Adds or replaces an instance.
    pub fn insert(&self, view: InstanceView) {
        self.lock().insert(view.id.clone(), view);
        self.bump();
    }

    /// Takes an instance off.
    pub fn remove(&self, id: &str) {
        self.lock().remove(id);
        self.bump();
    }

    /// Changes an instance that is there. Watchers wake for everything but statistics.
    pub fn update(&self, id: &str, change: impl FnOnce(&mut InstanceView)) {
        let mut views = self.lock();
        let Some(view) = views.get_mut(id) else {
            return;
        };
        let before = (view.phase, view.pid, view.revision, view.restarts);
        let words = |view: &InstanceView| {
            let params = (view.params_hash.clone(), view.refusal.clone());
            (view.reason.clone(), view.parameters.len(), params)
        };
        let words_before = words(view);
        change(view);
        let after = (view.phase, view.pid, view.revision, view.restarts);
        let changed = before != after || words_before != words(view);
        drop(views);
        if changed {
            self.bump();
        }
    }

    /// Copies of all, by id.
    pub fn snapshot(&self) -> Vec<InstanceView> {
        self.lock().values().cloned().collect()
    }

    /// A copy of one.
    pub fn get(&self, id: &str) -> Option<InstanceView> {
        self.lock().get(id).cloned()
    }

    /// Ids and process ids of what runs.
    pub fn running(&self) -> Vec<(String, u32)> {
        self.lock()
            .values()
            .filter(|view| view.pid != 0)
            .map(|view| (view.id.clone(), view.pid))
            .collect()
    }

    /// Ids of a system's instances, of one node if it is not empty.
    pub fn ids_of(&self, system: &str, node: &str) -> Vec<String> {
        self.lock()
            .values()
            .filter(|view| view.system == system && (node.is_empty() || view.node == node))
            .map(|view| view.id.clone())
            .collect()
    }

    /// Changes whenever a phase, process, reason, revision or set of parameters does.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn bump(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, InstanceView>> {
        self.views
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
