//! Between the agent's own types and the protocol's. No rules.

use edgeflow_capture::camera::{Control, SizeOffer};
use edgeflow_proto::v1;

use super::Context;
use crate::{
    conditions::Condition,
    events::Numbered,
    inventory::{Camera, Facts, Load},
    logs::Line,
    spans::Waiting,
    supervisor::{Exit, InstanceView, Phase},
};

pub(super) fn facts(facts: Facts) -> v1::DeviceFacts {
    v1::DeviceFacts {
        hostname: facts.hostname,
        arch: facts.arch,
        os: facts.os,
        kernel: facts.kernel,
        model: facts.model,
        cpus: facts.cpus,
        memory_bytes: facts.memory_bytes,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        cameras: facts.cameras.into_iter().map(camera).collect(),
        accelerators: facts
            .accelerators
            .into_iter()
            .map(|found| v1::Accelerator {
                kind: found.kind,
                name: found.name,
            })
            .collect(),
        boot_id: facts.boot_id,
        link_addresses: facts.link_addresses,
        redis: facts.redis,
    }
}

/// Spans of one instance that follow each other share its name.
pub(super) fn spans(spans: Vec<Waiting>, lost: u64) -> v1::SpanReport {
    let mut instances: Vec<v1::InstanceSpans> = Vec::new();
    for (origin, span) in spans {
        match instances.last_mut() {
            Some(last) if last.instance == origin.instance => last.spans.push(span),
            _ => instances.push(v1::InstanceSpans {
                instance: origin.instance.clone(),
                system: origin.system.clone(),
                node: origin.node.clone(),
                replica: origin.replica,
                spans: vec![span],
            }),
        }
    }
    v1::SpanReport { instances, lost }
}

pub(super) fn load(load: &Load) -> v1::DeviceLoad {
    v1::DeviceLoad {
        at_unix_ms: load.at_unix_ms,
        cpu: load.cpu,
        memory_used_bytes: load.memory_used_bytes,
        memory_total_bytes: load.memory_total_bytes,
        disk_used_bytes: load.disk_used_bytes,
        disk_total_bytes: load.disk_total_bytes,
        temperature_celsius: load.temperature_celsius,
        load1: load.load1,
    }
}

/// The whole state of the device.
pub(super) fn status(context: &Context, facts: Option<Facts>) -> v1::StatusReport {
    let applied = context.applied.borrow().clone();
    let sample = context.load.borrow().clone();
    v1::StatusReport {
        observed_generation: applied.generation,
        observed_hash: applied.hash,
        instances: context.board.snapshot().into_iter().map(instance).collect(),
        load: (sample.at_unix_ms != 0).then(|| load(&sample)),
        conditions: context
            .conditions
            .snapshot()
            .into_iter()
            .map(condition)
            .collect(),
        facts: facts.map(self::facts),
    }
}

fn instance(view: InstanceView) -> v1::InstanceStatus {
    v1::InstanceStatus {
        id: view.id,
        system: view.system,
        node: view.node,
        replica: view.replica,
        revision: view.revision,
        spec_hash: view.hash,
        phase: phase(view.phase).into(),
        reason: view.reason,
        pid: view.pid,
        started_unix_ms: view.started_unix_ms,
        restarts: view.restarts,
        next_start_unix_ms: view.next_start_unix_ms,
        last_exit: view.last_exit.map(exit),
        cpu: view.cpu,
        rss_bytes: view.rss_bytes,
        stats: view.stats,
        device_id: String::new(),
        device_name: String::new(),
        parameters: view.parameters,
        params: Some(params(view.params_hash, view.refusal)),
    }
}

fn params(hash: String, refusal: Option<(String, String)>) -> v1::ParamsState {
    let (refused_hash, refusal) = refusal.unwrap_or_default();
    v1::ParamsState {
        hash,
        refused_hash,
        refusal,
    }
}

fn phase(phase: Phase) -> v1::InstancePhase {
    match phase {
        Phase::Pending => v1::InstancePhase::Pending,
        Phase::Starting => v1::InstancePhase::Starting,
        Phase::Ready => v1::InstancePhase::Ready,
        Phase::Backoff => v1::InstancePhase::Backoff,
        Phase::CrashLoop => v1::InstancePhase::CrashLoop,
        Phase::Failed => v1::InstancePhase::Failed,
        Phase::Stopping => v1::InstancePhase::Stopping,
        Phase::Stopped => v1::InstancePhase::Stopped,
    }
}

fn exit(exit: Exit) -> v1::ExitInfo {
    v1::ExitInfo {
        code: exit.code,
        signal: exit.signal,
        out_of_memory: exit.out_of_memory,
        message: exit.message,
        log_tail: exit.log_tail,
        at_unix_ms: exit.at_unix_ms,
    }
}

fn condition(condition: Condition) -> v1::Condition {
    v1::Condition {
        r#type: condition.kind.to_owned(),
        message: condition.message,
        since_unix_ms: condition.since_unix_ms,
    }
}

pub(super) fn event((numbered, gap): (Numbered, u64), picture: Vec<u8>) -> v1::EventReport {
    let event = numbered.event;
    v1::EventReport {
        sequence: numbered.sequence,
        gap,
        event: Some(v1::Event {
            at_unix_ms: event.at_unix_ms,
            severity: event.severity.as_str().to_owned(),
            reason: event.reason,
            message: event.message,
            system: event.system,
            node: event.node,
            instance: event.instance,
            details: event.details,
            picture,
            ..v1::Event::default()
        }),
    }
}

pub(super) fn log_line(line: &Line) -> v1::LogLine {
    let (system, node) = split_id(&line.instance);
    v1::LogLine {
        at_unix_ms: line.at_unix_ms,
        system: system.to_owned(),
        node: node.to_owned(),
        instance: line.instance.to_string(),
        device_name: String::new(),
        stream: line.source.as_str().to_owned(),
        text: line.text.clone(),
    }
}

/// System and node of `system.node.replica`.
pub(super) fn split_id(id: &str) -> (&str, &str) {
    let name = id.rsplit_once('.').map_or(id, |(name, _)| name);
    name.rsplit_once('.').unwrap_or((name, ""))
}

fn camera(camera: Camera) -> v1::Camera {
    let formats = camera.offers.into_iter().map(|offer| v1::CameraFormat {
        format: offer.format.name().to_owned(),
        sizes: offer.sizes.into_iter().map(camera_size).collect(),
    });
    let controls = camera.controls.into_iter();
    v1::Camera {
        path: camera.path.display().to_string(),
        name: camera.name,
        driver: camera.driver,
        bus: camera.bus,
        serial: camera.serial,
        formats: formats.collect(),
        other_formats: camera.others,
        controls: controls.map(camera_control).collect(),
        problem: camera.problem,
    }
}

fn camera_size(size: SizeOffer) -> v1::CameraSize {
    v1::CameraSize {
        width: size.from.0,
        height: size.from.1,
        max_width: size.to.0,
        max_height: size.to.1,
        fps: size.rates,
        any_fps: size.any_rate,
    }
}

fn camera_control(control: Control) -> v1::CameraControl {
    let choices = control.menu.into_iter();
    v1::CameraControl {
        name: control.name,
        min: control.minimum,
        max: control.maximum,
        step: control.step,
        default: control.default,
        choices: choices
            .map(|(value, word)| v1::CameraChoice { value, word })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_id_is_split_into_system_and_node() {
        assert_eq!(split_id("entrance.camera.0"), ("entrance", "camera"));
        assert_eq!(split_id("strange"), ("strange", ""));
    }
}
