//! Cameras and accelerators, found by what the kernel's drivers show. Opens no device.

use std::{collections::BTreeSet, fs, path::Path};

use super::read;

const MAX_DEVICES: usize = 64;

/// A capture device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Camera {
    /// `/dev/video0`.
    pub path: String,
    /// Name that the driver gives.
    pub name: String,
    /// Kernel driver.
    pub driver: String,
    /// Where it is plugged in.
    pub bus: String,
}

/// Something that runs models faster than the CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accelerator {
    /// `gpu`, `npu` or `tpu`.
    pub kind: String,
    /// Model or driver name.
    pub name: String,
}

/// Capture devices under `class`. A camera has several nodes; only its first is a picture.
pub fn cameras(class: &Path) -> Vec<Camera> {
    let mut names: Vec<String> = entries(class).into_iter().collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
        .into_iter()
        .filter(|name| name.starts_with("video"))
        .filter(|name| read(class.join(name).join("index")) == "0")
        .take(MAX_DEVICES)
        .map(|name| {
            let device = class.join(&name).join("device");
            Camera {
                path: format!("/dev/{name}"),
                name: read(class.join(&name).join("name")),
                driver: link_name(&device.join("driver")),
                bus: link_name(&device),
            }
        })
        .collect()
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
    use std::os::unix::fs::symlink;

    #[test]
    fn the_first_node_of_a_camera_counts_and_its_metadata_node_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let class = dir.path();
        for (name, index) in [("video0", "0"), ("video1", "1"), ("v4l-subdev0", "0")] {
            fs::create_dir_all(class.join(name)).unwrap();
            fs::write(class.join(name).join("index"), format!("{index}\n")).unwrap();
            fs::write(class.join(name).join("name"), "USB Camera\n").unwrap();
        }
        let usb = class.join("1-2:1.0");
        fs::create_dir_all(class.join("uvcvideo")).unwrap();
        fs::create_dir_all(&usb).unwrap();
        symlink(class.join("uvcvideo"), usb.join("driver")).unwrap();
        symlink(&usb, class.join("video0/device")).unwrap();
        assert_eq!(
            cameras(class),
            [Camera {
                path: "/dev/video0".to_owned(),
                name: "USB Camera".to_owned(),
                driver: "uvcvideo".to_owned(),
                bus: "1-2:1.0".to_owned(),
            }]
        );
    }

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
        assert!(cameras(dir.path()).is_empty());
        assert!(accelerators(dir.path()).is_empty());
    }
}
