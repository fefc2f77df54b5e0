//! Live views: one subscription at the agent for each (device, instance, port), shared by every
//! viewer. It begins with the first viewer and ends with the last. Only the newest frame is kept;
//! a frame is asked for only while somebody has room for it.

mod driver;
mod target;
mod viewer;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeflow_proto::v1;
use edgeflow_runtime::tasks::Tasks;
use edgeflow_stream::{Codec, Frame, Kind, Limits};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::service::Service;

pub use target::{Target, TargetError};
pub use viewer::{Update, Viewer};

/// Views at the same time.
const MAX_VIEWS: usize = 256;
/// Biggest message of a frame stream: the biggest frame with some room.
pub const MAX_PUSH_BYTES: usize = 66 * 1024 * 1024;
/// A frame that is older than this is not shown to a viewer that comes to it late.
const FRESH: Duration = Duration::from_millis(100);

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// Since when, and when it is tried again, where the node tells.
    pub outage: Option<Outage>,
}

/// The times of a failure that a node lives with, milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Outage {
    /// When it began.
    pub since_ms: i64,
    /// When it is tried again.
    pub next_try_ms: i64,
}

impl Problem {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            outage: None,
        }
    }
}

/// One frame, as received and as read.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Frame v1: header, meta, payload.
    pub bytes: Bytes,
    /// What the payload is.
    pub codec: Codec,
    /// The payload alone.
    pub payload: Bytes,
}

/// What a view shows now.
#[derive(Clone, Debug)]
enum Slot {
    Waiting,
    Picture(Picture, Instant),
    Problem(Problem),
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    device_id: String,
    instance: String,
    port: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PushState {
    Expected,
    Attached,
    Ended,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    slot: watch::Sender<Slot>,
    push: watch::Sender<PushState>,
    wanted: AtomicBool,
    want: Notify,
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct Registry {
    entries: HashMap<Key, (Arc<Entry>, usize)>,
    // Subscriptions that an agent may push to, by command id.
    commands: HashMap<String, Arc<Entry>>,
}

/// All live views.
#[derive(Debug)]
pub struct Views {
    service: Arc<Service>,
    tasks: Tasks,
    registry: Mutex<Registry>,
}

impl Views {
    /// No views.
    pub fn new(service: Arc<Service>, tasks: Tasks) -> Self {
        Self {
            service,
            tasks,
            registry: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscriptions at agents.
    pub fn count(&self) -> usize {
        self.lock().entries.len()
    }

    /// Viewers of all subscriptions.
    pub fn viewers(&self) -> usize {
        self.lock()
            .entries
            .values()
            .map(|(_, viewers)| viewers)
            .sum()
    }

    /// Looks at a target. The view lasts until the viewer is dropped.
    pub fn open(self: &Arc<Self>, target: &Target) -> Result<Viewer, TargetError> {
        let key = Key {
            device_id: target.device_id.clone(),
            instance: target.instance.clone(),
            port: target.port.clone(),
        };
        let mut registry = self.lock();
        if let Some((entry, viewers)) = registry.entries.get_mut(&key) {
            *viewers += 1;
            let entry = Arc::clone(entry);
            return Ok(Viewer::new(Arc::clone(self), entry));
        }
        if registry.entries.len() >= MAX_VIEWS {
            return Err(TargetError::TooMany(MAX_VIEWS));
        }
        let entry = Arc::new(Entry {
            key: key.clone(),
            slot: watch::Sender::new(Slot::Waiting),
            push: watch::Sender::new(PushState::Ended),
            wanted: AtomicBool::new(false),
            want: Notify::new(),
            ended: CancellationToken::new(),
        });
        registry.entries.insert(key, (Arc::clone(&entry), 1));
        drop(registry);
        let driver = driver::drive(Arc::clone(self), Arc::clone(&entry));
        self.tasks.spawn("view", driver);
        Ok(Viewer::new(Arc::clone(self), entry))
    }

    fn leave(&self, entry: &Arc<Entry>) {
        let mut registry = self.lock();
        let Some((_, viewers)) = registry.entries.get_mut(&entry.key) else {
            return;
        };
        *viewers -= 1;
        if *viewers == 0 {
            registry.entries.remove(&entry.key);
            entry.ended.cancel();
        }
    }

    /// Takes the frames of a subscription that a device pushes. None: nobody asked this device.
    pub fn attach(self: &Arc<Self>, command_id: &str, device_id: &str) -> Option<Push> {
        let mut registry = self.lock();
        let entry = registry.commands.get(command_id)?;
        if entry.key.device_id != device_id {
            return None;
        }
        let entry = registry.commands.remove(command_id)?;
        entry.push.send_replace(PushState::Attached);
        Some(Push { entry })
    }
}

/// A stream of frames from an agent. Dropping it ends the subscription's turn.
#[derive(Debug)]
pub struct Push {
    entry: Arc<Entry>,
}

impl Drop for Push {
    fn drop(&mut self) {
        self.entry.push.send_replace(PushState::Ended);
    }
}

impl Push {
    /// Relays frames until the agent or the last viewer leaves.
    pub async fn run<S, E>(self, mut inbound: S, credits: mpsc::Sender<v1::PushCredit>)
    where
        S: Stream<Item = Result<v1::PushFrame, E>> + Unpin + Send,
    {
        let entry = &self.entry;
        // A frame leaves the agent only on credit, so there is never more than one on its way.
        let mut outstanding = false;
        loop {
            if !outstanding && entry.wanted.swap(false, Ordering::AcqRel) {
                if credits.send(v1::PushCredit { frames: 1 }).await.is_err() {
                    return;
                }
                outstanding = true;
            }
            tokio::select! {
                () = entry.ended.cancelled() => return,
                () = entry.want.notified() => {}
                message = inbound.next() => {
                    let Some(Ok(message)) = message else { return };
                    if !message.error.is_empty() {
                        entry.show_problem(Problem::new("node", message.error));
                    } else if !message.frame.is_empty() {
                        outstanding = false;
                        entry.show_frame(message.frame.into());
                    }
                }
            }
        }
    }
}

impl Entry {
    fn ask(&self) {
        self.wanted.store(true, Ordering::Release);
        self.want.notify_one();
    }

    fn show_problem(&self, problem: Problem) {
        self.slot.send_if_modified(|slot| {
            if matches!(slot, Slot::Problem(old) if *old == problem) {
                return false;
            }
            *slot = Slot::Problem(problem);
            true
        });
    }

    fn show_frame(&self, bytes: Bytes) {
        match Frame::decode(&bytes, &Limits::default()) {
            Ok(frame) if frame.header.kind == Kind::Frame => {
                let picture = Picture {
                    codec: frame.header.codec,
                    payload: frame.payload,
                    bytes,
                };
                self.slot
                    .send_replace(Slot::Picture(picture, Instant::now()));
            }
            Ok(frame) => {
                if let Some(problem) = told_by_node(&frame) {
                    self.show_problem(problem);
                }
                // What came was no picture: somebody still waits for one.
                self.ask();
            }
            Err(error) => {
                let message = format!("a frame can't be read: {error}");
                self.show_problem(Problem::new("damaged", message));
            }
        }
    }
}

/// Why there is no picture, in the words of a frame that tells of a failure.
fn told_by_node(frame: &Frame) -> Option<Problem> {
    let meta = frame.read_meta().ok()?;
    let message = meta.error()?;
    let outage = meta.error_times().map(|(since_ms, next_try_ms)| Outage {
        since_ms,
        next_try_ms,
    });
    Some(Problem {
        outage,
        ..Problem::new("node", message)
    })
}
