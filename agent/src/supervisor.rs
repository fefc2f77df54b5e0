//! Owns the instances' processes: one task an instance starts it, watches it, starts it again and
//! stops it. Knows nothing of assignments or the control plane; [`crate::reconcile`] tells it what
//! to run, the [`Board`] says what became of it.

pub mod board;
mod exit;
mod incidents;
mod instance;
mod launch;
mod node_events;
mod params;
mod policy;
pub(crate) mod process;
mod records;
mod takeover;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use edgeflow_spec::assignment::Instance;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::{
    broker::OwnBroker, conditions::Conditions, events::Events, logs::Logs, models::Models,
    paths::Paths, reconcile::Observed, spans::Spans,
};

pub use board::{Board, InstanceView, Phase};
pub use exit::Exit;
pub use takeover::take_over;

/// What every instance needs.
#[derive(Debug)]
pub struct Shared {
    /// Folders.
    pub paths: Paths,
    /// Device name, for the instance files.
    pub device: watch::Receiver<String>,
    /// Where nodes look for models and clips.
    pub assets: Vec<PathBuf>,
    /// The built-in nodes' program.
    pub nodes_bin: PathBuf,
    /// What became of the instances.
    pub board: Arc<Board>,
    /// The device's own broker.
    pub broker: OwnBroker,
    /// The models that instances need.
    pub models: Arc<Models>,
    /// Captured output.
    pub logs: Logs,
    /// Spans of sampled frames on their way to the control plane.
    pub spans: Arc<Spans>,
    /// Where exits are told.
    pub events: Arc<Events>,
    /// Where a full disk is told.
    pub conditions: Arc<Conditions>,
    /// Wakes the reconciler when an instance is gone.
    pub wake: Arc<Notify>,
}

/// The running instances.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    handles: BTreeMap<String, Handle>,
}

#[derive(Debug)]
struct Handle {
    desired: watch::Sender<Arc<Instance>>,
    stopping: bool,
    stop: watch::Sender<Option<Duration>>,
    gone: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Handle {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire) || self.task.is_finished()
    }
}

impl Supervisor {
    /// Nothing runs yet.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            handles: BTreeMap::new(),
        }
    }

    /// What is there now. Ids whose processes are gone are left out.
    pub fn observed(&mut self) -> BTreeMap<String, Observed> {
        self.handles.retain(|_, handle| !handle.is_gone());
        self.handles
            .iter()
            .map(|(id, handle)| {
                let live = self.shared.board.get(id);
                let live = live.map(|view| view.live_params()).unwrap_or_default();
                let desired = handle.desired.borrow();
                let observed = Observed {
                    hash: desired.restart_hash_with(&live),
                    params: desired.params_hash(),
                    revision: desired.revision,
                    stopping: handle.stopping,
                    live,
                };
                (id.clone(), observed)
            })
            .collect()
    }

    /// Starts an instance. Nothing may be there under its id.
    pub fn start(&mut self, instance: Instance) {
        if self.handles.contains_key(&instance.id) {
            tracing::error!(instance = instance.id, "started twice; left as it is");
            return;
        }
        let id = instance.id.clone();
        let hash = instance.restart_hash();
        let (stop, stopped) = watch::channel(None);
        let gone = Arc::new(AtomicBool::new(false));
        self.shared
            .board
            .insert(InstanceView::pending(&instance, &hash));
        let (desired, wanted) = watch::channel(Arc::new(instance));
        let life = instance::Life::new(
            Arc::clone(&self.shared),
            wanted,
            hash,
            stopped,
            Arc::clone(&gone),
        );
        let handle = Handle {
            desired,
            stopping: false,
            stop,
            gone,
            task: tokio::spawn(life.run()),
        };
        self.handles.insert(id, handle);
    }

    /// Asks an instance to end within its own grace.
    pub fn stop(&mut self, id: &str) {
        if let Some(handle) = self.handles.get_mut(id) {
            handle.stopping = true;
            handle.stop.send_replace(Some(Duration::MAX));
        }
    }

    /// Gives a running instance another revision and other live parameters.
    pub fn update(&mut self, instance: Instance) {
        if let Some(handle) = self.handles.get_mut(&instance.id) {
            let revision = instance.revision;
            self.shared
                .board
                .update(&instance.id, |view| view.revision = revision);
            handle.desired.send_replace(Arc::new(instance));
        }
    }

    /// Stops everything, each within `grace` at most, and waits for it.
    pub async fn stop_all(mut self, grace: Duration) {
        for handle in self.handles.values() {
            handle.stop.send_replace(Some(grace));
        }
        for (id, handle) in std::mem::take(&mut self.handles) {
            if let Err(error) = handle.task.await {
                tracing::error!(instance = id, %error, "instance task failed");
            }
        }
    }
}
