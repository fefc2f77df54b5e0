//! Rendering: from systems to the whole desired state of one device. Pure and deterministic; equal
//! inputs give equal bytes, so an unchanged device never gets a new generation.

use serde_json::{Map, Value};

use crate::{
    assignment::{Assignment, Input, Instance, Output, OutputGroup, Program},
    catalog::Builtin,
    device::DevicePlace,
    params::Overrides,
    system::{Link, NodeSpec, System},
    template,
};

/// A system with the revision that is to run.
#[derive(Clone, Copy, Debug)]
pub struct PlacedSystem<'a> {
    /// The system.
    pub system: &'a System,
    /// Its revision.
    pub revision: u64,
    /// Parameters that were set since.
    pub overrides: Option<&'a Overrides>,
}

/// The result of rendering.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// What the device has to run.
    pub assignment: Assignment,
    /// Labels that templates name and the device does not have; rendered as empty text.
    pub missing_labels: Vec<MissingLabel>,
}

/// A label that a template names and the device does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingLabel {
    /// System name.
    pub system: String,
    /// Node name.
    pub node: String,
    /// Label key.
    pub label: String,
}

/// What a device has to run. Systems whose selector does not match it are left out; of two systems
/// with the same name the one with the higher revision counts.
pub fn render(systems: &[PlacedSystem<'_>], device: &DevicePlace) -> Rendered {
    let mut placed: Vec<&PlacedSystem<'_>> = systems
        .iter()
        .filter(|placed| placed.system.devices.matches(&device.labels))
        .collect();
    placed.sort_by(|a, b| {
        let name = |p: &PlacedSystem<'_>| p.system.metadata.name.clone();
        name(a).cmp(&name(b)).then(b.revision.cmp(&a.revision))
    });
    placed.dedup_by(|a, b| a.system.metadata.name == b.system.metadata.name);

    let mut rendered = Rendered::default();
    for placed in placed {
        for name in placed.system.nodes.keys() {
            render_node(placed, name, device, &mut rendered);
        }
    }
    rendered
        .assignment
        .instances
        .sort_by(|a, b| a.id.cmp(&b.id));
    rendered.missing_labels.sort();
    rendered.missing_labels.dedup();
    rendered
}

/// The id of an instance: `system.node.replica`.
pub fn instance_id(system: &str, node: &str, replica: u32) -> String {
    format!("{system}.{node}.{replica}")
}

fn render_node(placed: &PlacedSystem<'_>, name: &str, device: &DevicePlace, out: &mut Rendered) {
    let system = placed.system;
    let Some(node) = system.node(name) else {
        return;
    };
    let system_name = &system.metadata.name;
    let missing = &mut out.missing_labels;
    let mut fill = |text: &str| {
        template::fill(text, device, &mut |label| {
            missing.push(MissingLabel {
                system: system_name.clone(),
                node: name.to_owned(),
                label: label.to_owned(),
            });
        })
    };
    let params = match node.builtin() {
        Some(builtin) => with_primary(builtin, node),
        None => node.with.clone(),
    };
    let first = Instance {
        id: String::new(),
        system: system_name.clone(),
        node: name.to_owned(),
        replica: 0,
        revision: placed.revision,
        program: match &node.program {
            Program::Builtin(uses) => Program::Builtin(uses.clone()),
            Program::Command(command) => {
                Program::Command(command.iter().map(|word| fill(word)).collect())
            }
        },
        env: node
            .env
            .iter()
            .map(|(key, value)| (key.clone(), fill(value)))
            .collect(),
        params: fill_map(params, &mut fill),
        overrides: placed
            .overrides
            .and_then(|all| all.get(name))
            .map(|set| fill_map(set.clone(), &mut fill))
            .unwrap_or_default(),
        inputs: inputs(system, name),
        outputs: outputs(system, name, node),
        broker: system.broker.clone(),
        restart: node.restart,
        stop_grace_ms: node.stop_grace_ms,
    };
    for replica in 0..node.replicas {
        out.assignment.instances.push(Instance {
            id: instance_id(system_name, name, replica),
            replica,
            ..first.clone()
        });
    }
}

/// Parameters with the defaults filled in. The first input that a manifest names is the primary
/// one: the order of `inputs:` is not in an assignment.
fn with_primary(builtin: &Builtin, node: &NodeSpec) -> Map<String, Value> {
    let mut params = builtin.with_defaults(&node.with);
    if builtin.names_inputs()
        && let Some(first) = node.input_ports().into_iter().next()
    {
        let primary = params.entry("primary".to_owned());
        primary.or_insert_with(|| first.into());
    }
    params
}

/// The links that arrive at a node, each from every replica of its producer, sorted so that the
/// order of the manifest does not matter.
fn inputs(system: &System, node: &str) -> Vec<Input> {
    let mut inputs: Vec<Input> = system
        .links_to(node)
        .map(|link| {
            let replicas = system
                .node(&link.from.node)
                .map_or(0, |producer| producer.replicas);
            Input {
                port: link.to.port.clone(),
                link: link.id(),
                group: node.to_owned(),
                qos: link.qos.clone(),
                from_port: link.from.port.clone(),
                from: (0..replicas)
                    .map(|replica| instance_id(&system.metadata.name, &link.from.node, replica))
                    .collect(),
                from_devices: Default::default(),
            }
        })
        .collect();
    inputs.sort_by(|a, b| (&a.port, &a.link).cmp(&(&b.port, &b.link)));
    inputs
}

/// Every output port of a node, linked or not: a live view may attach to any of them.
fn outputs(system: &System, name: &str, node: &NodeSpec) -> Vec<Output> {
    node.output_ports()
        .into_iter()
        .map(|port| {
            let mut groups: Vec<OutputGroup> = system
                .links_from(name)
                .filter(|link| link.from.port == port)
                .map(|link| group(link, node))
                .collect();
            groups.sort_by(|a, b| a.link.cmp(&b.link));
            Output { port, groups }
        })
        .collect()
}

fn group(link: &Link, producer: &NodeSpec) -> OutputGroup {
    let mut qos = link.qos.clone();
    // Told to spilling links only: nobody else asks, and others keep their hash.
    qos.live_source = qos.spills() && producer.is_live();
    OutputGroup {
        link: link.id(),
        group: link.to.node.clone(),
        qos,
    }
}

fn fill_map(map: Map<String, Value>, fill: &mut dyn FnMut(&str) -> String) -> Map<String, Value> {
    map.into_iter()
        .map(|(key, value)| (key, fill_value(value, fill)))
        .collect()
}

fn fill_value(value: Value, fill: &mut dyn FnMut(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(fill(&text)),
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| fill_value(item, fill))
                .collect(),
        ),
        Value::Object(map) => Value::Object(fill_map(map, fill)),
        other => other,
    }
}
