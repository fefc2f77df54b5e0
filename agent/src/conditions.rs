//! What is wrong with this device as a whole, as the status report shows it. Holds no history.

use std::{collections::BTreeMap, sync::Mutex};

use tokio::sync::Notify;

use crate::clock::unix_ms;

/// A file of the agent could not be written because the disk is full or read-only.
pub const DISK: &str = "DiskFull";
/// The control plane sent an assignment that this device does not accept.
pub const ASSIGNMENT: &str = "AssignmentRefused";
/// The device's own broker does not run although a link goes through it.
pub const BROKER: &str = "BrokerDown";
/// The certificate could not be renewed and runs out.
pub const CERTIFICATE: &str = "CertificateRenewalFailed";

/// A model that nodes need can't be fetched.
pub const MODELS: &str = "ModelMissing";
/// A link to another device can't be made.
pub const LINKS: &str = "LinkUnreachable";
/// The port for links from other devices can't be opened.
pub const LINK_PORT: &str = "LinkPortClosed";

/// One condition that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// One of the constants of this module.
    pub kind: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// Since when.
    pub since_unix_ms: i64,
}

/// The conditions that hold now, by kind.
#[derive(Debug, Default)]
pub struct Conditions {
    held: Mutex<BTreeMap<&'static str, Condition>>,
    changed: Notify,
}

impl Conditions {
    /// Raises a condition or changes its message; the time it began stays.
    pub fn set(&self, kind: &'static str, message: impl Into<String>) {
        let message = message.into();
        let mut held = self.lock();
        match held.get_mut(kind) {
            Some(condition) if condition.message == message => return,
            Some(condition) => condition.message = message,
            None => {
                tracing::warn!(kind, message, "condition raised");
                let condition = Condition {
                    kind,
                    message,
                    since_unix_ms: unix_ms(),
                };
                held.insert(kind, condition);
            }
        }
        drop(held);
        self.changed.notify_one();
    }

    /// Ends a condition.
    pub fn clear(&self, kind: &'static str) {
        if self.lock().remove(kind).is_some() {
            tracing::info!(kind, "condition cleared");
            self.changed.notify_one();
        }
    }

    /// All that hold.
    pub fn snapshot(&self) -> Vec<Condition> {
        self.lock().values().cloned().collect()
    }

    /// Waits until one is raised, changed or cleared. For one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Condition>> {
        self.held
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
