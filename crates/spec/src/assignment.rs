//! What one device has to run: the contract between the control plane, which renders it, and the
//! agent, which carries it out. Plain data: the planner makes it, `proto` carries its JSON.
//!
//! Unknown fields are ignored on reading, so that a newer control plane can talk to an older agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{broker::Broker, qos::LinkQos};

/// The whole desired state of one device. Instances are sorted by id, so that equal states have
/// equal bytes and equal hashes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// Every instance that has to run on the device, sorted by id.
    #[serde(default)]
    pub instances: Vec<Instance>,
}

/// One copy of a node on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// `system.node.replica`: unique on the device and stable across revisions.
    pub id: String,
    /// System name.
    pub system: String,
    /// Node name within the system.
    pub node: String,
    /// Replica number, from 0.
    pub replica: u32,
    /// Revision of the system that this instance was rendered from. Not part of the restart hash:
    /// a revision that does not change the node does not restart it.
    pub revision: u64,
    /// What to start.
    pub program: Program,
    /// Environment variables for the process.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Node parameters (`with:`), defaults of built-in nodes filled in.
    #[serde(default)]
    pub params: serde_json::Map<String, serde_json::Value>,
    /// Links that arrive.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// Output ports with the consumer groups that are known when planning.
    #[serde(default)]
    pub outputs: Vec<Output>,
    /// What carries its links; without it, sockets and shared memory of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<Broker>,
    /// What to do when the process ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Time between the stop request and the kill, milliseconds.
    pub stop_grace_ms: u64,
}

/// What an instance runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// A node of `edgeflow-nodes`, by name.
    Builtin(String),
    /// A command line: program and arguments.
    Command(Vec<String>),
}

/// When an instance is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Whatever the exit code.
    #[default]
    Always,
    /// After a non-zero exit code or a signal.
    OnFailure,
    /// Never.
    Never,
}

/// One input port fed by one link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Port name, `in` by default.
    pub port: String,
    /// Link id, `from.port->to.port` with default ports left out.
    pub link: String,
    /// Consumer group: the name of the consuming node. Its replicas are members and share the frames.
    pub group: String,
    /// Quality of service.
    pub qos: LinkQos,
    /// Output port at the producer.
    pub from_port: String,
    /// Producing instances on this device: one for each replica of the producer.
    pub from: Vec<String>,
}

/// One output port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Port name, `out` by default.
    pub port: String,
    /// Consumer groups known at plan time. Realtime groups may also come and go at run time (taps).
    #[serde(default)]
    pub groups: Vec<OutputGroup>,
}

/// A consumer group on an output port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputGroup {
    /// Link id.
    pub link: String,
    /// Group name: the consuming node.
    pub group: String,
    /// Quality of service.
    pub qos: LinkQos,
}

impl Assignment {
    /// The canonical bytes: JSON of the instances sorted by id.
    pub fn to_body(&self) -> Vec<u8> {
        // Serialising plain data with string keys can't fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a body.
    pub fn from_body(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

/// SHA-256 of a body in lower-case hex.
pub fn body_hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

impl Instance {
    /// Changes exactly when the process has to be restarted: everything but the revision and the
    /// realtime groups of its outputs, which consumers announce themselves when they connect.
    /// Durable and balanced groups are kept frames for before they connect. Nobody announces itself
    /// over a broker.
    pub fn restart_hash(&self) -> String {
        let mut copy = self.clone();
        copy.revision = 0;
        for output in copy.outputs.iter_mut().filter(|_| self.broker.is_none()) {
            output.groups.retain(|group| group.qos.keeps_frames());
        }
        hex(&Sha256::digest(
            serde_json::to_vec(&copy).unwrap_or_default(),
        ))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
