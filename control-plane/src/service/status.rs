//! Pure: how a system is doing, from what is desired and what was reported. A device counts as
//! ready only when it reports the generation it has to run.

use edgeflow_proto::v1::{self, InstancePhase, SystemPhase};
use edgeflow_spec::assignment::Instance;

use super::{DeviceState, SystemState, devices::placed, params};
use crate::fleet::Live;

/// Instances that one status lists.
const MAX_LISTED_INSTANCES: usize = 2_000;

/// What one device contributes.
struct DeviceShare {
    device: v1::SystemDevice,
    desired: u32,
    ready: u32,
    instances: Vec<v1::InstanceStatus>,
    failure: Option<String>,
}

/// The status of a system on the devices that match it.
pub(super) fn system_status<'a>(
    system: &SystemState,
    devices: impl Iterator<Item = (&'a DeviceState, Live)>,
    homeless: &[(String, String)],
) -> v1::SystemStatus {
    let shares: Vec<DeviceShare> = devices
        .map(|(device, live)| share(system, device, &live))
        .collect();
    let mut status = v1::SystemStatus {
        devices_matched: count(shares.len()),
        devices_ready: count(shares.iter().filter(|share| share.device.ready).count()),
        instances_desired: shares.iter().map(|share| share.desired).sum(),
        instances_ready: shares.iter().map(|share| share.ready).sum(),
        ..v1::SystemStatus::default()
    };
    let failure = shares.iter().find_map(|share| share.failure.clone());
    let waiting = shares
        .iter()
        .find(|share| !share.device.ready)
        .map(|share| format!("{}: {}", share.device.device_name, share.device.message));
    let (phase, message) = if let Some((node, reason)) = homeless.first() {
        let text = format!("{node} runs nowhere: {reason}");
        (SystemPhase::Unplaced, text)
    } else if shares.is_empty() {
        (SystemPhase::Unplaced, unplaced(system))
    } else if let Some(failure) = failure {
        (SystemPhase::Degraded, failure)
    } else if let Some(waiting) = waiting {
        (SystemPhase::Progressing, waiting)
    } else {
        (SystemPhase::Ready, String::new())
    };
    status.phase = phase.into();
    status.message = message;
    for share in shares {
        let room = MAX_LISTED_INSTANCES.saturating_sub(status.instances.len());
        status
            .instances
            .extend(share.instances.into_iter().take(room));
        status.devices.push(share.device);
    }
    status
}

fn unplaced(system: &SystemState) -> String {
    let selector = system.spec.devices.to_string();
    if selector.is_empty() {
        "no device has joined yet; make a join token with `edgeflow token create`".to_owned()
    } else {
        format!(
            "no device matches {selector}; see `edgeflow get devices`, set labels with `edgeflow label`"
        )
    }
}

fn share(system: &SystemState, device: &DeviceState, live: &Live) -> DeviceShare {
    let desired_generation = device.assignment.generation;
    let desired = device.instances_of(&system.row.name).count();
    let status = live.status.as_deref();
    let observed = status.map_or(0, |status| status.observed_generation);
    let current = status.is_some_and(|status| {
        status.observed_generation == desired_generation
            && (status.observed_hash.is_empty() || status.observed_hash == device.assignment.hash)
    });
    let instances: Vec<v1::InstanceStatus> = status
        .map(|status| {
            status
                .instances
                .iter()
                .filter(|instance| instance.system == system.row.name)
                .map(|instance| placed(instance, device))
                .collect()
        })
        .unwrap_or_default();
    let ready = device
        .instances_of(&system.row.name)
        .filter(|wanted| {
            instances
                .iter()
                .find(|instance| instance.id == wanted.id)
                .is_some_and(|instance| is_ready(instance) && is_up_to_date(wanted, instance))
        })
        .count();
    let failure = failure(system, device, live, &instances);
    let all_ready = live.online && current && ready == desired && failure.is_none();
    let message = if all_ready {
        String::new()
    } else if !live.online {
        "offline; it goes on with what it has and catches up when it is back".to_owned()
    } else if let Some(failure) = &failure {
        failure.clone()
    } else if !current {
        format!(
            "waits for the device to take over generation {desired_generation} (has {observed})"
        )
    } else {
        not_ready(device, &system.row.name, &instances)
    };
    DeviceShare {
        device: v1::SystemDevice {
            device_id: device.row.id.clone(),
            device_name: device.row.name.clone(),
            online: live.online,
            desired_generation,
            observed_generation: observed,
            ready: all_ready,
            message,
        },
        desired: count(desired),
        ready: if live.online { count(ready) } else { 0 },
        instances,
        failure,
    }
}

/// A node that was told to end and ended well has done what it should.
fn is_ready(instance: &v1::InstanceStatus) -> bool {
    match instance.phase() {
        InstancePhase::Ready => true,
        InstancePhase::Stopped => instance
            .last_exit
            .as_ref()
            .is_none_or(|exit| exit.code() == 0 && exit.signal.is_none()),
        _ => false,
    }
}

/// A node that runs works with the parameters that it should.
fn is_up_to_date(wanted: &Instance, instance: &v1::InstanceStatus) -> bool {
    instance.phase() != InstancePhase::Ready || params::has_params(wanted, instance)
}

fn failure(
    system: &SystemState,
    device: &DeviceState,
    live: &Live,
    instances: &[v1::InstanceStatus],
) -> Option<String> {
    if !live.online {
        return None;
    }
    if let Some(refusal) = &live.refusal
        && refusal.generation == device.assignment.generation
    {
        return Some(format!("{}: {}", device.row.name, refusal.message));
    }
    for wanted in device.instances_of(&system.row.name) {
        let found = instances.iter().find(|instance| instance.id == wanted.id);
        if let Some(reason) = found.and_then(|found| params::refusal(wanted, found)) {
            let (node, place) = (&wanted.node, &device.row.name);
            return Some(format!(
                "{node} on {place} refused its new parameters: {reason}"
            ));
        }
    }
    let bad = instances.iter().find(|instance| {
        instance.revision == system.row.revision
            && (matches!(
                instance.phase(),
                InstancePhase::CrashLoop | InstancePhase::Failed
            ) || (instance.phase() == InstancePhase::Stopped && !is_ready(instance)))
    })?;
    let place = &device.row.name;
    Some(match bad.phase() {
        InstancePhase::CrashLoop => {
            format!(
                "{} on {place} exits again and again: {}",
                bad.node, bad.reason
            )
        }
        InstancePhase::Failed => format!("{} on {place} can't start: {}", bad.node, bad.reason),
        _ => format!("{} on {place} ended: {}", bad.node, bad.reason),
    })
}

fn not_ready(device: &DeviceState, system: &str, instances: &[v1::InstanceStatus]) -> String {
    for wanted in device.instances_of(system) {
        match instances.iter().find(|instance| instance.id == wanted.id) {
            Some(instance) if is_ready(instance) => {
                if !is_up_to_date(wanted, instance) {
                    return format!("{} has not taken its new parameters yet", wanted.node);
                }
            }
            Some(instance) if instance.reason.is_empty() => {
                return format!("{} is {}", instance.node, phase_word(instance.phase()));
            }
            Some(instance) => {
                return format!(
                    "{} is {}: {}",
                    instance.node,
                    phase_word(instance.phase()),
                    instance.reason
                );
            }
            None => return format!("{} is not started yet", wanted.node),
        }
    }
    String::new()
}

fn phase_word(phase: InstancePhase) -> &'static str {
    match phase {
        InstancePhase::Unspecified => "unknown",
        InstancePhase::Pending => "not started yet",
        InstancePhase::Starting => "starting",
        InstancePhase::Ready => "ready",
        InstancePhase::Backoff => "waiting for its restart",
        InstancePhase::CrashLoop => "in a crash loop",
        InstancePhase::Failed => "failed",
        InstancePhase::Stopping => "stopping",
        InstancePhase::Stopped => "stopped",
    }
}

fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
