//! What a session changes in the durable state: its epoch, the device's facts, and events.

use std::sync::Arc;

use edgeflow_proto::v1;

use super::{Mutation, Service, ServiceError, devices::check_facts};
use crate::{clock::now_ms, store::EventRow};

/// Longest text of an event that is stored, in characters.
const MAX_EVENT_TEXT: usize = 2_000;
/// Biggest picture of an event.
const MAX_EVENT_PICTURE: usize = 128 * 1024;
/// Detail lines of an event that are stored.
const MAX_EVENT_DETAILS: usize = 50;

/// A session that may begin.
#[derive(Clone, Debug)]
pub struct SessionStart {
    /// Whose.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The session's place in time; the newest wins.
    pub epoch: u64,
    /// Events of the device up to this number are stored.
    pub event_sequence: u64,
}

impl Service {
    /// Takes the next epoch for a device and looks at what it has on disk.
    pub async fn start_session(
        &self,
        device_id: &str,
        hello: &v1::Hello,
    ) -> Result<SessionStart, ServiceError> {
        let mut mutation = self.mutate().await?;
        let Some(device) = mutation.world.devices.get(device_id).cloned() else {
            return Err(ServiceError::Unauthenticated(
                "this device was deleted; join again with a new token".to_owned(),
            ));
        };
        let session = mutation.write.next_epoch(device_id).await?;
        let mut event_sequence = session.event_sequence;
        if hello.next_event_sequence <= event_sequence {
            // The device counts from the start again: its disk was replaced.
            event_sequence = 0;
            mutation.write.set_event_sequence(device_id, 0).await?;
        }
        let stored = &device.assignment;
        let ahead = hello.applied_generation > stored.generation;
        let conflict = hello.applied_generation == stored.generation
            && hello.applied_generation > 0
            && hello.applied_hash != stored.hash;
        if ahead || conflict {
            tracing::warn!(
                device = %device.row.name,
                reported = hello.applied_generation,
                stored = stored.generation,
                "the device is ahead of the database; was it restored from a backup?"
            );
            mutation
                .raise_generation(device_id, hello.applied_generation, &hello.applied_hash)
                .await?;
        }
        mutation.device_seen(device_id).await?;
        if let Some(facts) = &hello.facts {
            mutation.set_facts(device_id, facts).await?;
        }
        let connected = mutation.about(device_id, "info", "DeviceOnline", "connected");
        mutation.event(connected).await?;
        // The session starts from what is desired now, changed or not.
        if !mutation.woken.iter().any(|id| id == device_id) {
            mutation.woken.push(device_id.to_owned());
        }
        mutation.commit().await?;
        Ok(SessionStart {
            id: device_id.to_owned(),
            name: device.row.name.clone(),
            epoch: session.connection_epoch,
            event_sequence,
        })
    }

    /// Notes that a device is offline. Desired state does not change.
    pub async fn end_session(&self, device_id: &str, reason: &str) {
        let end = async {
            let mut mutation = self.mutate().await?;
            if !mutation.world.devices.contains_key(device_id) {
                return Ok(());
            }
            mutation.device_seen(device_id).await?;
            let text = format!("disconnected: {reason}");
            let event = mutation.about(device_id, "warning", "DeviceOffline", &text);
            mutation.event(event).await?;
            mutation.commit().await
        };
        if let Err::<(), ServiceError>(error) = end.await {
            tracing::warn!(%error, "the end of a session was not stored");
        }
    }

    /// Notes when the connected devices were last seen. For a timer and for the end.
    pub async fn note_last_seen(&self) -> Result<(), ServiceError> {
        let online = self.fleet.online();
        if online.is_empty() {
            return Ok(());
        }
        let mut mutation = self.mutate().await?;
        for id in &online {
            mutation.device_seen(id).await?;
        }
        mutation.commit().await
    }

    /// Takes over what an agent found out about its machine.
    pub async fn set_facts(
        &self,
        device_id: &str,
        facts: &v1::DeviceFacts,
    ) -> Result<(), ServiceError> {
        let world = self.world();
        let Some(device) = world.devices.get(device_id) else {
            return Ok(());
        };
        if device.row.facts == *facts {
            return Ok(());
        }
        let mut mutation = self.mutate().await?;
        mutation.set_facts(device_id, facts).await?;
        mutation.commit().await
    }

    /// Tells people that a device did not take its assignment.
    pub async fn assignment_refused(
        &self,
        device_id: &str,
        message: &str,
    ) -> Result<(), ServiceError> {
        let mut mutation = self.mutate().await?;
        let event = mutation.about(device_id, "error", "AssignmentRefused", message);
        mutation.event(event).await?;
        mutation.commit().await
    }

    /// Stores events of a device that are not stored yet. Returns the newest number.
    pub async fn store_device_events(
        &self,
        device_id: &str,
        stored: u64,
        reports: &[v1::EventReport],
    ) -> Result<u64, ServiceError> {
        let mut sequence = stored;
        let mut mutation = self.mutate().await?;
        for report in reports {
            if report.sequence <= sequence {
                continue;
            }
            if report.gap > 0 {
                let text = format!(
                    "{} events of the device were lost: it was offline for too long",
                    report.gap
                );
                let gap = mutation.about(device_id, "warning", "EventsLost", &text);
                mutation.event(gap).await?;
            }
            if let Some(event) = &report.event {
                let row = device_event(mutation.about(device_id, "", "", ""), event);
                mutation.event(row).await?;
            }
            sequence = report.sequence;
        }
        mutation
            .write
            .set_event_sequence(device_id, sequence)
            .await?;
        mutation.commit().await?;
        Ok(sequence)
    }
}

impl Mutation<'_> {
    async fn device_seen(&mut self, device_id: &str) -> Result<(), ServiceError> {
        let now_ms = self.now_ms;
        if let Some(device) = self.world.devices.get_mut(device_id) {
            self.write.set_last_seen(device_id, now_ms).await?;
            Arc::make_mut(device).row.last_seen_ms = now_ms;
        }
        Ok(())
    }

    async fn set_facts(
        &mut self,
        device_id: &str,
        facts: &v1::DeviceFacts,
    ) -> Result<(), ServiceError> {
        check_facts(facts)?;
        let Some(device) = self.world.devices.get(device_id) else {
            return Ok(());
        };
        if device.row.facts == *facts {
            return Ok(());
        }
        let mut row = device.row.clone();
        row.facts = facts.clone();
        self.put_device(row).await
    }

    /// Stores a device and renders it: labels and facts decide what it runs.
    pub(super) async fn put_device(
        &mut self,
        row: crate::store::DeviceRow,
    ) -> Result<(), ServiceError> {
        let id = row.id.clone();
        self.write.put_device(&row).await?;
        if let Some(device) = self.world.devices.get_mut(&id) {
            *device = Arc::new(device.with_row(row));
        }
        self.render(std::slice::from_ref(&id)).await
    }

    /// An event about a device.
    pub(super) fn about(
        &self,
        device_id: &str,
        severity: &str,
        reason: &str,
        message: &str,
    ) -> EventRow {
        let name = self
            .world
            .devices
            .get(device_id)
            .map(|device| device.row.name.clone())
            .unwrap_or_default();
        EventRow {
            severity: severity.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            device_id: device_id.to_owned(),
            device_name: name,
            ..EventRow::default()
        }
    }
}

fn device_event(base: EventRow, event: &v1::Event) -> EventRow {
    let severity = match event.severity.as_str() {
        known @ ("info" | "warning" | "error") => known,
        _ => "info",
    };
    EventRow {
        // A device whose clock is far ahead must not hide what happens afterwards.
        at_ms: if event.at_unix_ms > 0 {
            event.at_unix_ms.min(now_ms())
        } else {
            0
        },
        severity: severity.to_owned(),
        reason: cut(&event.reason),
        message: cut(&event.message),
        system: cut(&event.system),
        node: cut(&event.node),
        instance: cut(&event.instance),
        details: event
            .details
            .iter()
            .take(MAX_EVENT_DETAILS)
            .map(|line| cut(line))
            .collect(),
        picture: if is_picture(&event.picture) {
            event.picture.clone()
        } else {
            Vec::new()
        },
        ..base
    }
}

/// What a browser may be given as a JPEG.
fn is_picture(bytes: &[u8]) -> bool {
    bytes.len() <= MAX_EVENT_PICTURE && bytes.starts_with(&[0xff, 0xd8, 0xff])
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_EVENT_TEXT).collect()
}
