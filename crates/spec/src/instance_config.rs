//! What an agent tells a node process when it starts it: one JSON file, named by the environment
//! variable `EDGEFLOW_INSTANCE`. The node SDK reads it; nodes never see the control plane.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{assignment::Instance, broker::Broker, qos::LinkQos};

/// Environment variable with the path of the instance file.
pub const INSTANCE_ENV: &str = "EDGEFLOW_INSTANCE";

/// Everything a node process has to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceConfig {
    /// The instance as assigned.
    pub instance: Instance,
    /// Device name, for logs and frame metadata.
    pub device: String,
    /// Unix socket on which the runner serves `edgeflow.v1.NodeService`.
    pub control_socket: PathBuf,
    /// Where each output port listens.
    pub output_sockets: Vec<OutputSocket>,
    /// Where each input connects.
    pub input_sockets: Vec<InputSocket>,
    /// A folder of the node's own; kept across restarts.
    pub state_dir: PathBuf,
    /// Where the device's own broker is; for an instance with links that go through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_broker: Option<Broker>,
    /// Models that were brought to the device for it, by the names that it knows them by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelFile>,
    /// Read-only search path for models and clips that are named without a folder.
    pub asset_dirs: Vec<PathBuf>,
}

impl InstanceConfig {
    /// The broker that a link goes through, if any.
    pub fn broker(&self, qos: &LinkQos) -> Option<&Broker> {
        let own = self.own_broker.as_ref().filter(|_| qos.wants_broker());
        self.instance.broker.as_ref().or(own)
    }
}

/// A model on the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Where it is; read-only.
    pub path: PathBuf,
    /// Its digest, checked when it was brought; lower-case hex.
    pub sha256: String,
    /// What people say of it, JSON; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// The listening socket of an output port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputSocket {
    /// Port name.
    pub port: String,
    /// Socket path.
    pub path: PathBuf,
}

/// One producer of an input port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSocket {
    /// Port name at this node.
    pub port: String,
    /// Link id.
    pub link: String,
    /// Consumer group.
    pub group: String,
    /// Quality of service.
    pub qos: LinkQos,
    /// Producing instance.
    pub from: String,
    /// Socket path of the producer's output port; of a producer on another device, of the agent's
    /// relay to it.
    pub path: PathBuf,
    /// Name of the device that the producer runs on, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}
