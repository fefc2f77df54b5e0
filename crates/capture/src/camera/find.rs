//! Which cameras there are and which one is meant, from what the kernel shows in /sys. Opens no
//! device. A camera is known by its identity (serial number, or the place where it is plugged in),
//! because the numbers of /dev/videoN change.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Fault;

/// Devices looked at.
const MAX_DEVICES: usize = 64;
/// Folders looked up from a device for its USB facts.
const MAX_DEPTH: usize = 16;
/// Bytes kept of a text of the kernel.
const MAX_TEXT: usize = 128;

/// Where devices are. Others than the default are for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// `/sys/class/video4linux`.
    pub class: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            class: "/sys/class/video4linux".into(),
            dev: "/dev".into(),
        }
    }
}

/// What stays the same when a camera is plugged in again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Vendor, product and serial number of a USB camera that has one.
    pub serial: Option<(String, String, String)>,
    /// Where it is plugged in: its folder under /sys/devices.
    pub bus: String,
    /// Which of the device's video nodes it is.
    pub index: String,
    /// Name that the driver gives.
    pub name: String,
}

impl Identity {
    /// How sure it is that both are the same camera; `None`: they are not.
    fn likeness(&self, other: &Self) -> Option<u8> {
        if self.index != other.index || self.name != other.name {
            return None;
        }
        let same_place = !self.bus.is_empty() && self.bus == other.bus;
        match (&self.serial, &other.serial) {
            (Some(mine), Some(theirs)) if mine == theirs => Some(1 + u8::from(same_place)),
            (None, None) if same_place => Some(2),
            _ => None,
        }
    }
}

/// A video device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// `/dev/video0`.
    pub path: PathBuf,
    /// Name that the driver gives.
    pub name: String,
    /// Kernel driver.
    pub driver: String,
    /// Where it is plugged in, in short: `1-2:1.0`.
    pub bus: String,
    /// What stays the same.
    pub identity: Identity,
}

/// Which camera is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The first one that works.
    Auto,
    /// A device file or a link to one.
    Path(PathBuf),
    /// A part of its name, its serial number or its bus.
    Name(String),
}

/// A text that names no camera.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no camera: write `auto`, a path like /dev/video0, by-id/…, by-path/…, or a part of the camera's name"
)]
pub struct SelectorError(String);

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let text = text.trim();
        let is_node = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
        Ok(if text.is_empty() || text.contains('\0') {
            return Err(SelectorError(text.to_owned()));
        } else if text == "auto" {
            Self::Auto
        } else if text.starts_with('/') {
            Self::Path(text.into())
        } else if text.starts_with("by-id/") || text.starts_with("by-path/") {
            Self::Path(Path::new("/dev/v4l").join(text))
        } else if text.strip_prefix("video").is_some_and(is_node) {
            Self::Path(Path::new("/dev").join(text))
        } else {
            Self::Name(text.to_owned())
        })
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Path(path) => path.display().fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Every video device, by number.
pub fn list(places: &Places) -> Vec<Found> {
    let mut numbers: Vec<u32> = fs::read_dir(&places.class)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("video")?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers.truncate(MAX_DEVICES);
    numbers
        .into_iter()
        .map(|number| describe(places, &format!("video{number}")))
        .collect()
}

/// The cameras that may be meant, the likeliest first. With `known`, only that camera.
pub(super) fn candidates(
    places: &Places,
    selector: &Selector,
    known: Option<&Identity>,
) -> Result<Vec<Found>, Fault> {
    let there = list(places);
    let not_found = |there: &[Found]| Fault::NotFound {
        wanted: selector.to_string(),
        there: words(there),
    };
    if let Some(known) = known {
        let mut same: Vec<(u8, &Found)> = there
            .iter()
            .filter_map(|found| Some((known.likeness(&found.identity)?, found)))
            .collect();
        same.sort_by_key(|(likeness, _)| std::cmp::Reverse(*likeness));
        let Some((_, found)) = same.first() else {
            return Err(Fault::Unplugged {
                name: known.name.clone(),
            });
        };
        return Ok(vec![(*found).clone()]);
    }
    let found = match selector {
        Selector::Auto => there.clone(),
        Selector::Path(path) => by_path(places, &there, path),
        Selector::Name(name) => by_name(&there, name),
    };
    if found.is_empty() {
        return Err(not_found(&there));
    }
    Ok(found)
}

fn by_path(places: &Places, there: &[Found], path: &Path) -> Vec<Found> {
    let Ok(real) = fs::canonicalize(path) else {
        return Vec::new();
    };
    let is_it = |found: &&Found| fs::canonicalize(&found.path).is_ok_and(|there| there == real);
    match there.iter().find(is_it) {
        Some(found) => vec![found.clone()],
        // A device that was handed into a container without its /sys.
        None => vec![describe(places, &real.to_string_lossy())],
    }
}

fn by_name(there: &[Found], wanted: &str) -> Vec<Found> {
    let wanted = wanted.to_lowercase();
    let serial = |found: &Found| match &found.identity.serial {
        Some((_, _, serial)) => serial.to_lowercase() == wanted,
        None => false,
    };
    let is_it = |found: &&Found| {
        serial(found) || found.bus.to_lowercase() == wanted || found.name.to_lowercase() == wanted
    };
    let exact: Vec<Found> = there.iter().filter(is_it).cloned().collect();
    if !exact.is_empty() {
        return exact;
    }
    let partly = |found: &&Found| found.name.to_lowercase().contains(&wanted);
    there.iter().filter(partly).cloned().collect()
}

/// `this device has none`, `this device has /dev/video0 (Cam)`.
fn words(there: &[Found]) -> String {
    if there.is_empty() {
        return "this device has none".to_owned();
    }
    let each: Vec<String> = there
        .iter()
        .map(|found| format!("{} ({})", found.path.display(), found.name))
        .collect();
    format!("this device has {}", each.join(", "))
}

/// `name` is `video0`, or a path where /sys knows nothing.
fn describe(places: &Places, name: &str) -> Found {
    let node = places.class.join(name);
    let device = fs::canonicalize(node.join("device")).unwrap_or_default();
    let driver = fs::canonicalize(node.join("device/driver")).unwrap_or_default();
    let identity = Identity {
        serial: serial(&device),
        bus: text_of(&device),
        index: read(&node.join("index")),
        name: read(&node.join("name")),
    };
    Found {
        path: places.dev.join(name),
        name: identity.name.clone(),
        driver: last_part(&driver),
        bus: last_part(&device),
        identity,
    }
}

/// From the USB device above an interface.
fn serial(device: &Path) -> Option<(String, String, String)> {
    let usb = device
        .ancestors()
        .take(MAX_DEPTH)
        .find(|folder| folder.join("idVendor").exists())?;
    let serial = read(&usb.join("serial"));
    if serial.is_empty() {
        return None;
    }
    let (vendor, product) = (read(&usb.join("idVendor")), read(&usb.join("idProduct")));
    Some((vendor, product, serial))
}

fn last_part(path: &Path) -> String {
    path.file_name()
        .map(|name| text_of(Path::new(name)))
        .unwrap_or_default()
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A short text of the kernel; empty where there is none.
fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.trim_matches(|c: char| c == '\0' || c.is_whitespace())
        .chars()
        .take(MAX_TEXT)
        .collect()
}

#[cfg(test)]
mod tests;
