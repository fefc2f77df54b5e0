//! What one device has to run: the contract between the control plane, which renders it, and the
//! agent, which carries it out. Plain data: the planner makes it, `proto` carries its JSON.
//!
//! Unknown fields are ignored on reading, so that a newer control plane can talk to an older agent.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{broker::Broker, catalog, qos::LinkQos, system::DEFAULT_TRACE_EVERY};

/// Bytes of the digest that name a set of parameters.
const PARAMS_HASH_BYTES: usize = 8;

/// The whole desired state of one device. Instances are sorted by id, so that equal states have
/// equal bytes and equal hashes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// Every instance that has to run on the device, sorted by id.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// Where other devices are that these instances get frames from, by device id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<String, Peer>,
    /// Models that these instances use and the control plane keeps, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, Model>,
}

/// A model that the control plane keeps. A name stands for the same file for ever.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Digest of the file, lower-case hex.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
    /// What its file name ends in, without the dot: `onnx`.
    #[serde(default)]
    pub extension: String,
    /// What people say of it: JSON, as in a file beside a model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// Another device, as the agents reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name, for people.
    pub name: String,
    /// `host:port` of its link port, the likeliest first.
    #[serde(default)]
    pub addresses: Vec<String>,
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
    /// Parameters that were set since, in place of those above. Live ones only, so that they are
    /// not part of the restart hash.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub overrides: serde_json::Map<String, serde_json::Value>,
    /// Names of the models in [`Assignment::models`] that it uses. A name always means the same
    /// file, so that they are not part of the restart hash.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub models: BTreeSet<String>,
    /// Links that arrive.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// Output ports with the consumer groups that are known when planning.
    #[serde(default)]
    pub outputs: Vec<Output>,
    /// What carries its links; without it, sockets and shared memory of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<Broker>,
    /// Of a source: one in so many of its frames is sampled for tracing; 0: none.
    #[serde(
        default = "default_trace_every",
        skip_serializing_if = "is_default_trace_every"
    )]
    pub trace_every: u32,
    /// What to do when the process ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Time between the stop request and the kill, milliseconds.
    pub stop_grace_ms: u64,
}

fn default_trace_every() -> u32 {
    DEFAULT_TRACE_EVERY
}

fn is_default_trace_every(every: &u32) -> bool {
    *every == DEFAULT_TRACE_EVERY
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
    /// Producing instances: one for each replica of the producer.
    pub from: Vec<String>,
    /// Those of them that run on another device.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remote: BTreeMap<String, Remote>,
}

/// The device of an instance that runs on another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Device id.
    pub device: String,
    /// Device name.
    pub name: String,
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
    /// Other devices that run consumers of the group: ids. No one else may connect from afar.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
}

impl Assignment {
    /// The canonical bytes: JSON of the instances sorted by id.
    pub fn to_body(&self) -> Vec<u8> {
        // Serialising plain data with string keys can't fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Ids of the devices that its instances get frames from.
    pub fn sources(&self) -> BTreeSet<&str> {
        let inputs = self.instances.iter().flat_map(|one| &one.inputs);
        let remote = inputs.flat_map(|input| input.remote.values());
        remote.map(|remote| remote.device.as_str()).collect()
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
    /// Changes exactly when the process has to be restarted: everything but the revision, live
    /// parameters, and the realtime groups of its outputs, which consumers announce themselves when
    /// they connect. Durable and balanced groups are kept frames for before they connect. Nobody
    /// announces itself over a broker.
    pub fn restart_hash(&self) -> String {
        self.restart_hash_with(&BTreeSet::new())
    }

    /// The same for a node that declared more of its parameters live than the catalog knows of.
    pub fn restart_hash_with(&self, live: &BTreeSet<String>) -> String {
        let mut copy = self.clone();
        copy.revision = 0;
        copy.overrides.clear();
        copy.models.clear();
        let known = match &self.program {
            Program::Builtin(name) => catalog::builtin(name).map_or(&[][..], |b| b.live_params()),
            Program::Command(_) => &[],
        };
        copy.params
            .retain(|name, _| !known.contains(&name.as_str()) && !live.contains(name));
        for output in &mut copy.outputs {
            // Who may connect from afar is the agent's business.
            output
                .groups
                .iter_mut()
                .for_each(|group| group.devices.clear());
        }
        for output in copy.outputs.iter_mut().filter(|_| self.broker.is_none()) {
            let stays = |group: &OutputGroup| group.qos.keeps_frames() || group.qos.wants_broker();
            output.groups.retain(stays);
        }
        hex(&Sha256::digest(
            serde_json::to_vec(&copy).unwrap_or_default(),
        ))
    }

    /// Whether one of its links goes through the device's own broker.
    pub fn needs_own_broker(&self) -> bool {
        let inputs = self.inputs.iter().map(|input| &input.qos);
        let groups = self.outputs.iter().flat_map(|output| &output.groups);
        let mut links = inputs.chain(groups.map(|group| &group.qos));
        self.broker.is_none() && links.any(|qos| qos.wants_broker())
    }

    /// The parameters that the node has to work with: what was set since wins.
    pub fn effective_params(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut params = self.params.clone();
        for (name, value) in &self.overrides {
            params.insert(name.clone(), value.clone());
        }
        params
    }

    /// Names the effective parameters, whatever their order.
    pub fn params_hash(&self) -> String {
        let sorted: BTreeMap<_, _> = self.effective_params().into_iter().collect();
        let digest = Sha256::digest(serde_json::to_vec(&sorted).unwrap_or_default());
        hex(&digest[..PARAMS_HASH_BYTES])
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance(program: &Program, params: &serde_json::Value) -> Instance {
        let json = json!({
            "id": "s.n.0", "system": "s", "node": "n", "replica": 0, "revision": 1,
            "program": program, "params": params, "stop_grace_ms": 1,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn live_parameters_and_overrides_never_restart_and_others_do() {
        let pattern = || Program::Builtin("pattern".into());
        let base = instance(&pattern(), &json!({"size": "64x64", "fps": 5}));
        let mut other = instance(&pattern(), &json!({"size": "64x64", "fps": 9}));
        other.overrides.insert("quality".into(), json!(3));
        assert_eq!(base.restart_hash(), other.restart_hash());
        assert_ne!(base.params_hash(), other.params_hash());
        other.models.insert("bolts".into());
        assert_eq!(base.restart_hash(), other.restart_hash());
        let bigger = instance(&pattern(), &json!({"size": "65x64", "fps": 5}));
        assert_ne!(base.restart_hash(), bigger.restart_hash());
    }

    #[test]
    fn what_a_command_declared_live_does_not_restart_it() {
        let run = || Program::Command(vec!["./count".into()]);
        let (a, b) = (
            instance(&run(), &json!({"gain": 1})),
            instance(&run(), &json!({"gain": 2})),
        );
        assert_ne!(a.restart_hash(), b.restart_hash());
        let live = BTreeSet::from(["gain".to_owned()]);
        assert_eq!(a.restart_hash_with(&live), b.restart_hash_with(&live));
    }

    #[test]
    fn the_hash_of_parameters_is_that_of_what_takes_effect() {
        let run = || Program::Command(Vec::new());
        let plain = instance(&run(), &json!({"a": 2, "b": 1}));
        let mut set = instance(&run(), &json!({"b": 1, "a": 0}));
        set.overrides.insert("a".into(), json!(2));
        assert_eq!(plain.params_hash(), set.params_hash());
        assert_eq!(set.effective_params()["a"], 2);
        assert!(!serde_json::to_string(&plain).unwrap().contains("overrides"));
    }
}
