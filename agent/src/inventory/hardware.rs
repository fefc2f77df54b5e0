//! Accelerators, found by what the kernel's drivers show. Opens no device.

use std::{collections::BTreeSet, fs, path::Path};

use super::read;

const MAX_DEVICES: usize = 64;

/// Something that runs models faster than the CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accelerator {
    /// `gpu`, `npu` or `tpu`.
    pub kind: String,
    /// Model or driver name.
    pub name: String,
}

/// Accelerators of the machine whose root folder is `root`.
pub fn accelerators(root: &Path) -> Vec<Accelerator> {
    let mut found = Vec::new();
    let mut add = |kind: &str, name: String| {
        found.push(Accelerator {
            kind: kind.to_owned(),
            name,
        });
    };
    let proc_gpus = root.join("proc/driver/nvidia/gpus");
    for gpu in entries(&proc_gpus) {
        let information = read(proc_gpus.join(gpu).join("information"));
        let model = information
            .lines()
            .find_map(|line| line.strip_prefix("Model:"))
            .map_or("NVIDIA GPU", str::trim);
        add("gpu", model.to_owned());
    }
    let dev = entries(&root.join("dev"));
    let has = |name: &str| dev.contains(name);
    if has("nvhost-gpu") || has("nvgpu") {
        add("gpu", "NVIDIA Tegra".to_owned());
    }
    for name in dev.iter().filter(|name| name.starts_with("hailo")) {
        add("npu", format!("Hailo ({name})"));
    }
    for name in dev.iter().filter(|name| name.starts_with("apex_")) {
        add("tpu", format!("Coral Edge TPU ({name})"));
    }
    if has("rknpu") || root.join("sys/module/rknpu").exists() {
        add("npu", "Rockchip NPU".to_owned());
    }
    let accel = root.join("sys/class/accel");
    for name in entries(&accel) {
        let driver = link_name(&accel.join(&name).join("device/driver"));
        add("npu", format!("{driver} ({name})"));
    }
    found.truncate(MAX_DEVICES);
    found
}

/// Names in a folder, sorted.
fn entries(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).map_or_else(
        |_| BTreeSet::new(),
        |entries| {
            entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect()
        },
    )
}

fn link_name(path: &Path) -> String {
    fs::canonicalize(path)
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accelerators_are_told_by_their_drivers() {
        let dir = tempfile::tempdir().unwrap();
        let gpu = dir.path().join("proc/driver/nvidia/gpus/0000:01:00.0");
        fs::create_dir_all(&gpu).unwrap();
        fs::write(gpu.join("information"), "Model: \t NVIDIA H100\nIRQ: 1\n").unwrap();
        fs::create_dir_all(dir.path().join("dev")).unwrap();
        fs::write(dir.path().join("dev/hailo0"), "").unwrap();
        let names: Vec<_> = accelerators(dir.path())
            .into_iter()
            .map(|found| (found.kind, found.name))
            .collect();
        assert_eq!(
            names,
            [
                ("gpu".to_owned(), "NVIDIA H100".to_owned()),
                ("npu".to_owned(), "Hailo (hailo0)".to_owned())
            ]
        );
    }

    #[test]
    fn a_machine_without_any_has_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(accelerators(dir.path()).is_empty());
    }
}
