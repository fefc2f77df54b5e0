//! What a node may ask of its surroundings during setup, and the handles it may keep.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use edgeflow_spec::instance_config::{InstanceConfig, ModelFile};
use edgeflow_stream::frame::stream_id;

use crate::shown::Shown;
use crate::{Counter, Events, Fact, NodeError, Stop, Timer};

/// A node's surroundings.
#[derive(Debug)]
pub struct Context {
    config: Arc<InstanceConfig>,
    condition: Condition,
    shown: Shown,
    stop: Stop,
}

impl Context {
    pub(crate) fn new(config: Arc<InstanceConfig>, condition: Condition, stop: Stop) -> Self {
        Self {
            config,
            condition,
            shown: Shown::default(),
            stop,
        }
    }

    /// Shows counters, facts and times there.
    pub(crate) fn with_shown(mut self, shown: Shown) -> Self {
        self.shown = shown;
        self
    }

    /// `system.node.replica`.
    pub fn instance(&self) -> &str {
        &self.config.instance.id
    }

    /// System name.
    pub fn system(&self) -> &str {
        &self.config.instance.system
    }

    /// Node name in the system.
    pub fn node(&self) -> &str {
        &self.config.instance.node
    }

    /// Replica number, from 0.
    pub fn replica(&self) -> u32 {
        self.config.instance.replica
    }

    /// Device name.
    pub fn device(&self) -> &str {
        &self.config.device
    }

    /// Names of the input ports that are linked.
    pub fn inputs(&self) -> Vec<String> {
        let mut ports: Vec<String> = Vec::new();
        for input in &self.config.instance.inputs {
            if !ports.contains(&input.port) {
                ports.push(input.port.clone());
            }
        }
        ports
    }

    /// What feeds this node: every stream that its frames can be of.
    pub fn producers(&self) -> Vec<Producer> {
        let inputs = self.config.instance.inputs.iter();
        let streams = inputs.flat_map(|input| {
            input.from.iter().map(move |from| {
                // `system.node.replica`
                let mut parts = from.rsplit('.');
                let replica = parts.next().and_then(|replica| replica.parse().ok());
                Producer {
                    node: parts.next().unwrap_or(from).to_owned(),
                    replica: replica.unwrap_or(0),
                    port: input.from_port.clone(),
                    input: input.port.clone(),
                    stream_id: stream_id(&format!("{from}/{}", input.from_port)),
                }
            })
        });
        streams.collect()
    }

    /// A folder of the node's own, kept across restarts.
    pub fn state_dir(&self) -> &Path {
        &self.config.state_dir
    }

    /// The folder with the sockets of this agent's nodes. Empty after a reboot.
    pub fn run_dir(&self) -> &Path {
        let socket = &self.config.control_socket;
        socket.parent().unwrap_or(socket)
    }

    /// The socket on which an output port is offered, to tell another node of it.
    pub fn output_socket(&self, port: &str) -> Option<&Path> {
        let mut sockets = self.config.output_sockets.iter();
        let socket = sockets.find(|socket| socket.port == port)?;
        Some(&socket.path)
    }

    /// Finds a file by name in the device's asset folders. A name with a `/` is a path and is
    /// taken as it is.
    pub fn asset(&self, name: &str) -> Result<PathBuf, NodeError> {
        find_asset(&self.config.asset_dirs, name)
    }

    /// A model that was brought to the device for this node, by the name that the manifest gives it;
    /// `None` for one that only the device itself may have.
    pub fn model(&self, name: &str) -> Option<&ModelFile> {
        self.config.models.get(name)
    }

    /// The device's asset folders, in search order.
    pub fn asset_dirs(&self) -> &[PathBuf] {
        &self.config.asset_dirs
    }

    /// The condition shown for this node; may be kept and used from other threads.
    pub fn condition(&self) -> Condition {
        self.condition.clone()
    }

    /// Where events of the node's own go; may be kept and used from other threads.
    pub fn events(&self) -> Events {
        self.shown.events.clone()
    }

    /// A counter of the node's own, made at the first call with this name (a-z, 0-9, `_`); may be
    /// kept and used from other threads. A node has at most 32.
    pub fn counter(&self, name: &str) -> Counter {
        self.shown.counters.get(name)
    }

    /// A short text about the node, by name (a-z, 0-9, `_`), such as what it runs on; may be kept and
    /// changed from other threads. A node has at most 32.
    pub fn fact(&self, name: &str) -> Fact {
        self.shown.facts.get(name)
    }

    /// Times of a part of the node's loop, by name (a-z, 0-9, `_`); may be kept and used from other
    /// threads. A node has at most 32.
    pub fn timer(&self, name: &str) -> Timer {
        self.shown.timers.get(name)
    }

    /// Whether the node has to stop; may be kept and used from other threads.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }
}

/// An output port of an instance that feeds this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Producing node.
    pub node: String,
    /// Its replica.
    pub replica: u32,
    /// Its output port.
    pub port: String,
    /// The input port that it feeds.
    pub input: String,
    /// `stream_id` in the header of its frames.
    pub stream_id: u32,
}

fn find_asset(dirs: &[PathBuf], name: &str) -> Result<PathBuf, NodeError> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        if path.exists() {
            return Ok(path);
        }
        return Err(NodeError::new(format!("{name} does not exist")));
    }
    let found = dirs.iter().map(|dir| dir.join(name)).find(|p| p.exists());
    found.ok_or_else(|| {
        let searched: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        let searched = if searched.is_empty() {
            "no asset folder is configured".to_owned()
        } else {
            format!("searched {}", searched.join(", "))
        };
        NodeError::new(format!("asset `{name}` not found: {searched}"))
    })
}

/// A problem that the node lives with (no signal, reconnecting), shown next to it until cleared.
/// Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    text: Arc<Mutex<String>>,
}

/// Bytes of condition text kept.
const MAX_CONDITION_LEN: usize = 512;

impl Condition {
    /// Shows `text`. Logs a warning when it differs from what is shown.
    pub fn set(&self, text: impl Into<String>) {
        let mut text = text.into();
        let mut end = text.len().min(MAX_CONDITION_LEN);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        let mut shown = self.lock();
        if *shown != text {
            tracing::warn!(condition = %text, "node condition");
            *shown = text;
        }
    }

    /// Nothing is wrong any more.
    pub fn clear(&self) {
        let mut shown = self.lock();
        if !shown.is_empty() {
            tracing::info!(condition = %shown, "node condition is over");
            shown.clear();
        }
    }

    /// What is shown; empty: nothing.
    pub fn text(&self) -> String {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, String> {
        self.text
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_found_in_order_and_paths_are_taken_as_they_are() {
        let first = tempfile::tempdir().unwrap();
        let second = tempfile::tempdir().unwrap();
        let dirs = vec![first.path().to_owned(), second.path().to_owned()];
        let file = second.path().join("clip.avi");
        std::fs::write(&file, b"x").unwrap();
        assert_eq!(find_asset(&dirs, "clip.avi").unwrap(), file);
        assert_eq!(find_asset(&[], file.to_str().unwrap()).unwrap(), file);
        let missing = find_asset(&dirs, "other").unwrap_err().to_string();
        assert!(missing.starts_with("asset `other` not found: searched "));
    }

    #[test]
    fn a_condition_is_shared_and_bounded() {
        let condition = Condition::default();
        let other = condition.clone();
        condition.set("ä".repeat(MAX_CONDITION_LEN));
        assert_eq!(other.text().len(), MAX_CONDITION_LEN);
        other.clear();
        assert_eq!(condition.text(), "");
    }
}
