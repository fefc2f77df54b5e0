//! Devices as people see them: health in words, labels, removal.

use std::{collections::BTreeMap, sync::Arc};

use edgeflow_proto::v1::{self, DeviceHealth, InstancePhase};
use edgeflow_spec::{Selector, names};

use super::{DeviceState, Service, ServiceError};
use crate::{fleet::Live, store::EventRow};

/// Labels a device may have.
const MAX_LABELS: usize = 64;
/// Prefix of labels that come from facts.
const FACT_PREFIX: &str = "edgeflow.dev/";
/// Longest text among the facts.
const MAX_FACT_TEXT: usize = 256;
/// Formats, sizes, rates, controls and their choices of a camera.
const MAX_CAMERA_LIST: usize = 256;
/// Bytes of a camera's problem.
const MAX_CAMERA_PROBLEM: usize = 1024;
/// Cameras and accelerators a device may report.
const MAX_FACT_LIST: usize = 64;

impl Service {
    /// One device.
    pub fn device(&self, id_or_name: &str) -> Result<Arc<DeviceState>, ServiceError> {
        self.world().device(id_or_name).cloned().ok_or_else(|| {
            ServiceError::NotFound(format!(
                "there is no device {id_or_name}; see `edgeflow get devices`"
            ))
        })
    }

    /// One device as people see it.
    pub fn device_view(&self, id_or_name: &str) -> Result<v1::Device, ServiceError> {
        let device = self.device(id_or_name)?;
        Ok(device_message(&device, &self.fleet.live(&device.row.id)))
    }

    /// The devices that match, by name.
    pub fn device_views(&self, selector: &str) -> Result<Vec<v1::Device>, ServiceError> {
        let selector = parse_selector(selector)?;
        let mut devices: Vec<_> = self
            .world()
            .devices
            .values()
            .filter(|device| selector.matches(&device.place.labels))
            .map(|device| device_message(device, &self.fleet.live(&device.row.id)))
            .collect();
        devices.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(devices)
    }

    /// Sets and removes labels, and renders the device anew.
    pub async fn set_labels(
        &self,
        id_or_name: &str,
        set: BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<v1::Device, ServiceError> {
        let id = self.device(id_or_name)?.row.id.clone();
        let mut mutation = self.mutate().await?;
        let Some(device) = mutation.world.devices.get(&id) else {
            return Err(ServiceError::NotFound(format!(
                "there is no device {id_or_name}"
            )));
        };
        let mut row = device.row.clone();
        for key in remove {
            row.labels.remove(key);
        }
        row.labels.extend(set);
        check_labels(&row.labels)?;
        if row.labels != device.row.labels {
            mutation.put_device(row).await?;
            let event = mutation.about(&id, "info", "LabelsChanged", "labels changed");
            mutation.event(event).await?;
            mutation.commit().await?;
        } else {
            drop(mutation);
        }
        self.device_view(&id)
    }

    /// Revokes a device's certificates, closes its streams and forgets it.
    pub async fn delete_device(&self, id_or_name: &str) -> Result<(), ServiceError> {
        let device = self.device(id_or_name)?;
        let id = device.row.id.clone();
        let mut mutation = self.mutate().await?;
        let event = EventRow {
            message: format!("{} was deleted", device.row.name),
            ..mutation.about(&id, "info", "DeviceDeleted", "")
        };
        mutation.write.delete_device(&id).await?;
        mutation.world.devices.remove(&id);
        // What it ran of spread systems goes to other devices.
        mutation.render(&[]).await?;
        mutation.event(event).await?;
        mutation.commit().await?;
        self.fleet.forget(&id);
        tracing::info!(device = %device.row.name, id, "device deleted");
        Ok(())
    }
}

/// A device with its live state.
pub fn device_message(device: &DeviceState, live: &Live) -> v1::Device {
    let status = live.status.as_deref();
    let (health, message) = health(device, live);
    let mut conditions = status.map(|s| s.conditions.clone()).unwrap_or_default();
    if let Some(refusal) = &live.refusal {
        conditions.push(v1::Condition {
            r#type: "AssignmentRefused".to_owned(),
            message: refusal.message.clone(),
            since_unix_ms: refusal.since_ms,
        });
    }
    v1::Device {
        id: device.row.id.clone(),
        name: device.row.name.clone(),
        labels: device.row.labels.clone().into_iter().collect(),
        facts: Some(device.row.facts.clone()),
        online: live.online,
        health: health.into(),
        message,
        enrolled_unix_ms: device.row.enrolled_ms,
        last_seen_unix_ms: live.last_seen_ms.max(device.row.last_seen_ms),
        connection_epoch: live.epoch,
        desired_generation: device.assignment.generation,
        observed_generation: status.map_or(0, |s| s.observed_generation),
        load: status.and_then(|s| s.load),
        instances: status
            .map(|s| s.instances.iter().map(|i| placed(i, device)).collect())
            .unwrap_or_default(),
        conditions,
        certificate_expires_unix_ms: device.certificates.values().max().copied().unwrap_or(0),
    }
}

/// An instance with the name of its device filled in.
pub(super) fn placed(instance: &v1::InstanceStatus, device: &DeviceState) -> v1::InstanceStatus {
    v1::InstanceStatus {
        device_id: device.row.id.clone(),
        device_name: device.row.name.clone(),
        ..instance.clone()
    }
}

fn health(device: &DeviceState, live: &Live) -> (DeviceHealth, String) {
    if !live.online {
        if device.row.last_seen_ms == 0 {
            return (
                DeviceHealth::Pending,
                "joined, never connected yet".to_owned(),
            );
        }
        return (DeviceHealth::Offline, "not connected".to_owned());
    }
    if let Some(refusal) = &live.refusal {
        return (DeviceHealth::Degraded, refusal.message.clone());
    }
    let Some(status) = &live.status else {
        return (DeviceHealth::Ready, String::new());
    };
    if let Some(condition) = status.conditions.first() {
        let message = format!("{}: {}", condition.r#type, condition.message);
        return (DeviceHealth::Degraded, message);
    }
    let bad = status.instances.iter().find(|instance| {
        matches!(
            instance.phase(),
            InstancePhase::CrashLoop | InstancePhase::Failed | InstancePhase::Backoff
        )
    });
    match bad {
        Some(instance) => (
            DeviceHealth::Degraded,
            format!("{}: {}", instance.id, instance.reason),
        ),
        None => (DeviceHealth::Ready, String::new()),
    }
}

pub(super) fn parse_selector(text: &str) -> Result<Selector, ServiceError> {
    Selector::parse(text).map_err(|error| ServiceError::Invalid(error.to_string()))
}

pub(super) fn check_name(name: &str) -> Result<(), ServiceError> {
    names::check_name(name)
        .map_err(|error| ServiceError::Invalid(format!("the device name {name:?}: {error}")))
}

pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), ServiceError> {
    if labels.len() > MAX_LABELS {
        return Err(ServiceError::Limit(format!(
            "a device has {MAX_LABELS} labels at most"
        )));
    }
    for (key, value) in labels {
        if key.starts_with(FACT_PREFIX) {
            return Err(ServiceError::Invalid(format!(
                "the label {key} is measured by the agent and can't be set"
            )));
        }
        names::check_label_key(key)
            .map_err(|error| ServiceError::Invalid(format!("the label key {key:?}: {error}")))?;
        names::check_label_value(value).map_err(|error| {
            ServiceError::Invalid(format!("the value {value:?} of label {key}: {error}"))
        })?;
    }
    Ok(())
}

fn is_bounded(camera: &v1::Camera) -> bool {
    let v1::Camera {
        path,
        name,
        driver,
        bus,
        serial,
        problem,
        formats,
        other_formats,
        controls,
    } = camera;
    let mut texts = [path, name, driver, bus, serial]
        .into_iter()
        .chain(other_formats)
        .chain(formats.iter().map(|format| &format.format))
        .chain(controls.iter().map(|control| &control.name))
        .chain(
            controls
                .iter()
                .flat_map(|control| control.choices.iter().map(|choice| &choice.word)),
        );
    let sizes = formats.iter().map(|format| format.sizes.len());
    let rates = formats
        .iter()
        .flat_map(|format| format.sizes.iter().map(|size| size.fps.len()));
    let choices = controls.iter().map(|control| control.choices.len());
    let mut lists = [formats.len(), other_formats.len(), controls.len()]
        .into_iter()
        .chain(sizes)
        .chain(rates)
        .chain(choices);
    problem.len() <= MAX_CAMERA_PROBLEM
        && texts.all(|text| text.len() <= MAX_FACT_TEXT)
        && lists.all(|len| len <= MAX_CAMERA_LIST)
}

pub(super) fn check_facts(facts: &v1::DeviceFacts) -> Result<(), ServiceError> {
    let texts = [
        &facts.hostname,
        &facts.arch,
        &facts.os,
        &facts.kernel,
        &facts.model,
        &facts.agent_version,
        &facts.boot_id,
        &facts.redis,
    ];
    if !facts.cameras.iter().all(is_bounded) {
        return Err(ServiceError::Invalid(
            "what the device tells of its cameras is too long".to_owned(),
        ));
    }
    let accelerators = facts
        .accelerators
        .iter()
        .flat_map(|accelerator| [&accelerator.kind, &accelerator.name]);
    let too_long = texts
        .into_iter()
        .chain(&facts.link_addresses)
        .chain(accelerators)
        .any(|text| text.len() > MAX_FACT_TEXT);
    let lists = [
        facts.cameras.len(),
        facts.accelerators.len(),
        facts.link_addresses.len(),
    ];
    if too_long || lists.into_iter().any(|len| len > MAX_FACT_LIST) {
        return Err(ServiceError::Invalid(
            "the facts of the device are too long".to_owned(),
        ));
    }
    Ok(())
}
