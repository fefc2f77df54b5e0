//! A system as it is written in YAML: the shape that is serialised and that the JSON Schema
//! describes. The decoder reads the same shape; a test keeps the two in step.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    assignment::{Program, RestartPolicy},
    broker::Broker,
    placement::Placement,
    qos::{DEFAULT_ORDER_TIMEOUT_MS, LinkQos, OnFull, QosMode, Via},
    quantity::{format_bytes, format_duration_ms},
    system::{
        API_VERSION, DEFAULT_INPUT, DEFAULT_OUTPUT, DEFAULT_STOP_GRACE_MS, DEFAULT_TRACE_EVERY,
        KIND, Link, NodeSpec, System,
    },
};

/// A named pipeline: nodes, links and where it runs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "EdgeFlow System")]
pub(crate) struct SystemText {
    /// Version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(extend("const" = API_VERSION))]
    api_version: &'static str,
    /// What the document describes.
    #[schemars(extend("const" = KIND))]
    kind: &'static str,
    metadata: MetadataText,
    spec: SpecText,
}

/// Name and labels.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MetadataText {
    /// Name of the system: lower-case letters, digits and `-`.
    #[schemars(regex(pattern = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    name: String,
    /// Labels for people and tools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Option<BTreeMap<String, Plain>>")]
    labels: BTreeMap<String, String>,
}

/// What the system consists of.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SpecText {
    /// Which devices run it; without it, every device.
    #[serde(skip_serializing_if = "Option::is_none")]
    devices: Option<DevicesText>,
    /// How the devices are used: `copies`, a whole copy on each, or `spread`, one copy over all.
    #[serde(skip_serializing_if = "is_copies")]
    #[schemars(with = "Option<PlacementText>")]
    placement: Placement,
    /// What carries the links between nodes. `auto`: the device's own means, and its own broker for
    /// links with `via=broker`. `none`: no such links.
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<BrokerText>,
    /// Which frames tell of their way through the pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<TracingText>,
    /// The steps of the pipeline by name.
    #[schemars(extend("minProperties" = 1))]
    nodes: IndexMap<String, NodeText>,
    /// How frames travel between nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<LinkText>>")]
    links: Vec<LinkText>,
    /// Nodes that the dashboard offers live. Costs nothing while nobody looks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    views: Vec<String>,
}

/// Which frames tell of their way through the pipeline.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TracingText {
    /// How many frames of each source: `1/100` if left out; `0` for none.
    #[schemars(with = "SampleText")]
    sample: String,
}

/// One in so many, or none.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum SampleText {
    Share(#[schemars(regex(pattern = "^(0|1(/[1-9][0-9]*)?)$"))] String),
    All(#[schemars(range(min = 0, max = 1))] u32),
}

/// `1/100`, or `0` for none.
pub(crate) fn sample_text(every: u32) -> String {
    match every {
        0 => "0".to_owned(),
        every => format!("1/{every}"),
    }
}

/// A broker: a word, or a server.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum BrokerText {
    #[allow(
        dead_code,
        reason = "only in the schema: a system without a broker is written without the field"
    )]
    Word(BrokerWord),
    Server(Broker),
}

/// No broker of its own.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "only in the schema")]
enum BrokerWord {
    Auto,
    None,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "only its schema is used")]
enum PlacementText {
    /// A whole copy on each device.
    Copies,
    /// One copy over all devices.
    Spread,
}

/// Which devices run the system.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DevicesText {
    /// Labels that a device needs: `site=berlin,camera!=none`, `key in (a, b)`, `!key`.
    selector: String,
}

/// One step of the pipeline. Has either `use` or `run`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NodeText {
    /// A built-in node.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    uses: Option<String>,
    /// A command: program and arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    run: Option<Vec<String>>,
    /// Parameters for the node.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schemars(with = "Option<Map<String, Value>>")]
    with: Map<String, Value>,
    /// Environment variables for the process.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Option<BTreeMap<String, Plain>>")]
    env: BTreeMap<String, String>,
    /// Models that a `run` node uses, by the names of `edgeflow model list`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    models: Vec<String>,
    /// Which devices may run it, in a system with `placement: spread`: a selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    on: Option<String>,
    /// Copies on each device, or in all with `placement: spread`. They share the frames of each link.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(with = "Option<u32>", range(min = 1, max = 16))]
    replicas: u32,
    /// Input ports of a `run` node, `[in]` if left out, and of `fuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<Vec<String>>,
    /// Output ports of a `run` node; `[out]` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Vec<String>>,
    /// When the process is started again after it ended.
    #[serde(skip_serializing_if = "is_always")]
    #[schemars(with = "Option<RestartText>")]
    restart: RestartPolicy,
    /// Time to stop by itself before it is killed: `5s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_grace: Option<String>,
}

/// A value that is used as text.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum Plain {
    Text(String),
    Number(f64),
    Flag(bool),
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code, reason = "only its schema is used")]
enum RestartText {
    /// Whatever the exit code.
    Always,
    /// After a non-zero exit code or a signal.
    OnFailure,
    /// Never.
    Never,
}

/// A link, in one line or as a map.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum LinkText {
    /// `camera -> detect -> log [durable, window=128]`; `node.port` names a port.
    Compact(String),
    /// The same in fields.
    #[allow(dead_code, reason = "written compactly; this is its schema")]
    Fields(Box<LinkFields>),
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LinkFields {
    /// Producing node, or `node.port`.
    from: String,
    /// Consuming node, or `node.port`.
    to: String,
    /// What may be lost; `realtime` if left out.
    qos: Option<QosMode>,
    /// Realtime: older frames are dropped at the receiver. Balanced: frames that have waited longer
    /// are skipped. `500ms`.
    max_age: Option<String>,
    /// Balanced: frames that may wait before the older ones are skipped.
    #[schemars(range(min = 1, max = 65536))]
    max_lag: Option<u32>,
    /// Durable: frames that may wait in memory.
    #[schemars(range(min = 1, max = 65536))]
    window: Option<u32>,
    /// Durable and balanced: bytes that may wait in memory: `64MiB`.
    window_bytes: Option<String>,
    /// Durable: what a full window does; `spill` behind a live source, else `block`.
    on_full: Option<OnFull>,
    /// Durable with `on_full: spill`: bytes on disk at most: `2GiB`.
    spill: Option<String>,
    /// Durable and balanced: deliveries of one frame that may be lost to a dying consumer.
    #[schemars(range(min = 1, max = 1000))]
    max_deliveries: Option<u32>,
    /// Whether frames that went through replicas are put in order.
    ordered: Option<bool>,
    /// How long a frame waits for those before it: `500ms`.
    order_timeout: Option<String>,
    /// What carries it, in the place of the fastest way there is. `broker`: that of the system, or of the
    /// device where the system names none. `socket`: on a device never shared memory.
    via: Option<ViaText>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "only in the schema")]
enum ViaText {
    Auto,
    Broker,
    Socket,
}

fn is_one(replicas: &u32) -> bool {
    *replicas == 1
}

fn is_copies(placement: &Placement) -> bool {
    *placement == Placement::Copies
}

fn is_always(policy: &RestartPolicy) -> bool {
    *policy == RestartPolicy::Always
}

impl SystemText {
    pub(crate) fn to_yaml(&self) -> String {
        // Plain data with text keys can always be written.
        serde_norway::to_string(self).unwrap_or_default()
    }
}

impl From<&System> for SystemText {
    fn from(system: &System) -> Self {
        Self {
            api_version: API_VERSION,
            kind: KIND,
            metadata: MetadataText {
                name: system.metadata.name.clone(),
                labels: system.metadata.labels.clone(),
            },
            spec: SpecText {
                devices: (!system.devices.is_empty()).then(|| DevicesText {
                    selector: system.devices.to_string(),
                }),
                placement: system.placement,
                broker: system.broker.clone().map(BrokerText::Server),
                tracing: (system.trace_every != DEFAULT_TRACE_EVERY).then(|| TracingText {
                    sample: sample_text(system.trace_every),
                }),
                nodes: system
                    .nodes
                    .iter()
                    .map(|(name, node)| (name.clone(), NodeText::from(node)))
                    .collect(),
                links: system
                    .links
                    .iter()
                    .map(|link| LinkText::Compact(compact(link, system)))
                    .collect(),
                views: system.views.clone(),
            },
        }
    }
}

impl From<&NodeSpec> for NodeText {
    fn from(node: &NodeSpec) -> Self {
        let (uses, run) = match &node.program {
            Program::Builtin(name) => (Some(name.clone()), None),
            Program::Command(command) => (None, Some(command.clone())),
        };
        Self {
            uses,
            run,
            with: node.with.clone(),
            env: node.env.clone(),
            models: node.models.clone(),
            on: (!node.on.is_empty()).then(|| node.on.to_string()),
            replicas: node.replicas,
            inputs: node.inputs.clone(),
            outputs: node.outputs.clone(),
            restart: node.restart,
            stop_grace: (node.stop_grace_ms != DEFAULT_STOP_GRACE_MS)
                .then(|| format_duration_ms(node.stop_grace_ms)),
        }
    }
}

/// `camera -> detect [durable, window=128]`. Ports are left out only where reading the text back
/// gives the same ones.
fn compact(link: &Link, system: &System) -> String {
    let from_default = system
        .node(&link.from.node)
        .map_or_else(|| DEFAULT_OUTPUT.to_owned(), NodeSpec::default_output);
    let to_default = system
        .node(&link.to.node)
        .map_or_else(|| DEFAULT_INPUT.to_owned(), NodeSpec::default_input);
    let options = qos_options(&link.qos);
    let ends = format!(
        "{} -> {}",
        link.from.short(&from_default),
        link.to.short(&to_default)
    );
    if options.is_empty() {
        ends
    } else {
        format!("{ends} [{}]", options.join(", "))
    }
}

/// The options of a link that differ from realtime with its defaults.
pub(crate) fn qos_options(qos: &LinkQos) -> Vec<String> {
    let mut options = Vec::new();
    let defaults = LinkQos::new(qos.mode);
    if qos.mode != QosMode::Realtime {
        options.push(qos.mode.name().to_owned());
    }
    if qos.max_lag != defaults.max_lag {
        options.push(format!("max_lag={}", qos.max_lag));
    }
    if let Some(age) = qos.max_age_ms {
        options.push(format!("max_age={}", format_duration_ms(u64::from(age))));
    }
    if qos.window_frames != defaults.window_frames {
        options.push(format!("window={}", qos.window_frames));
    }
    if qos.window_bytes != defaults.window_bytes {
        options.push(format!("window_bytes={}", format_bytes(qos.window_bytes)));
    }
    if qos.on_full != defaults.on_full {
        options.push(format!("on_full={}", qos.on_full.name()));
    }
    if qos.spill_bytes != defaults.spill_bytes {
        options.push(format!("spill={}", format_bytes(qos.spill_bytes)));
    }
    if qos.max_deliveries != defaults.max_deliveries {
        options.push(format!("max_deliveries={}", qos.max_deliveries));
    }
    if qos.via != Via::Auto {
        options.push(format!("via={}", qos.via.name()));
    }
    match qos.order_timeout_ms {
        None => {}
        Some(DEFAULT_ORDER_TIMEOUT_MS) => options.push("ordered".to_owned()),
        Some(timeout_ms) => options.push(format!(
            "order_timeout={}",
            format_duration_ms(u64::from(timeout_ms))
        )),
    }
    options
}
