//! A system as the rest of EdgeFlow uses it: names resolved, defaults of the language filled in.
//! How it is written in YAML is the business of `text` and `decode`.

use std::{collections::BTreeMap, fmt};

use indexmap::IndexMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{
    assignment::{Program, RestartPolicy},
    broker::Broker,
    catalog::{self, ParamKind},
    placement::Placement,
    qos::LinkQos,
    selector::Selector,
    text::SystemText,
};

/// The `apiVersion` of a manifest.
pub const API_VERSION: &str = "edgeflow.dev/v1";
/// The `kind` of a manifest.
pub const KIND: &str = "System";
/// Input port of a node that names none.
pub const DEFAULT_INPUT: &str = "in";
/// Output port of a node that names none.
pub const DEFAULT_OUTPUT: &str = "out";
/// Most nodes in a system.
pub const MAX_NODES: usize = 64;
/// Most links in a system.
pub const MAX_LINKS: usize = 256;
/// Most replicas of a node in one copy of a system.
pub const MAX_REPLICAS: u32 = 16;
/// Most ports of one direction on a node.
pub const MAX_PORTS: usize = 16;
/// Time between the stop request and the kill unless the manifest says otherwise.
pub const DEFAULT_STOP_GRACE_MS: u64 = 5_000;
/// One in so many frames of a source is sampled unless the manifest says otherwise.
pub const DEFAULT_TRACE_EVERY: u32 = 100;
/// Fewest frames that may be sampled: one in so many.
pub const MAX_TRACE_EVERY: u32 = 1_000_000;
/// Longest `stop_grace`.
pub const MAX_STOP_GRACE_MS: u64 = 10 * 60 * 1000;

/// A named pipeline: nodes, links and where it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// Name and labels.
    pub metadata: Metadata,
    /// Which devices run it. Empty: every device.
    pub devices: Selector,
    /// Whether each of them runs a whole copy.
    pub placement: Placement,
    /// What carries the links; without it, sockets and shared memory of the device.
    pub broker: Option<Broker>,
    /// One in so many frames of its sources is sampled for tracing; 0: none.
    pub trace_every: u32,
    /// Nodes by name, in the order of the manifest.
    pub nodes: IndexMap<String, NodeSpec>,
    /// Links, chains taken apart.
    pub links: Vec<Link>,
    /// Nodes that the dashboard offers live.
    pub views: Vec<String>,
}

/// Name and labels of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Unique on the control plane.
    pub name: String,
    /// For people and tools; the planner ignores them.
    pub labels: BTreeMap<String, String>,
}

/// One step of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    /// `use:` or `run:`.
    pub program: Program,
    /// Parameters as written, without the defaults of built-in nodes.
    pub with: Map<String, Value>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Models of a `run` node, by the names that the control plane keeps them under.
    pub models: Vec<String>,
    /// Copies on each device, or over all devices of a spread system; at least 1.
    pub replicas: u32,
    /// Spread systems: which of the devices may run it. Empty: all of them.
    pub on: Selector,
    /// Declared input ports; `None`: the usual ones.
    pub inputs: Option<Vec<String>>,
    /// Declared output ports; `None`: the usual ones.
    pub outputs: Option<Vec<String>>,
    /// What to do when the process ends.
    pub restart: RestartPolicy,
    /// Time between the stop request and the kill, milliseconds.
    pub stop_grace_ms: u64,
}

/// An edge between an output port and an input port.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Producing side.
    pub from: PortRef,
    /// Consuming side.
    pub to: PortRef,
    /// Quality of service.
    pub qos: LinkQos,
}

/// A port of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRef {
    /// Node name.
    pub node: String,
    /// Port name.
    pub port: String,
}

impl System {
    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&NodeSpec> {
        self.nodes.get(name)
    }

    /// The links that leave a node.
    pub fn links_from<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Link> {
        self.links.iter().filter(move |link| link.from.node == node)
    }

    /// The links that arrive at a node.
    pub fn links_to<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Link> {
        self.links.iter().filter(move |link| link.to.node == node)
    }

    /// The manifest as YAML. Reading it back gives the same system.
    pub fn to_yaml(&self) -> String {
        SystemText::from(self).to_yaml()
    }
}

impl Serialize for System {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SystemText::from(self).serialize(serializer)
    }
}

impl NodeSpec {
    /// A node with nothing but a program.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            with: Map::new(),
            env: BTreeMap::new(),
            models: Vec::new(),
            replicas: 1,
            on: Selector::default(),
            inputs: None,
            outputs: None,
            restart: RestartPolicy::default(),
            stop_grace_ms: DEFAULT_STOP_GRACE_MS,
        }
    }

    /// The built-in node that it uses, if it is a known one.
    pub fn builtin(&self) -> Option<&'static catalog::Builtin> {
        match &self.program {
            Program::Builtin(name) => catalog::builtin(name),
            Program::Command(_) => None,
        }
    }

    /// Models that it names: in parameters of a built-in node, under `models` of a command. May hold
    /// templates.
    pub fn model_names(&self) -> impl Iterator<Item = &str> {
        let params = self.builtin().map_or(&[][..], |builtin| builtin.params);
        let params = params.iter().filter(|it| it.kind == ParamKind::Model);
        let named = params.filter_map(|it| self.with.get(it.name)?.as_str());
        named.chain(self.models.iter().map(String::as_str))
    }

    /// Whether it reads a source that does not wait, as far as is known.
    pub fn is_live(&self) -> bool {
        self.builtin()
            .is_some_and(|builtin| builtin.is_live(&self.with))
    }

    /// Names of its input ports.
    pub fn input_ports(&self) -> Vec<String> {
        match self.builtin() {
            Some(builtin) if builtin.names_inputs() => self.inputs.clone().unwrap_or_default(),
            Some(builtin) => builtin.inputs.iter().map(|p| p.name.to_owned()).collect(),
            None => self
                .inputs
                .clone()
                .unwrap_or_else(|| vec![DEFAULT_INPUT.to_owned()]),
        }
    }

    /// Names of its output ports.
    pub fn output_ports(&self) -> Vec<String> {
        match self.builtin() {
            Some(builtin) => builtin.outputs.iter().map(|p| p.name.to_owned()).collect(),
            None => self
                .outputs
                .clone()
                .unwrap_or_else(|| vec![DEFAULT_OUTPUT.to_owned()]),
        }
    }

    /// The port that a link means when it names none at its start: the only output, or `out`.
    pub(crate) fn default_output(&self) -> String {
        only_or(self.output_ports(), DEFAULT_OUTPUT)
    }

    /// The port that a link means when it names none at its end: the only input, or `in`.
    pub(crate) fn default_input(&self) -> String {
        only_or(self.input_ports(), DEFAULT_INPUT)
    }
}

fn only_or(mut ports: Vec<String>, default: &str) -> String {
    match ports.pop() {
        Some(only) if ports.is_empty() => only,
        _ => default.to_owned(),
    }
}

impl Link {
    /// `from.port->to.port`, with the ports `out` and `in` left out.
    pub fn id(&self) -> String {
        format!(
            "{}->{}",
            self.from.short(DEFAULT_OUTPUT),
            self.to.short(DEFAULT_INPUT)
        )
    }
}

impl PortRef {
    /// A port of a node.
    pub fn new(node: impl Into<String>, port: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            port: port.into(),
        }
    }

    /// `node`, or `node.port` if the port is not `default`.
    pub(crate) fn short(&self, default: &str) -> String {
        if self.port == default {
            self.node.clone()
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.node, self.port)
    }
}
