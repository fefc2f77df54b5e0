//! Where things are on this machine by default. Only names paths; reads and writes nothing.

use std::path::{Path, PathBuf};

/// Environment variable with the folder of `edgeflow local`.
pub(crate) const LOCAL_DIR_ENV: &str = "EDGEFLOW_LOCAL_DIR";

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The control plane's data folder when it is started without `--data-dir`.
pub(crate) fn control_plane_dir() -> Option<PathBuf> {
    daemon_dir("EDGEFLOW_CONTROL_PLANE_DATA_DIR", "control-plane")
}

/// The agent's data folder when it is started without `--data-dir`.
pub(crate) fn agent_dir() -> Option<PathBuf> {
    daemon_dir("EDGEFLOW_AGENT_DATA_DIR", "agent")
}

fn daemon_dir(env: &str, name: &str) -> Option<PathBuf> {
    if let Some(dir) = env_path(env) {
        return Some(dir);
    }
    if is_root() {
        return Some(Path::new("/var/lib/edgeflow").join(name));
    }
    Some(data_home()?.join("edgeflow").join(name))
}

/// The folder of `edgeflow local`.
pub(crate) fn local_dir() -> Option<PathBuf> {
    env_path(LOCAL_DIR_ENV).or_else(|| Some(data_home()?.join("edgeflow/local")))
}

/// The configuration file.
pub(crate) fn config_file() -> Option<PathBuf> {
    let home = env_path("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")))?;
    Some(home.join("edgeflow/config.toml"))
}

/// The run folder (sockets) of an agent that is started without `--run-dir`.
pub(crate) fn run_dir() -> PathBuf {
    if let Some(dir) = env_path("EDGEFLOW_AGENT_RUN_DIR") {
        dir
    } else if is_root() {
        PathBuf::from("/run/edgeflow")
    } else if let Some(dir) = env_path("XDG_RUNTIME_DIR") {
        dir.join("edgeflow")
    } else {
        std::env::temp_dir().join(format!("edgeflow-{}", rustix::process::geteuid().as_raw()))
    }
}

fn data_home() -> Option<PathBuf> {
    env_path("XDG_DATA_HOME").or_else(|| Some(home()?.join(".local/share")))
}

fn home() -> Option<PathBuf> {
    env_path("HOME")
}

fn env_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
