//! Devices as shown to people and programs.

use std::collections::BTreeMap;

use edgeflow_proto::v1;
use edgeflow_spec::quantity::rounded_bytes;
use serde::Serialize;

use super::{camera::CameraView, instance::InstanceView, labels_text, sorted};
use crate::output::{
    Row,
    colour::Style,
    table::Cell,
    time::{age, now_ms, rfc3339},
};

/// A machine with an agent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DeviceView {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) online: bool,
    /// pending | ready | degraded | offline | unknown
    pub(crate) health: &'static str,
    pub(crate) message: String,
    pub(crate) facts: FactsView,
    pub(crate) load: Option<LoadView>,
    pub(crate) conditions: Vec<ConditionView>,
    pub(crate) instances: Vec<InstanceView>,
    pub(crate) enrolled_at: Option<String>,
    pub(crate) last_seen_at: Option<String>,
    pub(crate) certificate_expires_at: Option<String>,
    pub(crate) connection_epoch: u64,
    pub(crate) desired_generation: u64,
    pub(crate) observed_generation: u64,
    #[serde(skip)]
    pub(crate) certificate_expires_unix_ms: i64,
    #[serde(skip)]
    last_seen_unix_ms: i64,
}

/// What the machine is.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct FactsView {
    pub(crate) hostname: String,
    pub(crate) arch: String,
    pub(crate) os: String,
    pub(crate) kernel: String,
    pub(crate) model: String,
    pub(crate) cpus: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) agent_version: String,
    pub(crate) cameras: Vec<CameraView>,
    pub(crate) accelerators: Vec<AcceleratorView>,
}

/// A GPU, NPU or TPU on a device.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AcceleratorView {
    pub(crate) kind: String,
    pub(crate) name: String,
}

/// One sample of the machine's load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LoadView {
    pub(crate) at: Option<String>,
    /// Share of all cores.
    pub(crate) cpu: f64,
    pub(crate) memory_used_bytes: u64,
    pub(crate) memory_total_bytes: u64,
    pub(crate) disk_used_bytes: u64,
    pub(crate) disk_total_bytes: u64,
    pub(crate) temperature_celsius: Option<f64>,
    pub(crate) load1: f64,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConditionView {
    pub(crate) r#type: String,
    pub(crate) message: String,
    pub(crate) since: Option<String>,
}

impl From<v1::Device> for DeviceView {
    fn from(device: v1::Device) -> Self {
        let health = health_name(device.health());
        let facts = device.facts.unwrap_or_default();
        Self {
            health,
            facts: facts_view(facts, &device.name),
            id: device.id,
            name: device.name,
            labels: sorted(device.labels),
            online: device.online,
            message: device.message,
            load: device.load.map(LoadView::from),
            conditions: device
                .conditions
                .into_iter()
                .map(ConditionView::from)
                .collect(),
            instances: device
                .instances
                .into_iter()
                .map(InstanceView::from)
                .collect(),
            enrolled_at: rfc3339(device.enrolled_unix_ms),
            last_seen_at: rfc3339(device.last_seen_unix_ms),
            certificate_expires_at: rfc3339(device.certificate_expires_unix_ms),
            connection_epoch: device.connection_epoch,
            desired_generation: device.desired_generation,
            observed_generation: device.observed_generation,
            certificate_expires_unix_ms: device.certificate_expires_unix_ms,
            last_seen_unix_ms: device.last_seen_unix_ms,
        }
    }
}

fn facts_view(facts: v1::DeviceFacts, device: &str) -> FactsView {
    let camera = |camera| CameraView::new(camera, device);
    let accelerator = |accelerator: v1::Accelerator| AcceleratorView {
        kind: accelerator.kind,
        name: accelerator.name,
    };
    FactsView {
        hostname: facts.hostname,
        arch: facts.arch,
        os: facts.os,
        kernel: facts.kernel,
        model: facts.model,
        cpus: facts.cpus,
        memory_bytes: facts.memory_bytes,
        agent_version: facts.agent_version,
        cameras: facts.cameras.into_iter().map(camera).collect(),
        accelerators: facts.accelerators.into_iter().map(accelerator).collect(),
    }
}

impl From<v1::DeviceLoad> for LoadView {
    fn from(load: v1::DeviceLoad) -> Self {
        Self {
            at: rfc3339(load.at_unix_ms),
            cpu: load.cpu,
            memory_used_bytes: load.memory_used_bytes,
            memory_total_bytes: load.memory_total_bytes,
            disk_used_bytes: load.disk_used_bytes,
            disk_total_bytes: load.disk_total_bytes,
            temperature_celsius: load.temperature_celsius,
            load1: load.load1,
        }
    }
}

impl From<v1::Condition> for ConditionView {
    fn from(condition: v1::Condition) -> Self {
        Self {
            r#type: condition.r#type,
            message: condition.message,
            since: rfc3339(condition.since_unix_ms),
        }
    }
}

fn health_name(health: v1::DeviceHealth) -> &'static str {
    match health {
        v1::DeviceHealth::Pending => "pending",
        v1::DeviceHealth::Ready => "ready",
        v1::DeviceHealth::Degraded => "degraded",
        v1::DeviceHealth::Offline => "offline",
        v1::DeviceHealth::Unspecified => "unknown",
    }
}

impl DeviceView {
    pub(crate) fn health_style(&self) -> Style {
        match self.health {
            "ready" => Style::Good,
            "degraded" => Style::Warn,
            "offline" => Style::Bad,
            _ => Style::Dim,
        }
    }

    /// How long ago the agent was heard.
    pub(crate) fn seen_text(&self) -> String {
        if self.online {
            "now".to_owned()
        } else {
            age(self.last_seen_unix_ms, now_ms())
        }
    }
}

impl Row for DeviceView {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec![
            "DEVICE", "HEALTH", "READY", "CPU", "MEMORY", "SEEN", "VERSION",
        ];
        if wide {
            header.extend(["ID", "ARCH", "TEMP", "CAMERAS", "ACCELERATORS", "MODEL"]);
        }
        header.extend(["LABELS", "MESSAGE"]);
        header
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let ready = self
            .instances
            .iter()
            .filter(|one| one.phase == "ready")
            .count();
        let load = self.load.as_ref().filter(|_| self.online);
        let dash = || "-".to_owned();
        let mut cells = vec![
            Cell::from(self.name.as_str()),
            Cell::styled(self.health, self.health_style()),
            format!("{ready}/{}", self.instances.len()).into(),
            load.map_or_else(dash, |load| format!("{:.0}%", load.cpu * 100.0))
                .into(),
            load.map_or_else(dash, |load| rounded_bytes(load.memory_used_bytes))
                .into(),
            self.seen_text().into(),
            self.facts.agent_version.as_str().into(),
        ];
        if wide {
            let names: Vec<&str> = self
                .facts
                .accelerators
                .iter()
                .map(|one| one.name.as_str())
                .collect();
            cells.extend([
                Cell::from(self.id.as_str()),
                self.facts.arch.as_str().into(),
                load.and_then(|load| load.temperature_celsius)
                    .map_or_else(dash, |degrees| format!("{degrees:.0} °C"))
                    .into(),
                self.facts.cameras.len().to_string().into(),
                if names.is_empty() {
                    dash()
                } else {
                    names.join(",")
                }
                .into(),
                self.facts.model.as_str().into(),
            ]);
        }
        cells.push(labels_text(&self.labels).into());
        cells.push(self.message.as_str().into());
        cells
    }
}
