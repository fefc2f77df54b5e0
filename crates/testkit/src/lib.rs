//! For tests only: starts the real programs in a folder of their own on free ports, waits on their
//! state, kills what it started, and fails a test whose programs logged an unexpected warning.
//!
//! A test says what it expects of the fleet; how programs are started and found is only here.

mod agent;
mod api;
mod binaries;
mod cli;
mod collector;
mod control_plane;
mod fleet;
mod logs;
mod network;
mod process;
mod processes;
mod redis;
mod tmpfs;
mod wait;

pub use agent::{Agent, AgentOptions};
pub use api::Api;
pub use binaries::binary;
pub use cli::{CliOutput, cli_in};
pub use collector::{Collector, Exported};
pub use control_plane::{ControlPlane, ControlPlaneOptions};
pub use fleet::Fleet;
pub use logs::unexpected;
pub use network::Network;
pub use process::Process;
pub use processes::{alive, kill, mentioning, signal};
pub use redis::Redis;
pub use rustix::process::Signal;
pub use tmpfs::Tmpfs;
pub use wait::{until, until_within};

use std::{path::PathBuf, time::Duration};

/// How long a test waits for anything before it fails: far longer than a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Folders with models, pictures and clips, as `cargo xtask test` gets them; empty when they could
/// not be had, and then a test that needs them says that it is skipped.
pub fn assets() -> Vec<PathBuf> {
    let Some(list) = std::env::var_os("EDGEFLOW_TEST_ASSETS") else {
        return Vec::new();
    };
    std::env::split_paths(&list)
        .filter(|folder| folder.is_dir())
        .collect()
}

/// The file of that name in [`assets`].
pub fn asset(name: &str) -> Option<PathBuf> {
    assets()
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
