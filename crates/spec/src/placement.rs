//! Where the nodes of a system run when one copy of it is spread over several devices. Pure: equal
//! inputs give equal places, and what runs somewhere stays there as long as it may.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    device::DevicePlace,
    render::instance_id,
    system::{NodeSpec, System},
};

/// How a system uses the devices that match it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// A whole copy on each.
    #[default]
    Copies,
    /// One copy over all of them.
    Spread,
}

impl Placement {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copies => "copies",
            Self::Spread => "spread",
        }
    }
}

/// The device of each instance, by instance id.
pub type Spots = BTreeMap<String, Spot>;

/// A device that runs an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Device id.
    pub id: String,
    /// Device name.
    pub name: String,
}

/// The places of one system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Instances that have a device.
    pub spots: Spots,
    /// Nodes that no device fits, with the reason in words.
    pub homeless: Vec<(String, String)>,
}

/// Chooses a device for every instance of a spread system.
///
/// An instance stays where it runs (`before`: device id by instance id) as long as that device still
/// matches the system's selector and the node's `on`. Otherwise it goes to the device that runs the
/// fewest replicas of the same node; among these to one that runs a producer of the node, so that
/// frames stay on the device; then to the one with the fewest instances of the system; then by name.
pub fn place(
    system: &System,
    devices: &[&DevicePlace],
    before: &BTreeMap<String, String>,
) -> Places {
    let mut matching: Vec<&DevicePlace> = devices
        .iter()
        .copied()
        .filter(|device| system.devices.matches(&device.labels))
        .collect();
    matching.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let mut places = Places::default();
    for (name, node) in in_order(system) {
        let fit: Vec<&DevicePlace> = matching
            .iter()
            .copied()
            .filter(|device| node.on.matches(&device.labels))
            .collect();
        if fit.is_empty() {
            places.homeless.push((name.to_owned(), why(system, node)));
            continue;
        }
        let ids = (0..node.replicas).map(|n| instance_id(&system.metadata.name, name, n));
        let (stay, go): (Vec<String>, Vec<String>) = ids.partition(|id| {
            let device = before.get(id);
            device.is_some_and(|device| fit.iter().any(|it| it.id == *device))
        });
        for id in stay {
            if let Some(device) = fit.iter().find(|it| before.get(&id) == Some(&it.id)) {
                places.spots.insert(id, spot(device));
            }
        }
        for id in go {
            let best = fit
                .iter()
                .min_by_key(|device| rank(system, name, &places.spots, device));
            if let Some(device) = best {
                places.spots.insert(id, spot(device));
            }
        }
    }
    places
}

fn spot(device: &DevicePlace) -> Spot {
    Spot {
        id: device.id.clone(),
        name: device.name.clone(),
    }
}

/// Replicas of the node there, whether none of its producers is there, instances there. Devices
/// are in the order of their names already.
fn rank(system: &System, node: &str, spots: &Spots, device: &DevicePlace) -> (usize, bool, usize) {
    let here = || {
        spots
            .iter()
            .filter(|(_, spot)| spot.id == device.id)
            .map(|(id, _)| node_of(id))
    };
    let producers: BTreeSet<&str> = system
        .links_to(node)
        .map(|link| link.from.node.as_str())
        .collect();
    (
        here().filter(|one| *one == node).count(),
        !here().any(|one| producers.contains(one)),
        here().count(),
    )
}

/// The node of an instance id, `system.node.replica`.
pub(crate) fn node_of(instance: &str) -> &str {
    instance.split('.').nth(1).unwrap_or_default()
}

fn why(system: &System, node: &NodeSpec) -> String {
    match (system.devices.is_empty(), node.on.is_empty()) {
        (true, true) => "there is no device".to_owned(),
        (true, false) => format!("no device matches `{}`", node.on),
        (false, true) => format!("no device matches `{}`", system.devices),
        (false, false) => format!(
            "no device matches both `{}` and `{}`",
            system.devices, node.on
        ),
    }
}

/// Nodes behind their producers, otherwise in the order of the manifest.
fn in_order(system: &System) -> Vec<(&str, &NodeSpec)> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut ordered = Vec::with_capacity(system.nodes.len());
    while ordered.len() < system.nodes.len() {
        let before = ordered.len();
        for (name, node) in &system.nodes {
            let ready = system.links_to(name).all(|link| {
                let from = link.from.node.as_str();
                done.contains(from) || system.node(from).is_none()
            });
            if ready && done.insert(name) {
                ordered.push((name.as_str(), node));
            }
        }
        if ordered.len() == before {
            // A cycle; validation refuses it.
            let rest = system.nodes.iter().filter(|(name, _)| done.insert(name));
            ordered.extend(rest.map(|(name, node)| (name.as_str(), node)));
        }
    }
    ordered
}
