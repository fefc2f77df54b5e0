//! Systems as shown to people and programs.

use std::collections::BTreeMap;

use edgeflow_proto::v1;
use serde::Serialize;

use super::{
    instance::InstanceView,
    params::{OverrideView, ParameterView},
    sorted,
};
use crate::output::{
    Row,
    colour::Style,
    table::Cell,
    time::{age, now_ms, rfc3339},
};

/// A system with what runs of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SystemView {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) revision: u64,
    pub(crate) etag: String,
    pub(crate) selector: String,
    /// copies | spread
    pub(crate) placement: String,
    /// unplaced | progressing | ready | degraded | unknown
    pub(crate) phase: &'static str,
    pub(crate) message: String,
    pub(crate) devices_matched: u32,
    pub(crate) devices_ready: u32,
    pub(crate) instances_desired: u32,
    pub(crate) instances_ready: u32,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
    pub(crate) nodes: Vec<NodeView>,
    pub(crate) links: Vec<LinkView>,
    pub(crate) views: Vec<String>,
    pub(crate) devices: Vec<PlaceView>,
    pub(crate) instances: Vec<InstanceView>,
    pub(crate) manifest: String,
    #[serde(skip)]
    updated_unix_ms: i64,
}

/// A node as specified.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeView {
    pub(crate) name: String,
    /// Built-in node, empty for a command.
    pub(crate) uses: String,
    /// Command line, empty for a built-in node.
    pub(crate) run: Vec<String>,
    pub(crate) replicas: u32,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) params: serde_json::Value,
    /// What can be set, as far as it is known.
    pub(crate) parameters: Vec<ParameterView>,
    /// What was set since the last apply, or durably.
    pub(crate) overrides: Vec<OverrideView>,
}

/// A link as planned.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LinkView {
    pub(crate) id: String,
    pub(crate) from: String,
    pub(crate) from_port: String,
    pub(crate) to: String,
    pub(crate) to_port: String,
    pub(crate) qos: String,
    pub(crate) transport: String,
    pub(crate) transport_reason: String,
}

/// A device that the system is placed on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PlaceView {
    pub(crate) device: String,
    pub(crate) device_id: String,
    pub(crate) online: bool,
    pub(crate) desired_generation: u64,
    pub(crate) observed_generation: u64,
    pub(crate) ready: bool,
    pub(crate) message: String,
}

impl From<v1::System> for SystemView {
    fn from(system: v1::System) -> Self {
        let status = system.status.unwrap_or_default();
        Self {
            name: system.name,
            labels: sorted(system.labels),
            revision: system.revision,
            etag: system.etag,
            selector: system.selector,
            placement: system.placement,
            phase: phase_name(status.phase()),
            message: status.message,
            devices_matched: status.devices_matched,
            devices_ready: status.devices_ready,
            instances_desired: status.instances_desired,
            instances_ready: status.instances_ready,
            created_at: rfc3339(system.created_unix_ms),
            updated_at: rfc3339(system.updated_unix_ms),
            nodes: system.nodes.into_iter().map(NodeView::from).collect(),
            links: system.links.into_iter().map(LinkView::from).collect(),
            views: system.views,
            devices: status.devices.into_iter().map(PlaceView::from).collect(),
            instances: status
                .instances
                .into_iter()
                .map(InstanceView::from)
                .collect(),
            manifest: system.manifest,
            updated_unix_ms: system.updated_unix_ms,
        }
    }
}

impl From<v1::NodeInfo> for NodeView {
    fn from(node: v1::NodeInfo) -> Self {
        Self {
            name: node.name,
            uses: node.uses,
            run: node.run,
            replicas: node.replicas,
            inputs: node.inputs,
            outputs: node.outputs,
            params: serde_json::from_str(&node.params_json).unwrap_or_default(),
            parameters: node.parameters.into_iter().map(Into::into).collect(),
            overrides: node.overrides.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::LinkInfo> for LinkView {
    fn from(link: v1::LinkInfo) -> Self {
        Self {
            id: link.id,
            from: link.from,
            from_port: link.from_port,
            to: link.to,
            to_port: link.to_port,
            qos: link.qos,
            transport: link.transport,
            transport_reason: link.transport_reason,
        }
    }
}

impl From<v1::SystemDevice> for PlaceView {
    fn from(device: v1::SystemDevice) -> Self {
        Self {
            device: device.device_name,
            device_id: device.device_id,
            online: device.online,
            desired_generation: device.desired_generation,
            observed_generation: device.observed_generation,
            ready: device.ready,
            message: device.message,
        }
    }
}

fn phase_name(phase: v1::SystemPhase) -> &'static str {
    match phase {
        v1::SystemPhase::Unplaced => "unplaced",
        v1::SystemPhase::Progressing => "progressing",
        v1::SystemPhase::Ready => "ready",
        v1::SystemPhase::Degraded => "degraded",
        v1::SystemPhase::Unspecified => "unknown",
    }
}

impl SystemView {
    pub(crate) fn phase_style(&self) -> Style {
        match self.phase {
            "ready" => Style::Good,
            "degraded" => Style::Bad,
            _ => Style::Warn,
        }
    }

    /// Nodes with a parameter that was set, and the parameter.
    pub(crate) fn overrides(&self) -> impl Iterator<Item = (&NodeView, &OverrideView)> {
        let nodes = self.nodes.iter();
        nodes.flat_map(|node| node.overrides.iter().map(move |set| (node, set)))
    }

    /// `3/4`.
    pub(crate) fn ready_text(&self) -> String {
        format!("{}/{}", self.instances_ready, self.instances_desired)
    }
}

impl Row for SystemView {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["SYSTEM", "PHASE", "READY", "DEVICES", "REVISION", "UPDATED"];
        if wide {
            header.extend(["NODES", "LINKS", "SET", "SELECTOR"]);
        }
        header.push("MESSAGE");
        header
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells = vec![
            Cell::from(self.name.as_str()),
            Cell::styled(self.phase, self.phase_style()),
            self.ready_text().into(),
            format!("{}/{}", self.devices_ready, self.devices_matched).into(),
            self.revision.to_string().into(),
            age(self.updated_unix_ms, now_ms()).into(),
        ];
        if wide {
            let selector = if self.selector.is_empty() {
                "all devices"
            } else {
                &self.selector
            };
            cells.extend([
                Cell::from(self.nodes.len().to_string()),
                self.links.len().to_string().into(),
                self.overrides().count().to_string().into(),
                selector.into(),
            ]);
        }
        cells.push(self.message.as_str().into());
        cells
    }
}
