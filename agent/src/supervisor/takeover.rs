//! Ends the node processes that an earlier agent of this data folder left behind, so that nothing
//! ever runs twice. Finds them by their records and by the instance file in their environment:
//! the second way also finds one that was started a moment before the agent was killed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use edgeflow_spec::instance_config::{INSTANCE_ENV, InstanceConfig};
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::{process, records};
use crate::{files, inventory, paths::Paths, session::node};

/// Time that left-over processes get to end by themselves.
const GRACE: Duration = Duration::from_secs(5);
const STOP_CALL: Duration = Duration::from_secs(1);
const KILL_WAIT: Duration = Duration::from_secs(5);
const MAX_ENVIRON_BYTES: u64 = 256 * 1024;
const MAX_CONFIG_BYTES: u64 = 4 * 1024 * 1024;

/// Stops what is left over and returns when it is gone.
pub async fn take_over(paths: &Paths) {
    let mut left = from_records(paths);
    for (group, socket) in from_environment(paths) {
        left.entry(group).or_insert(socket);
    }
    if left.is_empty() {
        return;
    }
    tracing::info!(
        processes = left.len(),
        "stopping node processes of an earlier run of this agent"
    );
    let mut stops = JoinSet::new();
    for (group, socket) in left {
        stops.spawn(stop(group, socket));
    }
    stops.join_all().await;
}

async fn stop(group: u32, socket: Option<PathBuf>) {
    if let Some(socket) = socket {
        // Whether it listens or not, SIGTERM follows.
        let _ = tokio::time::timeout(STOP_CALL, node::stop(&socket, GRACE)).await;
    }
    process::signal_group(group, Signal::TERM);
    if process::group_gone(group, GRACE).await {
        return;
    }
    process::signal_group(group, Signal::KILL);
    if !process::group_gone(group, KILL_WAIT).await {
        tracing::error!(group, "a left-over process can't be killed");
    }
}

fn from_records(paths: &Paths) -> BTreeMap<u32, Option<PathBuf>> {
    let dir = paths.records();
    let records = match records::read_all(&dir) {
        Ok(records) => records,
        Err(error) => {
            tracing::warn!(%error, "the records of running processes can't be read");
            return BTreeMap::new();
        }
    };
    let boot_id = inventory::boot_id();
    let mut left = BTreeMap::new();
    for record in records {
        let same = record.boot_id == boot_id
            && process::stat(record.pid).is_some_and(|stat| stat.start_ticks == record.start_ticks);
        // The leader may be gone while its children, found by their environment, live on.
        if same {
            left.insert(record.pid, Some(record.socket));
        }
        if let Err(error) = records::remove(&dir, &record.id) {
            tracing::warn!(instance = record.id, %error, "a record can't be removed");
        }
    }
    left
}

fn from_environment(paths: &Paths) -> BTreeMap<u32, Option<PathBuf>> {
    let own = std::process::id();
    process::all()
        .into_iter()
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let file = instance_file(pid, paths.run())?;
            let bytes = files::read_bounded(&file, MAX_CONFIG_BYTES).ok()?;
            let config: InstanceConfig = serde_json::from_slice(&bytes).ok()?;
            // Another agent may share the run folder.
            if !config.state_dir.starts_with(paths.data()) {
                return None;
            }
            let stat = process::stat(pid).filter(|stat| !stat.zombie)?;
            Some((stat.group, Some(config.control_socket)))
        })
        .collect()
}

fn instance_file(pid: u32, run: &Path) -> Option<PathBuf> {
    let path = format!("/proc/{pid}/environ");
    let environ = files::read_bounded(path.as_ref(), MAX_ENVIRON_BYTES).ok()?;
    let prefix = format!("{INSTANCE_ENV}=");
    let file = environ
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(prefix.as_bytes()))?;
    let file = PathBuf::from(std::str::from_utf8(file).ok()?);
    (file.parent() == Some(run)).then_some(file)
}
