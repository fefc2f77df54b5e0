//! Checks of this machine: programs, cameras, disk, folders, ports, models.

use edgeflow_spec::quantity::rounded_bytes;
use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::Command,
};

use edgeflow_spec::broker;

use rustix::fs::{Access, access, statvfs};

use super::Check;
use crate::{client::Target, cmd::local, paths};

/// Below this a device can't keep logs and artifacts.
const DISK_FAILED_BYTES: u64 = 100 * 1024 * 1024;
/// Below this it soon can't.
const DISK_WARNING_BYTES: u64 = 1024 * 1024 * 1024;
/// What a daemon listens on unless told otherwise.
const PORTS: [(u16, &str); 3] = [
    (7443, "control plane, TLS"),
    (7080, "control plane, dashboard"),
    (7081, "agent, metrics"),
];
/// Entries of an assets folder that are looked at.
const MAX_ASSETS: usize = 1_000;

/// All of them.
pub(crate) fn checks(target: Option<&Target>) -> Vec<Check> {
    vec![
        programs(),
        ffmpeg(),
        redis(),
        cameras(),
        disk(),
        run_dir(),
        ports(target),
        models(),
    ]
}

fn programs() -> Check {
    let missing: Vec<&str> = ["edgeflow-control-plane", "edgeflow-agent", "edgeflow-nodes"]
        .into_iter()
        .filter(|name| local::programs::find(name).is_err())
        .collect();
    if missing.is_empty() {
        Check::ok("programs", "control plane, agent and nodes are installed")
    } else {
        Check::warning(
            "programs",
            format!(
                "not beside this program and not on PATH: {}",
                missing.join(", ")
            ),
            "`edgeflow local` and this machine as a device need them; install all EdgeFlow programs into one folder",
        )
    }
}

fn ffmpeg() -> Check {
    match local::programs::on_path("ffmpeg") {
        Some(path) => Check::ok("ffmpeg", path.display().to_string()),
        None => Check::warning(
            "ffmpeg",
            "not installed",
            "needed only for network streams and files other than MJPEG: apt-get install ffmpeg",
        ),
    }
}

fn redis() -> Check {
    const NEED: &str = "needed only for links with `via=broker`";
    let Some(path) = local::programs::on_path(broker::PROGRAM) else {
        let fix = format!("{NEED}: {}", broker::INSTALL_HINT);
        return Check::warning(broker::PROGRAM, "not installed", fix);
    };
    let output = Command::new(&path).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match text.ok().as_deref().and_then(broker::parse_version) {
        Some((major, minor)) if (major, minor) >= broker::MIN_VERSION => Check::ok(
            broker::PROGRAM,
            format!("{major}.{minor}, {}", path.display()),
        ),
        version => {
            let found = version.map_or("its version is unknown".to_owned(), |(major, minor)| {
                format!("{major}.{minor} is too old")
            });
            let detail = format!("{found}: {}", path.display());
            let fix = format!("{NEED}: {}", broker::INSTALL_HINT);
            Check::warning(broker::PROGRAM, detail, fix)
        }
    }
}

fn cameras() -> Check {
    let mut usable = Vec::new();
    let mut refused = Vec::new();
    for entry in fs::read_dir("/dev").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_video = name
            .to_string_lossy()
            .strip_prefix("video")
            .is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            });
        if !is_video || !entry.file_type().is_ok_and(|kind| kind.is_char_device()) {
            continue;
        }
        let path = entry.path();
        let allowed = access(&path, Access::READ_OK | Access::WRITE_OK).is_ok();
        if allowed { &mut usable } else { &mut refused }.push(path.display().to_string());
    }
    usable.sort();
    refused.sort();
    if !refused.is_empty() {
        Check::failed(
            "cameras",
            format!("no permission for {}", refused.join(", ")),
            "add the user that runs the agent to the group: sudo usermod -aG video USER, then log in again",
        )
    } else if usable.is_empty() {
        Check::ok(
            "cameras",
            "none plugged in; `use: pattern` and `use: video` need none",
        )
    } else {
        Check::ok("cameras", usable.join(", "))
    }
}

fn disk() -> Check {
    let dirs: Vec<PathBuf> = [paths::agent_dir(), paths::control_plane_dir()]
        .into_iter()
        .flatten()
        .collect();
    let mut least: Option<(u64, PathBuf)> = None;
    for dir in dirs {
        let existing = nearest_existing(&dir);
        if let Ok(stat) = statvfs(&existing) {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            if least.as_ref().is_none_or(|(known, _)| free < *known) {
                least = Some((free, existing));
            }
        }
    }
    let Some((free, path)) = least else {
        return Check::skipped("disk", "no data folder is known");
    };
    let detail = format!("{} free in {}", rounded_bytes(free), path.display());
    let fix = "make room; logs and artifacts are bounded but need some hundred megabytes";
    if free < DISK_FAILED_BYTES {
        Check::failed("disk", detail, fix)
    } else if free < DISK_WARNING_BYTES {
        Check::warning("disk", detail, fix)
    } else {
        Check::ok("disk", detail)
    }
}

fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(Path::new("/"))
        .to_path_buf()
}

fn run_dir() -> Check {
    let dir = paths::run_dir();
    let existing = nearest_existing(&dir);
    if access(&existing, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        Check::ok("run folder", dir.display().to_string())
    } else {
        Check::failed(
            "run folder",
            format!("{} can't be written", existing.display()),
            "run the agent as a user that may write there, or give it --run-dir",
        )
    }
}

fn ports(target: Option<&Target>) -> Check {
    let taken: Vec<String> = PORTS
        .iter()
        .filter(|(port, _)| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
        .map(|(port, what)| format!("{port} ({what})"))
        .collect();
    if taken.is_empty() {
        return Check::ok("ports", "7443, 7080 and 7081 are free");
    }
    let known = target.is_some_and(|target| crate::client::is_loopback(&target.host));
    if known {
        Check::ok(
            "ports",
            format!(
                "in use, by the running control plane and agent: {}",
                taken.join(", ")
            ),
        )
    } else {
        Check::warning(
            "ports",
            format!("in use: {}", taken.join(", ")),
            "if that is not EdgeFlow, start the daemons with other ports: --listen, --http",
        )
    }
}

fn models() -> Check {
    let dirs: Vec<PathBuf> = [
        paths::agent_dir(),
        paths::local_dir().map(|dir| dir.join("agent")),
    ]
    .into_iter()
    .flatten()
    .map(|dir| dir.join("assets"))
    .collect();
    let mut found = Vec::new();
    for entry in dirs
        .iter()
        .flat_map(|dir| fs::read_dir(dir).into_iter().flatten())
        .take(MAX_ASSETS)
        .flatten()
    {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "onnx") {
            found.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    if found.is_empty() {
        let places: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        Check::warning(
            "models",
            format!("no .onnx file in {}", places.join(" or ")),
            "`use: detect` needs one on the device: put it there, or start the agent with --assets DIR",
        )
    } else {
        found.sort();
        found.dedup();
        Check::ok("models", found.join(", "))
    }
}
