//! The agents that are connected now, and what they last reported. In memory only: it is all said
//! again at the next connection. Only the newest session of a device may write here.

mod session;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use edgeflow_proto::v1;
use edgeflow_spec::params::MAX_PARAMETERS;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{changes::Changes, clock::now_ms};

pub use session::{HEARTBEAT_INTERVAL, Session, SessionError, run as run_session};

/// Commands that may wait for a slow agent.
const COMMAND_QUEUE: usize = 64;
/// Load samples that are kept of a device: ten minutes at one every two seconds.
const LOAD_SAMPLES: usize = 300;
/// Shortest time between two kept samples.
const LOAD_INTERVAL_MS: i64 = 2_000;
/// Instances and conditions of a report that are looked at.
const MAX_INSTANCES: usize = 1_000;
const MAX_CONDITIONS: usize = 64;

/// What is known of a device right now.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// A session is open.
    pub online: bool,
    /// Its epoch; of the last one when offline.
    pub epoch: u64,
    /// 0: not since the control plane started.
    pub last_seen_ms: i64,
    /// The last report.
    pub status: Option<Arc<v1::StatusReport>>,
    /// The device refused its newest assignment.
    pub refusal: Option<Refusal>,
}

/// An assignment that a device did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which one.
    pub generation: u64,
    /// In words.
    pub message: String,
    /// Since when.
    pub since_ms: i64,
}

/// Why a command can't reach a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It has no session.
    #[error("the device is offline")]
    Offline,
    /// It does not read.
    #[error("the device is too slow: too many commands wait for it")]
    Busy,
}

#[derive(Debug)]
struct Entry {
    live: Live,
    session: Option<Handle>,
    desired: watch::Sender<Option<v1::Assignment>>,
    load: VecDeque<v1::DeviceLoad>,
    // Ends every stream of the device when its certificate is revoked.
    trust: CancellationToken,
}

#[derive(Debug)]
struct Handle {
    epoch: u64,
    commands: mpsc::Sender<v1::Command>,
    cancel: CancellationToken,
}

/// The registry of sessions.
#[derive(Debug)]
pub struct Fleet {
    devices: Mutex<HashMap<String, Entry>>,
    changes: Changes,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            live: Live::default(),
            session: None,
            desired: watch::Sender::new(None),
            load: VecDeque::new(),
            trust: CancellationToken::new(),
        }
    }
}

impl Fleet {
    /// Nobody is connected.
    pub fn new(changes: Changes) -> Self {
        Self {
            devices: Mutex::new(HashMap::new()),
            changes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a device.
    pub fn live(&self, id: &str) -> Live {
        self.lock()
            .get(id)
            .map(|entry| entry.live.clone())
            .unwrap_or_default()
    }

    /// Load samples of a device, oldest first.
    pub fn load(&self, id: &str) -> Vec<v1::DeviceLoad> {
        self.lock()
            .get(id)
            .map(|entry| entry.load.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Ids of the devices with a session.
    pub fn online(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|(_, entry)| entry.live.online)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Puts the newest assignment where the device's session picks it up.
    pub fn set_desired(&self, id: &str, assignment: v1::Assignment) {
        let mut devices = self.lock();
        let entry = devices.entry(id.to_owned()).or_default();
        entry.desired.send_replace(Some(assignment));
    }

    /// Sends a command to a device.
    pub fn command(&self, id: &str, command: v1::Command) -> Result<(), CommandError> {
        let devices = self.lock();
        let session = devices
            .get(id)
            .and_then(|entry| entry.session.as_ref())
            .ok_or(CommandError::Offline)?;
        session
            .commands
            .try_send(command)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => CommandError::Busy,
                mpsc::error::TrySendError::Closed(_) => CommandError::Offline,
            })
    }

    /// Cancelled when the device is no longer trusted.
    pub fn trust(&self, id: &str) -> CancellationToken {
        self.lock().entry(id.to_owned()).or_default().trust.clone()
    }

    /// Forgets what an earlier installation of a device reported; for a device that joined again.
    pub fn reset(&self, id: &str) {
        let mut devices = self.lock();
        if let Some(entry) = devices.get_mut(id) {
            entry.distrust();
            entry.trust = CancellationToken::new();
            entry.live = Live {
                epoch: entry.live.epoch,
                ..Live::default()
            };
            entry.load.clear();
        }
        drop(devices);
        self.changes.announce();
    }

    /// Closes everything of a deleted device and forgets it.
    pub fn forget(&self, id: &str) {
        if let Some(mut entry) = self.lock().remove(id) {
            entry.distrust();
        }
        self.changes.announce();
    }

    /// Opens a session: an older one of the same device is closed. None: a newer one is open.
    fn open(&self, id: &str, epoch: u64) -> Option<Opened> {
        let mut devices = self.lock();
        let entry = devices.entry(id.to_owned()).or_default();
        if entry.live.epoch >= epoch {
            return None;
        }
        if let Some(old) = entry.session.take() {
            old.cancel.cancel();
        }
        let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
        let cancel = entry.trust.child_token();
        entry.session = Some(Handle {
            epoch,
            commands: sender,
            cancel: cancel.clone(),
        });
        entry.live.online = true;
        entry.live.epoch = epoch;
        entry.live.last_seen_ms = now_ms();
        let desired = entry.desired.subscribe();
        drop(devices);
        self.changes.announce();
        Some(Opened {
            commands,
            cancel,
            desired,
        })
    }

    /// Changes what is known, if the session is the newest. Returns whether it was.
    fn update(&self, id: &str, epoch: u64, change: impl FnOnce(&mut Live)) -> bool {
        let mut devices = self.lock();
        let Some(entry) = devices.get_mut(id).filter(|entry| entry.is_current(epoch)) else {
            return false;
        };
        entry.live.last_seen_ms = now_ms();
        change(&mut entry.live);
        true
    }

    fn seen(&self, id: &str, epoch: u64) {
        self.update(id, epoch, |_| {});
    }

    fn refused(&self, id: &str, epoch: u64, refusal: Option<Refusal>) {
        if self.update(id, epoch, |live| live.refusal = refusal) {
            self.changes.announce();
        }
    }

    fn report(&self, id: &str, epoch: u64, mut status: v1::StatusReport) {
        status.instances.truncate(MAX_INSTANCES);
        for instance in &mut status.instances {
            instance.parameters.truncate(MAX_PARAMETERS);
        }
        status.conditions.truncate(MAX_CONDITIONS);
        let mut devices = self.lock();
        let Some(entry) = devices.get_mut(id).filter(|entry| entry.is_current(epoch)) else {
            return;
        };
        entry.live.last_seen_ms = now_ms();
        if let Some(mut load) = status.load {
            // The server's clock: samples of devices are drawn on one axis.
            load.at_unix_ms = entry.live.last_seen_ms;
            let newest = entry.load.back().map_or(0, |sample| sample.at_unix_ms);
            if load.at_unix_ms - newest >= LOAD_INTERVAL_MS {
                if entry.load.len() >= LOAD_SAMPLES {
                    entry.load.pop_front();
                }
                entry.load.push_back(load);
            }
        }
        if entry
            .live
            .refusal
            .as_ref()
            .is_some_and(|refusal| status.observed_generation >= refusal.generation)
        {
            entry.live.refusal = None;
        }
        entry.live.status = Some(Arc::new(status));
        drop(devices);
        self.changes.announce();
    }

    /// Ends a session. Returns whether it was the newest, so that the device is offline now.
    fn close(&self, id: &str, epoch: u64) -> bool {
        let mut devices = self.lock();
        let Some(entry) = devices.get_mut(id).filter(|entry| entry.is_current(epoch)) else {
            return false;
        };
        entry.session = None;
        entry.live.online = false;
        drop(devices);
        self.changes.announce();
        true
    }
}

impl Entry {
    fn is_current(&self, epoch: u64) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.epoch == epoch)
    }

    fn distrust(&mut self) {
        self.trust.cancel();
        self.session = None;
        self.live.online = false;
    }
}

#[derive(Debug)]
struct Opened {
    commands: mpsc::Receiver<v1::Command>,
    cancel: CancellationToken,
    desired: watch::Receiver<Option<v1::Assignment>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        Fleet::new(Changes::new())
    }

    #[test]
    fn a_stale_session_can_neither_report_nor_mark_the_device_offline() {
        let fleet = fleet();
        let old = fleet.open("d", 1).unwrap();
        fleet.open("d", 2).unwrap();
        assert!(old.cancel.is_cancelled());
        fleet.report("d", 1, v1::StatusReport::default());
        assert!(fleet.live("d").status.is_none());
        assert!(!fleet.close("d", 1));
        assert!(fleet.live("d").online);
        assert!(fleet.close("d", 2));
        assert!(!fleet.live("d").online);
    }

    #[test]
    fn the_newest_epoch_wins_whatever_the_order_of_arrival() {
        let fleet = fleet();
        assert!(fleet.open("d", 5).is_some());
        assert!(fleet.open("d", 4).is_none());
        assert_eq!(fleet.live("d").epoch, 5);
    }

    #[test]
    fn forgetting_a_device_closes_its_session() {
        let fleet = fleet();
        let opened = fleet.open("d", 1).unwrap();
        fleet.forget("d");
        assert!(opened.cancel.is_cancelled());
        assert_eq!(
            fleet.command("d", v1::Command::default()),
            Err(CommandError::Offline)
        );
    }
}
