//! What an apply would change, in nodes, links and per device. Changes nothing.

use std::collections::BTreeSet;

use edgeflow_proto::v1::{self, ChangeAction};
use edgeflow_spec::{
    Assignment, System,
    plan::{Action, diff, diff_assignments_with, manifest_diff},
    problem::Problem,
};

use super::{
    SystemState, World,
    assignments::{AllPlaces, render_device},
    params::carry,
};
use crate::fleet::{Fleet, Live};

/// A plan, and warnings that only the devices show.
pub(super) struct Planned {
    pub(super) plan: v1::Plan,
    pub(super) missing_labels: Vec<String>,
    /// Nodes that no device fits, with the reason.
    pub(super) homeless: Vec<(String, String)>,
    pub(super) missing_brokers: Vec<String>,
}

/// Compares the world with the one to come, as far as `name` is concerned.
pub(super) fn plan(fleet: &Fleet, before: &World, after: &World, name: &str) -> Planned {
    let old = before.systems.get(name);
    let new = after.systems.get(name);
    let spec = |system: &SystemState| -> System { system.spec.clone() };
    let places = after.all_places();
    let here = places.get(name);
    let changes = diff(
        old.map(|s| &s.spec),
        new.map(|s| spec(s)).as_ref(),
        here.map(|places| &places.spots),
    );
    let (devices, missing_labels) = device_plans(fleet, before, after, &places, name);
    let overrides = old.zip(new).map(|(old, new)| carry(old, &new.spec).1);
    let text = |system: Option<&std::sync::Arc<SystemState>>| {
        system.map(|s| s.row.manifest.clone()).unwrap_or_default()
    };
    let plan = v1::Plan {
        nodes: changes
            .nodes
            .into_iter()
            .map(|change| v1::NodeChange {
                node: change.node,
                action: action(change.action).into(),
                details: change.details,
            })
            .collect(),
        links: changes
            .links
            .into_iter()
            .map(|change| v1::LinkChange {
                id: change.id,
                action: action(change.action).into(),
                qos: qos_word(change.qos).to_owned(),
                transport: change.transport,
                transport_reason: change.transport_reason,
            })
            .collect(),
        devices,
        manifest_diff: manifest_diff(&text(old), &text(new)),
        overrides: overrides.unwrap_or_default(),
    };
    Planned {
        plan,
        missing_labels,
        homeless: here
            .map(|places| places.homeless.clone())
            .unwrap_or_default(),
        missing_brokers: missing_brokers(after, name),
    }
}

/// What changes on each device, and the labels that are missing there.
fn device_plans(
    fleet: &Fleet,
    before: &World,
    after: &World,
    places: &AllPlaces,
    name: &str,
) -> (Vec<v1::DevicePlan>, Vec<String>) {
    let ids: BTreeSet<String> = before
        .devices_of(name)
        .union(&after.devices_of(name))
        .cloned()
        .collect();
    let mut missing_labels = BTreeSet::new();
    let mut devices = Vec::new();
    for id in &ids {
        let Some(device) = after.devices.get(id) else {
            continue;
        };
        let Some(rendered) = render_device(after, places, id) else {
            continue;
        };
        for missing in &rendered.missing_labels {
            if missing.system == name {
                missing_labels.insert(format!(
                    "device {} has no label {}, which node {} uses; it gets an empty text",
                    device.row.name, missing.label, missing.node
                ));
            }
        }
        let live = fleet.live(id);
        let instances = diff_assignments_with(
            &only(&device.desired, name),
            &only(&rendered.assignment, name),
            |instance| declared_live(&live, &instance.id),
        );
        devices.push(v1::DevicePlan {
            device_id: id.clone(),
            device_name: device.row.name.clone(),
            online: live.online,
            instances: instances
                .into_iter()
                .map(|change| v1::InstanceChange {
                    instance: change.instance,
                    action: action(change.action).into(),
                    reason: change.reason,
                })
                .collect(),
        });
    }
    devices.sort_by(|left, right| left.device_name.cmp(&right.device_name));
    (devices, missing_labels.into_iter().collect())
}

/// Devices that a link needs a broker of and that have none, as far as they said.
fn missing_brokers(world: &World, name: &str) -> Vec<String> {
    let Some(system) = world.systems.get(name) else {
        return Vec::new();
    };
    let spec = &system.spec;
    let link = spec.links.iter().find(|link| link.qos.wants_broker());
    let Some(link) = link.filter(|_| spec.broker.is_none()) else {
        return Vec::new();
    };
    let devices = world.devices_of(name);
    let devices = devices.iter().filter_map(|id| world.devices.get(id));
    let without = devices.filter(|device| device.row.facts.redis.is_empty());
    let names = without.map(|device| {
        format!(
            "device {} has no redis-server that serves, which link {} goes through; its nodes wait for one",
            device.row.name,
            link.id()
        )
    });
    names.collect()
}

/// What a running instance declared live.
fn declared_live(live: &Live, instance: &str) -> BTreeSet<String> {
    let instances = live.status.iter().flat_map(|status| &status.instances);
    instances
        .filter(|one| one.id == instance)
        .flat_map(|one| &one.parameters)
        .filter(|parameter| parameter.live)
        .map(|parameter| parameter.name.clone())
        .collect()
}

/// A problem as clients get it.
pub(super) fn problem_message(problem: Problem) -> v1::Problem {
    v1::Problem {
        code: problem.code,
        severity: problem.severity.as_str().to_owned(),
        message: problem.message,
        hint: problem.hint,
        file: problem.file,
        line: problem.line,
        column: problem.column,
        length: problem.length,
        source_line: problem.source_line,
    }
}

pub(super) fn qos_word(mode: edgeflow_spec::QosMode) -> &'static str {
    mode.name()
}

fn only(assignment: &Assignment, system: &str) -> Assignment {
    Assignment {
        instances: assignment
            .instances
            .iter()
            .filter(|instance| instance.system == system)
            .cloned()
            .collect(),
        ..Assignment::default()
    }
}

fn action(action: Action) -> ChangeAction {
    match action {
        Action::Keep => ChangeAction::Keep,
        Action::Add => ChangeAction::Add,
        Action::Change => ChangeAction::Change,
        Action::Remove => ChangeAction::Remove,
    }
}
