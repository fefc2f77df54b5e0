//! Rendering: from systems to the whole desired state of one device. Pure and deterministic; equal
//! inputs give equal bytes, so an unchanged device never gets a new generation.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::{
    assignment::{Assignment, Input, Instance, Model, Output, OutputGroup, Program, Remote},
    catalog::Builtin,
    device::DevicePlace,
    params::Overrides,
    placement::{Spot, Spots},
    system::{DEFAULT_TRACE_EVERY, Link, NodeSpec, System},
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
    /// Of a spread system: where its instances run.
    pub spots: Option<&'a Spots>,
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
pub fn render(
    systems: &[PlacedSystem<'_>],
    models: &BTreeMap<String, Model>,
    device: &DevicePlace,
) -> Rendered {
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
    keep_models(models, &mut rendered.assignment);
    rendered
        .assignment
        .instances
        .sort_by(|a, b| a.id.cmp(&b.id));
    rendered.missing_labels.sort();
    rendered.missing_labels.dedup();
    rendered
}

/// Adds the models that instances name and the control plane keeps. Other names are the device's own
/// files.
fn keep_models(models: &BTreeMap<String, Model>, assignment: &mut Assignment) {
    for instance in &mut assignment.instances {
        instance.models.retain(|name| models.contains_key(name));
        for name in &instance.models {
            if let Some(model) = models.get(name) {
                assignment.models.insert(name.clone(), model.clone());
            }
        }
    }
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
    let replicas: Vec<u32> = (0..node.replicas)
        .filter(|replica| {
            let id = instance_id(system_name, name, *replica);
            device_of(placed, &id).is_none_or(|there| there.id == device.id)
                && is_placed(placed, &id)
        })
        .collect();
    if replicas.is_empty() {
        return;
    }
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
    let models = node.model_names().map(&mut fill).collect();
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
        models,
        inputs: inputs(placed, name, device),
        outputs: outputs(placed, name, node, device),
        broker: system.broker.clone(),
        trace_every: trace_every(system, name),
        restart: node.restart,
        stop_grace_ms: node.stop_grace_ms,
    };
    for replica in replicas {
        out.assignment.instances.push(Instance {
            id: instance_id(system_name, name, replica),
            replica,
            ..first.clone()
        });
    }
}

/// Sources alone decide what is sampled: nothing else restarts when that changes.
fn trace_every(system: &System, node: &str) -> u32 {
    match system.links_to(node).next() {
        None => system.trace_every,
        Some(_) => DEFAULT_TRACE_EVERY,
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

/// The device of an instance of a spread system.
fn device_of<'a>(placed: &PlacedSystem<'a>, id: &str) -> Option<&'a Spot> {
    placed.spots.and_then(|spots| spots.get(id))
}

fn is_placed(placed: &PlacedSystem<'_>, id: &str) -> bool {
    placed.spots.is_none_or(|spots| spots.contains_key(id))
}

/// The links that arrive at a node, each from every replica of its producer that runs somewhere,
/// sorted so that the order of the manifest does not matter.
fn inputs(placed: &PlacedSystem<'_>, node: &str, device: &DevicePlace) -> Vec<Input> {
    let system = placed.system;
    let mut inputs: Vec<Input> = system
        .links_to(node)
        .map(|link| {
            let replicas = system
                .node(&link.from.node)
                .map_or(0, |producer| producer.replicas);
            let from: Vec<String> = (0..replicas)
                .map(|replica| instance_id(&system.metadata.name, &link.from.node, replica))
                .filter(|id| is_placed(placed, id))
                .collect();
            let away = from.iter().filter_map(|id| {
                let there = device_of(placed, id).filter(|there| there.id != device.id)?;
                let remote = Remote {
                    device: there.id.clone(),
                    name: there.name.clone(),
                };
                Some((id.clone(), remote))
            });
            Input {
                remote: away.collect(),
                port: link.to.port.clone(),
                link: link.id(),
                group: node.to_owned(),
                qos: link.qos.clone(),
                from_port: link.from.port.clone(),
                from,
            }
        })
        .collect();
    inputs.sort_by(|a, b| (&a.port, &a.link).cmp(&(&b.port, &b.link)));
    inputs
}

/// Every output port of a node, linked or not: a live view may attach to any of them.
fn outputs(
    placed: &PlacedSystem<'_>,
    name: &str,
    node: &NodeSpec,
    device: &DevicePlace,
) -> Vec<Output> {
    let system = placed.system;
    node.output_ports()
        .into_iter()
        .map(|port| {
            let mut groups: Vec<OutputGroup> = system
                .links_from(name)
                .filter(|link| link.from.port == port)
                .map(|link| group(placed, link, node, device))
                .collect();
            groups.sort_by(|a, b| a.link.cmp(&b.link));
            Output { port, groups }
        })
        .collect()
}

fn group(
    placed: &PlacedSystem<'_>,
    link: &Link,
    producer: &NodeSpec,
    device: &DevicePlace,
) -> OutputGroup {
    let (system, to) = (placed.system, &link.to.node);
    let replicas = system.node(to).map_or(0, |node| node.replicas);
    let devices: BTreeSet<String> = (0..replicas)
        .filter_map(|n| device_of(placed, &instance_id(&system.metadata.name, to, n)))
        .filter(|there| there.id != device.id)
        .map(|there| there.id.clone())
        .collect();
    let mut qos = link.qos.clone();
    // Told to spilling links only: nobody else asks, and others keep their hash.
    qos.live_source = qos.spills() && producer.is_live();
    OutputGroup {
        link: link.id(),
        group: to.clone(),
        qos,
        devices: devices.into_iter().collect(),
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
