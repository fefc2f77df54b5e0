//! A device as the planner sees it: who it is and which labels it has, hardware facts included.
//! Never asks the device anything.

use std::collections::BTreeMap;

use crate::names::to_label_value;

/// Prefix of labels that come from hardware facts. People can't set them.
pub const FACT_PREFIX: &str = "edgeflow.dev/";
/// Name of the device.
pub const FACT_DEVICE: &str = "edgeflow.dev/device";
/// Machine architecture: `x86_64`, `aarch64`.
pub const FACT_ARCH: &str = "edgeflow.dev/arch";
/// Operating system.
pub const FACT_OS: &str = "edgeflow.dev/os";
/// Board or machine model.
pub const FACT_MODEL: &str = "edgeflow.dev/model";
/// Number of processors.
pub const FACT_CPUS: &str = "edgeflow.dev/cpus";
/// Memory in whole GiB, rounded.
pub const FACT_MEMORY_GIB: &str = "edgeflow.dev/memory-gib";
/// Number of cameras.
pub const FACT_CAMERAS: &str = "edgeflow.dev/cameras";
/// `true` if there is at least one camera; absent otherwise.
pub const FACT_CAMERA: &str = "edgeflow.dev/camera";
/// Kind of the first accelerator; absent if there is none.
pub const FACT_ACCELERATOR: &str = "edgeflow.dev/accelerator";

/// Version of the installed redis-server, if it can serve as the device's own broker: `7.0`.
pub const FACT_REDIS: &str = "edgeflow.dev/redis";

/// What a plan has to know about a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicePlace {
    /// Identity from the certificate.
    pub id: String,
    /// Name that people use.
    pub name: String,
    /// Labels set by people together with those made from facts.
    pub labels: BTreeMap<String, String>,
}

/// Hardware facts that become labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Machine architecture.
    pub arch: String,
    /// Operating system.
    pub os: String,
    /// Board or machine model; empty if unknown.
    pub model: String,
    /// Number of processors.
    pub cpus: u32,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Number of cameras.
    pub cameras: usize,
    /// Kinds of accelerators: `gpu`, `npu`, `tpu`.
    pub accelerators: Vec<String>,
    /// Version of redis-server; empty if there is none that serves.
    pub redis: String,
}

impl DevicePlace {
    /// A device whose labels are those that people set, overlaid with its facts.
    pub fn new(
        id: impl Into<String>,
        name: impl Into<String>,
        mut labels: BTreeMap<String, String>,
        facts: &Facts,
    ) -> Self {
        labels.retain(|key, _| !key.starts_with(FACT_PREFIX));
        labels.extend(facts.labels());
        let name = name.into();
        labels.insert(FACT_DEVICE.to_owned(), to_label_value(&name));
        Self {
            id: id.into(),
            name,
            labels,
        }
    }
}

impl Facts {
    /// The labels under `edgeflow.dev/`. Unknown facts give no label.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let gib = (self.memory_bytes + (1 << 29)) >> 30;
        let text = |value: &str| Some(to_label_value(value)).filter(|v| !v.is_empty());
        [
            (FACT_ARCH, text(&self.arch)),
            (FACT_OS, text(&self.os)),
            (FACT_MODEL, text(&self.model)),
            (FACT_CPUS, (self.cpus > 0).then(|| self.cpus.to_string())),
            (FACT_MEMORY_GIB, (gib > 0).then(|| gib.to_string())),
            (FACT_CAMERAS, Some(self.cameras.to_string())),
            (FACT_CAMERA, (self.cameras > 0).then(|| "true".to_owned())),
            (
                FACT_ACCELERATOR,
                self.accelerators.first().and_then(|kind| text(kind)),
            ),
            (FACT_REDIS, text(&self.redis)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_become_labels_and_win_over_forged_ones() {
        let forged = BTreeMap::from([
            ("site".to_owned(), "berlin".to_owned()),
            (FACT_ACCELERATOR.to_owned(), "gpu".to_owned()),
        ]);
        let facts = Facts {
            arch: "aarch64".into(),
            memory_bytes: 8_100_000_000,
            cameras: 2,
            ..Facts::default()
        };
        let device = DevicePlace::new("d1", "box", forged, &facts);
        let shown: Vec<_> = device
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(
            shown,
            [
                "edgeflow.dev/arch=aarch64",
                "edgeflow.dev/camera=true",
                "edgeflow.dev/cameras=2",
                "edgeflow.dev/device=box",
                "edgeflow.dev/memory-gib=8",
                "site=berlin",
            ]
        );
    }
}
