//! What an apply would change: between two revisions of a system, and on a device. Pure; nothing
//! here decides to change anything.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    assignment::{Assignment, Instance, Program, RestartPolicy},
    placement::{Spots, node_of},
    qos::{LinkQos, QosMode, Via},
    quantity::format_duration_ms,
    system::{Link, NodeSpec, System},
    text::{qos_options, sample_text},
};

/// Longest value that a detail shows, in characters.
const MAX_SHOWN_VALUE: usize = 60;
/// Lines of context in a manifest diff.
const DIFF_CONTEXT: usize = 3;

/// What happens to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Stays as it is.
    Keep,
    /// Is new.
    Add,
    /// Is there, and becomes different.
    Change,
    /// Goes away.
    Remove,
}

/// The difference between two revisions of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SystemDiff {
    /// Nodes: those of the new revision in its order, then removed ones.
    pub nodes: Vec<NodeChange>,
    /// Links, in the same way.
    pub links: Vec<LinkChange>,
    /// Other differences: `devices.selector: "" -> "site=berlin"`.
    pub settings: Vec<String>,
}

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeChange {
    /// Node name.
    pub node: String,
    /// What happens.
    pub action: Action,
    /// `with.fps: 10 -> 15`.
    pub details: Vec<String>,
}

/// What happens to a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkChange {
    /// Link id.
    pub id: String,
    /// What happens.
    pub action: Action,
    /// Policy after the change; before it, for a removed link.
    pub qos: QosMode,
    /// Transport that carries it.
    pub transport: String,
    /// Why that transport.
    pub transport_reason: String,
    /// `qos: realtime -> durable`.
    pub details: Vec<String>,
}

/// How a link is carried, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Transport {
    /// `shm`, `tcp` or `redis`.
    pub name: &'static str,
    /// In words.
    pub reason: &'static str,
}

/// What happens to an instance on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceChange {
    /// Instance id.
    pub instance: String,
    /// Keep, add (start), change (restart) or remove (stop).
    pub action: Action,
    /// Why, in words; for keep the parameters that it takes while it runs.
    pub reason: String,
}

impl SystemDiff {
    /// Whether nothing at all changes.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
            && self
                .nodes
                .iter()
                .all(|change| change.action == Action::Keep)
            && self
                .links
                .iter()
                .all(|change| change.action == Action::Keep)
    }
}

/// What carries a link. `spots` says where the instances of a spread system run.
pub fn transport(system: &System, link: &Link, spots: Option<&Spots>) -> Transport {
    if system.broker.is_some() {
        return Transport {
            name: "redis",
            reason: "`broker` names a server",
        };
    }
    if link.qos.wants_broker() {
        return Transport {
            name: "redis",
            reason: "`via=broker`: the device's own redis-server",
        };
    }
    let devices = |node: &str| -> BTreeSet<&str> {
        let spots = spots.into_iter().flatten();
        spots
            .filter(|(id, _)| node_of(id) == node)
            .map(|(_, spot)| spot.id.as_str())
            .collect()
    };
    let (from, to) = (devices(&link.from.node), devices(&link.to.node));
    if from.is_disjoint(&to) && !(from.is_empty() || to.is_empty()) {
        return Transport {
            name: "tcp",
            reason: "the nodes run on different devices",
        };
    }
    if from.union(&to).count() > 1 {
        return Transport {
            name: "tcp",
            reason: "replicas run on several devices; those on one device use shm",
        };
    }
    if link.qos.via == Via::Socket {
        return Transport {
            name: "unix",
            reason: "`via=socket`",
        };
    }
    Transport {
        name: "shm",
        reason: "both nodes run on the same device",
    }
}

/// The difference between two revisions; `None` means that there is no such revision.
pub fn diff(old: Option<&System>, new: Option<&System>, spots: Option<&Spots>) -> SystemDiff {
    SystemDiff {
        nodes: diff_nodes(old, new),
        links: diff_links(old, new, spots),
        settings: match (old, new) {
            (Some(old), Some(new)) => diff_settings(old, new),
            _ => Vec::new(),
        },
    }
}

fn diff_nodes(old: Option<&System>, new: Option<&System>) -> Vec<NodeChange> {
    let change = |node: &str, action, details| NodeChange {
        node: node.to_owned(),
        action,
        details,
    };
    let mut changes = Vec::new();
    for (name, node) in new.iter().flat_map(|system| &system.nodes) {
        changes.push(match old.and_then(|system| system.node(name)) {
            None => change(name, Action::Add, Vec::new()),
            Some(before) => {
                let details = node_details(before, node);
                let action = if details.is_empty() {
                    Action::Keep
                } else {
                    Action::Change
                };
                change(name, action, details)
            }
        });
    }
    for name in old.iter().flat_map(|system| system.nodes.keys()) {
        if new.is_none_or(|system| system.node(name).is_none()) {
            changes.push(change(name, Action::Remove, Vec::new()));
        }
    }
    changes
}

fn diff_links(
    old: Option<&System>,
    new: Option<&System>,
    spots: Option<&Spots>,
) -> Vec<LinkChange> {
    let change = |link: &Link, action, details| {
        let system = new.or(old);
        let transport = system.map(|system| transport(system, link, spots));
        let transport = transport.unwrap_or_default();
        LinkChange {
            id: link.id(),
            action,
            qos: link.qos.mode,
            transport: transport.name.to_owned(),
            transport_reason: transport.reason.to_owned(),
            details,
        }
    };
    let find = |system: Option<&System>, id: &str| -> Option<Link> {
        system.and_then(|s| s.links.iter().find(|link| link.id() == id).cloned())
    };
    let mut changes = Vec::new();
    for link in new.iter().flat_map(|system| &system.links) {
        changes.push(match find(old, &link.id()) {
            None => change(link, Action::Add, Vec::new()),
            Some(before) if before.qos == link.qos => change(link, Action::Keep, Vec::new()),
            Some(before) => change(
                link,
                Action::Change,
                vec![format!(
                    "qos: {} -> {}",
                    qos_words(&before.qos),
                    qos_words(&link.qos)
                )],
            ),
        });
    }
    for link in old.iter().flat_map(|system| &system.links) {
        if find(new, &link.id()).is_none() {
            changes.push(change(link, Action::Remove, Vec::new()));
        }
    }
    changes
}

fn diff_settings(old: &System, new: &System) -> Vec<String> {
    let mut details = Vec::new();
    detail(
        &mut details,
        "devices.selector",
        &format!("{:?}", old.devices.to_string()),
        &format!("{:?}", new.devices.to_string()),
    );
    detail(
        &mut details,
        "placement",
        old.placement.name(),
        new.placement.name(),
    );
    map_details(
        &mut details,
        "labels",
        &old.metadata.labels,
        &new.metadata.labels,
    );
    let address = |system: &System| {
        let broker = system.broker.as_ref();
        broker.map_or("none".to_owned(), |broker| broker.redis.clone())
    };
    detail(&mut details, "broker", &address(old), &address(new));
    let sample = |system: &System| sample_text(system.trace_every);
    detail(&mut details, "tracing.sample", &sample(old), &sample(new));
    detail(&mut details, "views", &list(&old.views), &list(&new.views));
    details
}

fn node_details(old: &NodeSpec, new: &NodeSpec) -> Vec<String> {
    let mut details = Vec::new();
    detail(
        &mut details,
        "program",
        &program_words(&old.program),
        &program_words(&new.program),
    );
    param_details(&mut details, &old.with, &new.with);
    map_details(&mut details, "env", &old.env, &new.env);
    detail(
        &mut details,
        "models",
        &list(&old.models),
        &list(&new.models),
    );
    detail(
        &mut details,
        "replicas",
        &old.replicas.to_string(),
        &new.replicas.to_string(),
    );
    detail(&mut details, "on", &old.on.to_string(), &new.on.to_string());
    detail(
        &mut details,
        "inputs",
        &list(&old.input_ports()),
        &list(&new.input_ports()),
    );
    detail(
        &mut details,
        "outputs",
        &list(&old.output_ports()),
        &list(&new.output_ports()),
    );
    detail(
        &mut details,
        "restart",
        restart_words(old.restart),
        restart_words(new.restart),
    );
    detail(
        &mut details,
        "stop_grace",
        &format_duration_ms(old.stop_grace_ms),
        &format_duration_ms(new.stop_grace_ms),
    );
    details
}

/// What changes on a device, sorted by instance id.
pub fn diff_assignments(old: &Assignment, new: &Assignment) -> Vec<InstanceChange> {
    diff_assignments_with(old, new, |_| BTreeSet::new())
}

/// The same, where `live` names the parameters that a running instance declared live.
pub fn diff_assignments_with(
    old: &Assignment,
    new: &Assignment,
    live: impl Fn(&Instance) -> BTreeSet<String>,
) -> Vec<InstanceChange> {
    let same = |old: &Instance, new: &Instance| {
        let live = live(old);
        old.restart_hash_with(&live) == new.restart_hash_with(&live)
    };
    let by_id = |assignment: &Assignment| -> BTreeMap<String, Instance> {
        assignment
            .instances
            .iter()
            .map(|i| (i.id.clone(), i.clone()))
            .collect()
    };
    let (before, after) = (by_id(old), by_id(new));
    let ids: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    ids.into_iter()
        .map(|id| {
            let (action, reason) = match (before.get(id), after.get(id)) {
                (Some(old), Some(new)) if same(old, new) => {
                    let mut details = Vec::new();
                    param_details(
                        &mut details,
                        &old.effective_params(),
                        &new.effective_params(),
                    );
                    (Action::Keep, details.join("; "))
                }
                (Some(old), Some(new)) => (Action::Change, restart_reason(old, new)),
                (None, _) => (Action::Add, "is new on this device".to_owned()),
                (_, None) => (
                    Action::Remove,
                    "is no longer wanted on this device".to_owned(),
                ),
            };
            InstanceChange {
                instance: id.clone(),
                action,
                reason,
            }
        })
        .collect()
}

/// Why an instance has to be restarted: `with.fps: 10 -> 15; env.TZ: added`.
fn restart_reason(old: &Instance, new: &Instance) -> String {
    let mut details = Vec::new();
    detail(
        &mut details,
        "program",
        &program_words(&old.program),
        &program_words(&new.program),
    );
    param_details(
        &mut details,
        &old.effective_params(),
        &new.effective_params(),
    );
    map_details(&mut details, "env", &old.env, &new.env);
    let links = |instance: &Instance| -> BTreeMap<String, String> {
        let key = |input: &crate::assignment::Input| {
            (
                input.link.clone(),
                format!("{} from {}", qos_words(&input.qos), list(&input.from)),
            )
        };
        instance.inputs.iter().map(key).collect()
    };
    map_details(&mut details, "input", &links(old), &links(new));
    let outputs = |instance: &Instance| -> BTreeMap<String, String> {
        let groups = instance.outputs.iter().flat_map(|output| &output.groups);
        groups
            .filter(|group| group.qos.keeps_frames())
            .map(|group| (group.link.clone(), qos_words(&group.qos)))
            .collect()
    };
    map_details(&mut details, "output", &outputs(old), &outputs(new));
    let ports = |instance: &Instance| {
        list(
            &instance
                .outputs
                .iter()
                .map(|output| output.port.clone())
                .collect::<Vec<_>>(),
        )
    };
    detail(&mut details, "outputs", &ports(old), &ports(new));
    detail(
        &mut details,
        "restart",
        restart_words(old.restart),
        restart_words(new.restart),
    );
    detail(
        &mut details,
        "stop_grace",
        &format_duration_ms(old.stop_grace_ms),
        &format_duration_ms(new.stop_grace_ms),
    );
    if details.is_empty() {
        "its definition changed".to_owned()
    } else {
        details.join("; ")
    }
}

/// The manifests' differences line by line, in unified form; empty if there are none.
pub fn manifest_diff(old: &str, new: &str) -> String {
    similar::TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(DIFF_CONTEXT)
        .to_string()
}

fn detail(details: &mut Vec<String>, name: &str, old: &str, new: &str) {
    if old != new {
        details.push(format!("{name}: {} -> {}", shown(old), shown(new)));
    }
}

fn param_details(details: &mut Vec<String>, old: &Map<String, Value>, new: &Map<String, Value>) {
    let texts = |map: &Map<String, Value>| -> BTreeMap<String, String> {
        map.iter()
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect()
    };
    map_details(details, "with", &texts(old), &texts(new));
}

fn map_details(
    details: &mut Vec<String>,
    name: &str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        match (old.get(key), new.get(key)) {
            (Some(before), Some(after)) => detail(details, &format!("{name}.{key}"), before, after),
            (None, Some(after)) => details.push(format!("{name}.{key}: added {}", shown(after))),
            (_, None) => details.push(format!("{name}.{key}: removed")),
        }
    }
}

fn shown(value: &str) -> String {
    if value.chars().count() <= MAX_SHOWN_VALUE {
        return value.to_owned();
    }
    let head: String = value.chars().take(MAX_SHOWN_VALUE).collect();
    format!("{head}…")
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

fn program_words(program: &Program) -> String {
    match program {
        Program::Builtin(name) => format!("use {name}"),
        Program::Command(command) => format!("run {}", command.join(" ")),
    }
}

fn restart_words(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::Never => "never",
    }
}

fn qos_words(qos: &LinkQos) -> String {
    let options = qos_options(qos);
    match qos.mode {
        QosMode::Realtime if options.is_empty() => "realtime".to_owned(),
        QosMode::Realtime => format!("realtime, {}", options.join(", ")),
        QosMode::Durable | QosMode::Balanced => options.join(", "),
    }
}
