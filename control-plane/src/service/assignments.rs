//! Desired state: renders the systems for a device. A generation rises exactly when the content
//! changes, so that an apply that does not concern a device does not reach it.

use std::sync::Arc;

use edgeflow_spec::{
    assignment::body_hash,
    render::{Rendered, render},
};

use super::{Mutation, ServiceError, world::World};
use crate::store::AssignmentRow;

/// What a device would have to run in `world`.
pub(super) fn render_device(world: &World, id: &str) -> Option<Rendered> {
    let device = world.devices.get(id)?;
    let systems: Vec<_> = world
        .systems
        .values()
        .map(|system| system.placed())
        .collect();
    Some(render(&systems, &device.place))
}

impl Mutation<'_> {
    /// Renders devices and stores what has changed.
    pub(super) async fn render(&mut self, device_ids: &[String]) -> Result<(), ServiceError> {
        for id in device_ids {
            let Some(rendered) = render_device(&self.world, id) else {
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
