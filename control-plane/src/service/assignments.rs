//! Desired state: renders the systems for a device. A generation rises exactly when the content
//! changes, so that an apply that does not concern a device does not reach it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edgeflow_spec::{
    assignment::{Peer, body_hash},
    placement::Places,
    render::{PlacedSystem, Rendered, render},
};

use super::{Mutation, ServiceError, world::World};
use crate::store::AssignmentRow;

/// Where the instances of every spread system run, by system.
pub(super) type AllPlaces = BTreeMap<String, Places>;

/// What a device would have to run in `world`.
pub(super) fn render_device(world: &World, places: &AllPlaces, id: &str) -> Option<Rendered> {
    let device = world.devices.get(id)?;
    let systems: Vec<_> = world
        .systems
        .iter()
        .map(|(name, system)| PlacedSystem {
            spots: places.get(name).map(|places| &places.spots),
            ..system.placed()
        })
        .collect();
    let mut rendered = render(&systems, world.models.kept(), &device.place);
    let peer = |id: &str| {
        let device = world.devices.get(id)?;
        let peer = Peer {
            name: device.row.name.clone(),
            addresses: device.row.facts.link_addresses.clone(),
        };
        Some((id.to_owned(), peer))
    };
    let assignment = &mut rendered.assignment;
    assignment.peers = assignment.sources().into_iter().filter_map(peer).collect();
    Some(rendered)
}

/// Devices that a change of any device may concern: those that share a spread system.
fn sharing(world: &World, places: &AllPlaces) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for (name, places) in places {
        ids.extend(places.spots.values().map(|spot| spot.id.clone()));
        let running = world.devices.values();
        let running = running.filter(|device| device.instances_of(name).next().is_some());
        ids.extend(running.map(|device| device.row.id.clone()));
    }
    ids
}

impl Mutation<'_> {
    /// Renders devices, and those that share a spread system, and stores what has changed.
    pub(super) async fn render(&mut self, device_ids: &[String]) -> Result<(), ServiceError> {
        // Once, before assignments change: where an instance runs now decides where it stays.
        let places = self.world.all_places();
        let mut all = sharing(&self.world, &places);
        all.extend(device_ids.iter().cloned());
        for id in &all {
            let Some(rendered) = render_device(&self.world, &places, id) else {
                continue;
            };
            let body = rendered.assignment.to_body();
            let hash = body_hash(&body);
            let Some(device) = self.world.devices.get(id) else {
                continue;
            };
            if device.assignment.generation > 0 && device.assignment.hash == hash {
                continue;
            }
            let row = AssignmentRow {
                device_id: id.clone(),
                generation: device.assignment.generation + 1,
                hash,
                body,
            };
            self.put_assignment(row, Some(rendered.assignment)).await?;
        }
        Ok(())
    }

    /// Moves a device's generation past `reported`, for a database that was restored from an
    /// older copy than the device has seen.
    pub(super) async fn raise_generation(
        &mut self,
        id: &str,
        reported: u64,
        reported_hash: &str,
    ) -> Result<(), ServiceError> {
        let Some(device) = self.world.devices.get(id) else {
            return Ok(());
        };
        let mut row = device.assignment.clone();
        // The same content needs no second delivery.
        row.generation = if row.hash == reported_hash {
            reported
        } else {
            reported + 1
        };
        self.put_assignment(row, None).await
    }

    async fn put_assignment(
        &mut self,
        row: AssignmentRow,
        desired: Option<edgeflow_spec::Assignment>,
    ) -> Result<(), ServiceError> {
        self.write.put_assignment(&row, self.now_ms).await?;
        if let Some(device) = self.world.devices.get_mut(&row.device_id) {
            let device = Arc::make_mut(device);
            if let Some(desired) = desired {
                device.desired = Arc::new(desired);
            }
            self.woken.push(row.device_id.clone());
            device.assignment = row;
        }
        Ok(())
    }
}
