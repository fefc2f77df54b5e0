//! What runs, on disk: pid, start time and socket of every process, so that the next agent finds
//! what this one has left.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::files;

const MAX_RECORD_BYTES: u64 = 16 * 1024;

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) pid: u32,
    /// Start time in clock ticks since boot.
    pub(super) start_ticks: u64,
    /// Process ids and ticks mean nothing after a reboot.
    pub(super) boot_id: String,
    pub(super) socket: PathBuf,
    /// Restart hash of what it runs.
    pub(super) hash: String,
}

fn path(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.json"))
}

pub(super) fn write(dir: &Path, record: &Record) -> io::Result<()> {
    let bytes = serde_json::to_vec(record)?;
    // Not synced: after a power cut there is no process to find.
    let target = path(dir, &record.id);
    let temp = target.with_extension("new");
    fs::write(&temp, bytes)?;
    fs::rename(temp, target)
}

pub(super) fn remove(dir: &Path, id: &str) -> io::Result<()> {
    files::remove_if_there(&path(dir, id))
}

/// All records; unreadable ones are left out and removed.
pub(super) fn read_all(dir: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(dir)?.flatten() {
        let record = files::read_bounded(&entry.path(), MAX_RECORD_BYTES)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match record {
            Some(record) => records.push(record),
            None => files::remove_if_there(&entry.path())?,
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_and_a_broken_one_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record {
            id: "s.n.0".to_owned(),
            pid: 1,
            start_ticks: 2,
            boot_id: "b".to_owned(),
            socket: "/run/x".into(),
            hash: "h".to_owned(),
        };
        write(dir.path(), &record).unwrap();
        fs::write(dir.path().join("broken.json"), b"{").unwrap();
        assert_eq!(read_all(dir.path()).unwrap(), [record]);
        remove(dir.path(), "s.n.0").unwrap();
        assert!(read_all(dir.path()).unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
