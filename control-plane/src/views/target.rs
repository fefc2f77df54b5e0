//! Finds what somebody wants to look at: a node of a system, on a device or on any.

use super::Views;
use crate::service::DeviceState;

/// An output port of an instance on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Device id.
    pub device_id: String,
    /// Device name.
    pub device_name: String,
    /// Instance id.
    pub instance: String,
    /// Output port.
    pub port: String,
}

/// Why there is nothing to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No such system.
    #[error("there is no system {0}")]
    NoSystem(String),
    /// No such node.
    #[error("system {system} has no node {node}")]
    NoNode {
        /// System.
        system: String,
        /// Node.
        node: String,
    },
    /// No such output.
    #[error("node {node} has no output {port}; it has {outputs}")]
    NoPort {
        /// Node.
        node: String,
        /// What was asked for.
        port: String,
        /// What there is.
        outputs: String,
    },
    /// A sink.
    #[error("node {0} has no output to look at")]
    NoOutput(String),
    /// No such device.
    #[error("there is no device {0}")]
    NoDevice(String),
    /// The device does not run the system.
    #[error("system {system} does not run on device {device}")]
    NotOnDevice {
        /// System.
        system: String,
        /// Device.
        device: String,
    },
    /// No device runs the system.
    #[error("no device runs system {0}")]
    NowhereRuns(String),
    /// Too many views.
    #[error("there are {0} live views already")]
    TooMany(usize),
}

impl Views {
    /// The first output of the first replica of a node: on the named device, else on one that is
    /// online.
    pub fn find(&self, system: &str, node: &str, device: &str) -> Result<Target, TargetError> {
        self.find_port(system, node, "", device)
    }

    /// [`Self::find`] for one of the node's outputs; an empty name is the first.
    pub fn find_port(
        &self,
        system: &str,
        node: &str,
        port: &str,
        device: &str,
    ) -> Result<Target, TargetError> {
        let world = self.service.world();
        let state = world
            .systems
            .get(system)
            .ok_or_else(|| TargetError::NoSystem(system.to_owned()))?;
        let spec = state
            .spec
            .nodes
            .get(node)
            .ok_or_else(|| TargetError::NoNode {
                system: system.to_owned(),
                node: node.to_owned(),
            })?;
        let ports = spec.output_ports();
        let first = ports.first();
        let first = first.ok_or_else(|| TargetError::NoOutput(node.to_owned()))?;
        let port = match port {
            "" => first.clone(),
            port if ports.iter().any(|known| known == port) => port.to_owned(),
            port => {
                return Err(TargetError::NoPort {
                    node: node.to_owned(),
                    port: port.to_owned(),
                    outputs: ports.join(", "),
                });
            }
        };
        let runs = |device: &DeviceState| {
            device
                .instances_of(system)
                .find(|instance| instance.node == node)
                .map(|instance| Target {
                    device_id: device.row.id.clone(),
                    device_name: device.row.name.clone(),
                    instance: instance.id.clone(),
                    port: port.clone(),
                })
        };
        if !device.is_empty() {
            let state = world
                .device(device)
                .ok_or_else(|| TargetError::NoDevice(device.to_owned()))?;
            return runs(state).ok_or_else(|| TargetError::NotOnDevice {
                system: system.to_owned(),
                device: device.to_owned(),
            });
        }
        let mut offline = None;
        for device in world.devices.values() {
            let Some(target) = runs(device) else { continue };
            if self.service.fleet().live(&device.row.id).online {
                return Ok(target);
            }
            offline.get_or_insert(target);
        }
        offline.ok_or_else(|| TargetError::NowhereRuns(system.to_owned()))
    }
}
