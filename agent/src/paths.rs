//! Where everything of an agent lies: the data folder, which survives a reboot, and the run folder
//! with sockets and instance files. Does no IO but making folders.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::files::{DirError, private_dir};

/// The kernel takes 107 bytes; the rest is left to nodes that add a suffix.
pub const MAX_SOCKET_PATH: usize = 99;

/// A Unix socket path that the kernel would refuse.
#[derive(Debug, Error)]
#[error(
    "the socket path {path} has {length} bytes, more than {MAX_SOCKET_PATH}; start the agent with a shorter --run-dir or shorten the port name"
)]
pub struct SocketPathError {
    path: PathBuf,
    length: usize,
}

/// The folders of one agent.
#[derive(Clone, Debug)]
pub struct Paths {
    data: PathBuf,
    run: PathBuf,
}

impl Paths {
    /// Absolute folders; nothing is made yet.
    pub fn new(data: PathBuf, run: PathBuf) -> Self {
        Self { data, run }
    }

    /// Makes what is missing, closed to other users.
    pub fn prepare(&self) -> Result<(), DirError> {
        for dir in [
            &self.data,
            &self.run,
            &self.identity(),
            &self.records(),
            &self.logs(),
            &self.data.join("state"),
            &self.models(),
        ] {
            private_dir(dir)?;
        }
        Ok(())
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The run folder.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Key, certificates and name of this device.
    pub fn identity(&self) -> PathBuf {
        self.data.join("identity")
    }

    /// The assignment on disk.
    pub fn ledger(&self) -> PathBuf {
        self.data.join("assignment")
    }

    /// The ring of events.
    pub fn events(&self) -> PathBuf {
        self.data.join("events.jsonl")
    }

    /// Pictures of events in the ring.
    pub fn event_pictures(&self) -> PathBuf {
        self.data.join("event-pictures")
    }

    /// Records of running processes.
    pub fn records(&self) -> PathBuf {
        self.data.join("instances")
    }

    /// Log folders, one an instance.
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// Models that were brought here.
    pub fn models(&self) -> PathBuf {
        self.data.join("models")
    }

    /// The folder of the device's own broker.
    pub fn broker(&self) -> PathBuf {
        self.data.join("broker")
    }

    /// The list of streams that links of this device have in brokers.
    pub fn streams(&self) -> PathBuf {
        self.data.join("broker-streams.json")
    }

    /// The socket of the device's own broker. One that is too long is the server's to complain of.
    pub fn broker_socket(&self) -> PathBuf {
        self.run.join(format!("{}.redis", self.short("broker")))
    }

    /// The node's own folder.
    pub fn state(&self, instance: &str) -> PathBuf {
        self.data.join("state").join(instance)
    }

    /// The file that `EDGEFLOW_INSTANCE` names.
    pub fn instance_config(&self, instance: &str) -> PathBuf {
        self.run.join(format!("{}.json", self.short(instance)))
    }

    /// The socket on which the node serves the agent.
    pub fn control_socket(&self, instance: &str) -> Result<PathBuf, SocketPathError> {
        checked(self.run.join(format!("{}.ctl", self.short(instance))))
    }

    /// The socket on which an output port listens.
    pub fn output_socket(&self, instance: &str, port: &str) -> Result<PathBuf, SocketPathError> {
        checked(
            self.run
                .join(format!("{}.{port}.sock", self.short(instance))),
        )
    }

    /// The socket on which the agent offers an output of an instance on another device.
    pub fn relay_socket(&self, instance: &str, port: &str) -> Result<PathBuf, SocketPathError> {
        checked(
            self.run
                .join(format!("{}.{port}.far", self.short(instance))),
        )
    }

    /// Eight hex digits for an instance. The data folder is part of it, so that two agents can
    /// share a run folder.
    fn short(&self, instance: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.data.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(instance);
        let digest = hash.finalize();
        digest[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn checked(path: PathBuf) -> Result<PathBuf, SocketPathError> {
    let length = path.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        return Err(SocketPathError { path, length });
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_agents_with_one_run_folder_use_different_sockets() {
        let one = Paths::new("/data/one".into(), "/run/edgeflow".into());
        let two = Paths::new("/data/two".into(), "/run/edgeflow".into());
        assert_ne!(
            one.control_socket("s.n.0").unwrap(),
            two.control_socket("s.n.0").unwrap()
        );
    }

    #[test]
    fn a_socket_path_that_the_kernel_would_cut_is_an_error_with_a_way_out() {
        let paths = Paths::new("/data".into(), PathBuf::from("/r".repeat(45)));
        assert!(paths.control_socket("s.n.0").is_err());
        let error = paths.output_socket("s.n.0", "out").unwrap_err();
        assert!(error.to_string().contains("--run-dir"), "{error}");
    }
}
