//! Builds the same systems in Rust that a manifest describes, with the same checks at the end.
//!
//! ```
//! use edgeflow_spec::builder::{QosMode::Realtime, SystemBuilder};
//!
//! let mut system = SystemBuilder::new("entrance");
//! let camera = system.node("camera").uses("pattern").param("fps", 30);
//! let motion = system.node("motion").uses("motion");
//! let log = system.node("log").uses("log");
//! system.link(&camera).to(&motion).qos(Realtime).to(&log);
//! system.view(&motion);
//! let system = system.build()?;
//! assert_eq!(system.links.len(), 2);
//! # Ok::<(), edgeflow_spec::Invalid>(())
//! ```

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::{
    assignment::{Program, RestartPolicy},
    broker::{Broker, check_address},
    placement::Placement,
    problem::{Invalid, Problem, Severity},
    qos::LinkQos,
    selector::Selector,
    source::{Mark, Marks, Source},
    system::{
        DEFAULT_INPUT, DEFAULT_OUTPUT, DEFAULT_TRACE_EVERY, Link, MAX_TRACE_EVERY, Metadata,
        NodeSpec, PortRef, System,
    },
    validate,
};

pub use crate::qos::{OnFull, QosMode, Via};

/// A system in the making.
#[derive(Debug)]
pub struct SystemBuilder {
    name: String,
    labels: BTreeMap<String, String>,
    selector: String,
    placement: Placement,
    broker: Option<Broker>,
    trace_every: u32,
    draft: Rc<RefCell<Draft>>,
    links: Vec<DraftLink>,
    views: Vec<String>,
}

#[derive(Debug, Default)]
struct Draft {
    nodes: IndexMap<String, DraftNode>,
    repeated: Vec<String>,
}

#[derive(Debug, Default)]
struct DraftNode {
    program: Option<Program>,
    with: Map<String, Value>,
    env: BTreeMap<String, String>,
    models: Vec<String>,
    replicas: Option<u32>,
    on: String,
    inputs: Option<Vec<String>>,
    outputs: Option<Vec<String>>,
    restart: RestartPolicy,
    stop_grace_ms: Option<u64>,
}

#[derive(Debug)]
struct DraftLink {
    from: Endpoint,
    to: Endpoint,
    qos: LinkQos,
    /// As said; decided when the producer is known.
    on_full: Option<OnFull>,
}

/// A node in the making. Cheap to copy; all copies mean the same node.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    name: String,
    draft: Rc<RefCell<Draft>>,
}

/// One end of a link: a node, or one of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    node: String,
    port: Option<String>,
}

/// A chain of links in the making.
#[derive(Debug)]
pub struct LinkChain<'a> {
    links: &'a mut Vec<DraftLink>,
    at: Endpoint,
    /// Whether `to` was called, so that `qos` has a link to apply to.
    has_link: bool,
}

impl SystemBuilder {
    /// Starts a system.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            labels: BTreeMap::new(),
            selector: String::new(),
            placement: Placement::default(),
            broker: None,
            trace_every: DEFAULT_TRACE_EVERY,
            draft: Rc::default(),
            links: Vec::new(),
            views: Vec::new(),
        }
    }

    /// Adds a label.
    pub fn label(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Says which devices run it; without it, every device.
    pub fn devices(&mut self, selector: impl Into<String>) -> &mut Self {
        self.selector = selector.into();
        self
    }

    /// One copy over all its devices, instead of a whole copy on each.
    pub fn spread(&mut self) -> &mut Self {
        self.placement = Placement::Spread;
        self
    }

    /// Says what carries the links; without it, the device's own means.
    pub fn broker(&mut self, broker: Broker) -> &mut Self {
        self.broker = Some(broker);
        self
    }

    /// Samples one in so many frames of each source for tracing; 0: none.
    pub fn trace_every(&mut self, every: u32) -> &mut Self {
        self.trace_every = every;
        self
    }

    /// Adds a node. Say what it runs with [`NodeHandle::uses`] or [`NodeHandle::run`].
    pub fn node(&mut self, name: impl Into<String>) -> NodeHandle {
        let name = name.into();
        let mut draft = self.draft.borrow_mut();
        if draft.nodes.contains_key(&name) {
            draft.repeated.push(name.clone());
        }
        draft.nodes.entry(name.clone()).or_default();
        NodeHandle {
            name,
            draft: Rc::clone(&self.draft),
        }
    }

    /// Starts a chain of links.
    pub fn link(&mut self, from: impl Into<Endpoint>) -> LinkChain<'_> {
        LinkChain {
            links: &mut self.links,
            at: from.into(),
            has_link: false,
        }
    }

    /// Offers a node live in the dashboard.
    pub fn view(&mut self, node: impl Into<Endpoint>) -> &mut Self {
        self.views.push(node.into().node);
        self
    }

    /// Checks everything and makes the system.
    pub fn build(&self) -> Result<System, Invalid> {
        let source = Source::new("", "");
        let mut problems = Vec::new();
        let mut problem = |code, message: String| {
            problems.push(source.problem(code, Severity::Error, Mark::default(), message, ""));
        };
        let draft = self.draft.borrow();
        for name in &draft.repeated {
            problem("duplicate-key", format!("node `{name}` is added twice"));
        }
        let devices = Selector::parse(&self.selector).unwrap_or_else(|error| {
            problem("invalid-selector", error.message);
            Selector::default()
        });
        if let Some(Err(error)) = self.broker.as_ref().map(|b| check_address(&b.redis)) {
            problem(
                "invalid-broker",
                format!("the address of the broker can't be used: {error}"),
            );
        }
        let mut marks = Marks::default();
        let mut nodes = IndexMap::new();
        for (name, node) in &draft.nodes {
            let draft_on = node.on.as_str();
            match node.build() {
                Some(mut node) => {
                    node.on = Selector::parse(draft_on).unwrap_or_else(|error| {
                        problem("invalid-selector", error.message);
                        Selector::default()
                    });
                    nodes.insert(name.clone(), node);
                }
                None => {
                    marks.set_broken(name);
                    problem(
                        "missing-field",
                        format!("node `{name}` needs `uses` or `run`"),
                    );
                }
            }
        }
        let links = self.links.iter().map(|link| link.build(&nodes)).collect();
        let metadata = Metadata {
            name: self.name.clone(),
            labels: self.labels.clone(),
        };
        let system = System {
            metadata,
            devices,
            placement: self.placement,
            broker: self.broker.clone(),
            trace_every: self.trace_every.min(MAX_TRACE_EVERY),
            nodes,
            links,
            views: self.views.clone(),
        };
        problems.extend(validate::validate(&system, &marks, &source));
        if problems.iter().any(Problem::is_error) {
            return Err(Invalid { problems });
        }
        Ok(system)
    }
}

impl DraftNode {
    fn build(&self) -> Option<NodeSpec> {
        let mut node = NodeSpec::new(self.program.clone()?);
        node.with = self.with.clone();
        node.env = self.env.clone();
        node.models = self.models.clone();
        node.replicas = self.replicas.unwrap_or(1);
        node.inputs = self.inputs.clone();
        node.outputs = self.outputs.clone();
        node.restart = self.restart;
        node.stop_grace_ms = self.stop_grace_ms.unwrap_or(node.stop_grace_ms);
        Some(node)
    }
}

impl DraftLink {
    fn build(&self, nodes: &IndexMap<String, NodeSpec>) -> Link {
        let end = |end: &Endpoint, default: &str, of: fn(&NodeSpec) -> String| {
            let port = end
                .port
                .clone()
                .unwrap_or_else(|| nodes.get(&end.node).map_or_else(|| default.to_owned(), of));
            PortRef::new(end.node.clone(), port)
        };
        let mut qos = self.qos.clone();
        if qos.mode == QosMode::Durable {
            let live = nodes.get(&self.from.node).is_some_and(NodeSpec::is_live);
            let default = if live { OnFull::Spill } else { OnFull::Block };
            qos.on_full = self.on_full.unwrap_or(default);
        }
        Link {
            from: end(&self.from, DEFAULT_OUTPUT, NodeSpec::default_output),
            to: end(&self.to, DEFAULT_INPUT, NodeSpec::default_input),
            qos,
        }
    }
}

impl NodeHandle {
    /// Runs a built-in node.
    pub fn uses(self, builtin: impl Into<String>) -> Self {
        let program = Program::Builtin(builtin.into());
        self.change(|node| node.program = Some(program))
    }

    /// Runs a command: program and arguments.
    pub fn run<T: Into<String>>(self, command: impl IntoIterator<Item = T>) -> Self {
        let program = Program::Command(command.into_iter().map(Into::into).collect());
        self.change(|node| node.program = Some(program))
    }

    /// Sets a parameter.
    pub fn param(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.change(|node| {
            node.with.insert(name, value);
        })
    }

    /// Sets an environment variable.
    pub fn env(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.change(|node| {
            node.env.insert(name, value);
        })
    }

    /// Has a model brought to its devices, by the name that the control plane keeps it under.
    pub fn model(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.change(|node| node.models.push(name))
    }

    /// Runs several copies, which share the frames: on each device, or over those of a spread system.
    pub fn replicas(self, replicas: u32) -> Self {
        self.change(|node| node.replicas = Some(replicas))
    }

    /// Says which devices of a spread system may run it.
    pub fn on(self, selector: impl Into<String>) -> Self {
        let selector = selector.into();
        self.change(|node| node.on = selector)
    }

    /// Names the input ports of a `run` node.
    pub fn inputs<T: Into<String>>(self, ports: impl IntoIterator<Item = T>) -> Self {
        let ports = ports.into_iter().map(Into::into).collect();
        self.change(|node| node.inputs = Some(ports))
    }

    /// Names the output ports of a `run` node.
    pub fn outputs<T: Into<String>>(self, ports: impl IntoIterator<Item = T>) -> Self {
        let ports = ports.into_iter().map(Into::into).collect();
        self.change(|node| node.outputs = Some(ports))
    }

    /// Says when the process is started again after it ended.
    pub fn restart(self, policy: RestartPolicy) -> Self {
        self.change(|node| node.restart = policy)
    }

    /// Time to stop by itself before it is killed, milliseconds.
    pub fn stop_grace_ms(self, grace_ms: u64) -> Self {
        self.change(|node| node.stop_grace_ms = Some(grace_ms))
    }

    /// One of its ports, as an end of a link.
    pub fn port(&self, port: impl Into<String>) -> Endpoint {
        Endpoint {
            node: self.name.clone(),
            port: Some(port.into()),
        }
    }

    fn change(self, change: impl FnOnce(&mut DraftNode)) -> Self {
        if let Some(node) = self.draft.borrow_mut().nodes.get_mut(&self.name) {
            change(node);
        }
        self
    }
}

impl LinkChain<'_> {
    /// Links to a node, or to one of its ports; the next `to` goes on from there.
    pub fn to(mut self, to: impl Into<Endpoint>) -> Self {
        let to = to.into();
        let next = Endpoint {
            node: to.node.clone(),
            port: None,
        };
        let from = std::mem::replace(&mut self.at, next);
        self.links.push(DraftLink {
            from,
            to,
            qos: LinkQos::realtime(),
            on_full: None,
        });
        self.has_link = true;
        self
    }

    /// Sets the policy of the last link, with its default limits.
    pub fn qos(self, mode: QosMode) -> Self {
        self.change(|qos| *qos = LinkQos::new(mode))
    }

    /// Drops frames older than this at the receiver of the last link, or skips those that have
    /// waited longer. For realtime and balanced links.
    pub fn max_age_ms(self, age_ms: u32) -> Self {
        self.change(|qos| qos.max_age_ms = Some(age_ms))
    }

    /// Frames that may wait on the last link. For durable links.
    pub fn window(self, frames: u32) -> Self {
        self.change(|qos| qos.window_frames = frames)
    }

    /// Puts frames that went through replicas in order; a frame waits for those before it for this
    /// long at most.
    pub fn ordered(self, timeout_ms: u32) -> Self {
        self.change(|qos| qos.order_timeout_ms = Some(timeout_ms))
    }

    /// Frames that may wait on the last link before the older ones are skipped. For balanced links.
    pub fn max_lag(self, frames: u32) -> Self {
        self.change(|qos| qos.max_lag = frames)
    }

    /// What a full window of the last link does: unless it is said, `spill` behind a live source
    /// and `block` elsewhere. For durable links.
    pub fn on_full(self, policy: OnFull) -> Self {
        if self.has_link
            && let Some(link) = self.links.last_mut()
        {
            link.on_full = Some(policy);
        }
        self
    }

    /// Bytes that the last link may keep on disk. For durable links that spill.
    pub fn spill_bytes(self, bytes: u64) -> Self {
        self.change(|qos| qos.spill_bytes = bytes)
    }

    /// Deliveries of one frame that may be lost to a dying consumer of the last link. For durable
    /// and balanced links.
    pub fn max_deliveries(self, deliveries: u32) -> Self {
        self.change(|qos| qos.max_deliveries = deliveries)
    }

    /// Says what carries the last link. After `qos`.
    pub fn via(self, via: Via) -> Self {
        self.change(|qos| qos.via = via)
    }

    fn change(self, change: impl FnOnce(&mut LinkQos)) -> Self {
        if self.has_link
            && let Some(link) = self.links.last_mut()
        {
            change(&mut link.qos);
        }
        self
    }
}

impl From<&NodeHandle> for Endpoint {
    fn from(node: &NodeHandle) -> Self {
        Self {
            node: node.name.clone(),
            port: None,
        }
    }
}

impl From<&Endpoint> for Endpoint {
    fn from(end: &Endpoint) -> Self {
        end.clone()
    }
}

impl From<&str> for Endpoint {
    fn from(text: &str) -> Self {
        match text.split_once('.') {
            Some((node, port)) => Self {
                node: node.to_owned(),
                port: Some(port.to_owned()),
            },
            None => Self {
                node: text.to_owned(),
                port: None,
            },
        }
    }
}
