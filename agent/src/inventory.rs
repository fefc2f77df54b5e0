//! What this machine is and how loaded it is, read from /proc and /sys. Reads only; missing files
//! mean missing facts, never errors.

mod cameras;
mod hardware;
mod load;

use std::{fs, path::Path};

use edgeflow_spec::names::to_name;

pub use cameras::{Camera, cameras, follow as follow_cameras};
pub use hardware::{Accelerator, accelerators};
pub use load::{Load, sample};

/// Host names that many machines have.
const NO_NAMES: &[&str] = &["none", "localhost", "localhost-localdomain"];

/// Slow-changing facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Host name.
    pub hostname: String,
    /// `x86_64`, `aarch64` …
    pub arch: String,
    /// `Debian GNU/Linux 13 (trixie)`.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Board or product.
    pub model: String,
    /// Logical processors.
    pub cpus: u32,
    /// Physical memory.
    pub memory_bytes: u64,
    /// Cameras; filled in by who follows them.
    pub cameras: Vec<Camera>,
    /// Accelerators.
    pub accelerators: Vec<Accelerator>,
    /// Changes at every boot.
    pub boot_id: String,
    /// Where other devices find the agent; filled in by who knows its configuration.
    pub link_addresses: Vec<String>,
    /// Version of redis-server, if it can be the device's own broker; else empty.
    pub redis: String,
}

/// Looks at the machine.
pub fn facts() -> Facts {
    let uname = rustix::system::uname();
    Facts {
        hostname: hostname(),
        arch: std::env::consts::ARCH.to_owned(),
        os: os_name(&read("/etc/os-release")),
        kernel: uname.release().to_string_lossy().into_owned(),
        model: model(),
        cpus: std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory_bytes: load::memory(&read("/proc/meminfo")).1,
        cameras: Vec::new(),
        accelerators: accelerators(Path::new("/")),
        boot_id: boot_id(),
        link_addresses: Vec::new(),
        redis: crate::broker::program::usable_version(),
    }
}

/// The host name.
pub fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// A device name for this machine: its host name with other characters replaced; where that says
/// nothing, one from the machine's id.
pub fn device_name() -> String {
    let machine = match read("/etc/machine-id") {
        id if id.is_empty() => boot_id(),
        id => id,
    };
    name_from(&hostname(), &machine)
}

fn name_from(hostname: &str, machine: &str) -> String {
    match to_name(hostname) {
        Some(name) if !NO_NAMES.contains(&name.as_str()) => name,
        _ => format!("device-{}", machine.chars().take(8).collect::<String>()),
    }
}

/// Changes at every boot.
pub fn boot_id() -> String {
    read("/proc/sys/kernel/random/boot_id")
}

fn os_name(release: &str) -> String {
    release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(
            || "Linux".to_owned(),
            |name| name.trim_matches('"').to_owned(),
        )
}

fn model() -> String {
    let device_tree = read("/proc/device-tree/model");
    if !device_tree.is_empty() {
        return device_tree;
    }
    let vendor = read("/sys/class/dmi/id/sys_vendor");
    let product = read("/sys/class/dmi/id/product_name");
    format!("{vendor} {product}").trim().to_owned()
}

/// A small text file without the ends that the kernel puts there; empty when it is not readable.
fn read(path: impl AsRef<Path>) -> String {
    fs::read(path).map_or_else(
        |_| String::new(),
        |bytes| {
            String::from_utf8_lossy(&bytes)
                .trim_matches(|c: char| c == '\0' || c.is_whitespace())
                .to_owned()
        },
    )
}

#[cfg(test)]
mod tests {
    use edgeflow_spec::names::check_name;

    use super::*;

    #[test]
    fn this_machine_has_the_basic_facts() {
        let facts = facts();
        assert!(!facts.hostname.is_empty());
        assert!(!facts.kernel.is_empty());
        assert!(facts.cpus >= 1);
        assert!(facts.memory_bytes > 0);
        assert_eq!(facts.boot_id.len(), 36);
    }

    #[test]
    fn any_host_name_gives_a_device_name() {
        for (hostname, name) in [
            ("pi-7", "pi-7"),
            ("Jetson_Nano.local", "jetson-nano-local"),
            ("(none)", "device-0123abcd"),
            ("localhost", "device-0123abcd"),
            ("", "device-0123abcd"),
        ] {
            assert_eq!(name_from(hostname, "0123abcd99"), name);
        }
        assert_eq!(check_name(&device_name()), Ok(()));
    }

    #[test]
    fn the_name_of_the_system_is_found_or_replaced() {
        assert_eq!(os_name("ID=x\nPRETTY_NAME=\"Some OS 1\"\n"), "Some OS 1");
        assert_eq!(os_name(""), "Linux");
    }
}
