//! What an assignment says about links between devices. Pure.

use std::{collections::BTreeMap, sync::Arc};

use edgeflow_spec::assignment::{Assignment, Peer};

/// An output port of an instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Output {
    /// Instance id.
    pub instance: String,
    /// Port name.
    pub port: String,
}

/// What another device may read here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Id of the device.
    pub device: String,
    /// Which output.
    pub output: Output,
    /// Over which link.
    pub link: String,
    /// As which consumer group.
    pub group: String,
}

/// Links to and from other devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Outputs on other devices that instances here read: the device's id.
    pub wanted: BTreeMap<Output, String>,
    /// Where those devices are.
    pub peers: BTreeMap<String, Peer>,
    /// What other devices read here.
    pub granted: Vec<Grant>,
}

impl Table {
    /// Links over a broker need no agent.
    pub fn new(assignment: &Assignment) -> Self {
        let mut table = Self {
            peers: assignment.peers.clone(),
            ..Self::default()
        };
        let instances = assignment.instances.iter();
        for instance in instances.filter(|one| one.broker.is_none()) {
            for input in &instance.inputs {
                for (from, remote) in &input.remote {
                    let output = Output {
                        instance: from.clone(),
                        port: input.from_port.clone(),
                    };
                    table.wanted.insert(output, remote.device.clone());
                }
            }
            for output in &instance.outputs {
                for group in &output.groups {
                    let grants = group.devices.iter().map(|device| Grant {
                        device: device.clone(),
                        output: Output {
                            instance: instance.id.clone(),
                            port: output.port.clone(),
                        },
                        link: group.link.clone(),
                        group: group.group.clone(),
                    });
                    table.granted.extend(grants);
                }
            }
        }
        table
    }

    /// Whether a device may read an output at all.
    pub fn admits(&self, device: &str, output: &Output) -> bool {
        let mut grants = self.granted.iter();
        grants.any(|grant| grant.device == device && grant.output == *output)
    }
}

/// The table in use.
pub type Current = tokio::sync::watch::Receiver<Arc<Table>>;
