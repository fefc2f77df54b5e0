//! Files that have to survive a power cut, and the lock on the data folder. Knows no contents.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use thiserror::Error;

/// Why a folder can't be used.
#[derive(Debug, Error)]
pub enum DirError {
    /// It can't be made or read.
    #[error("can't prepare the folder {path}")]
    Prepare {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Somebody else owns it, who could then read keys or replace sockets.
    #[error(
        "the folder {path} belongs to user {owner}, not to user {user} who runs the agent; choose another one with --data-dir or --run-dir"
    )]
    Owner {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Us.
        user: u32,
    },
    /// Another agent holds the lock.
    #[error(
        "another agent already uses the data folder {path}; stop it, or start this one with its own --data-dir"
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

/// Makes a folder that only this user can enter, and tightens one that is there already.
pub fn private_dir(path: &Path) -> Result<(), DirError> {
    let prepare = |source| DirError::Prepare {
        path: path.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(prepare)?;
    let metadata = fs::symlink_metadata(path).map_err(prepare)?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(DirError::Owner {
            path: path.to_owned(),
            owner: metadata.uid(),
            user,
        });
    }
    if metadata.mode() & 0o077 != 0 && !metadata.file_type().is_symlink() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(prepare)?;
    }
    Ok(())
}

/// The lock on a data folder, held until dropped or until the process dies.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock or says who is in the way.
    pub fn take(dir: &Path) -> Result<Self, DirError> {
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| DirError::Prepare {
                path: path.clone(),
                source,
            })?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DirError::Locked {
                path: dir.to_owned(),
            }),
            Err(error) => Err(DirError::Prepare {
                path,
                source: error.into(),
            }),
        }
    }
}

/// Replaces a file as a whole: after a crash either the old or the new content is there. Returns
/// once the new content is on the disk.
pub fn write_durable(path: &Path, mode: u32, parts: &[&[u8]]) -> io::Result<()> {
    let temp = path.with_extension("new");
    let written = write_synced(&temp, mode, parts).and_then(|()| fs::rename(&temp, path));
    if let Err(error) = written {
        // Leaves no half-written file behind to take up space on a full disk.
        let _ = fs::remove_file(&temp);
        return Err(error);
    }
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn write_synced(path: &Path, mode: u32, parts: &[&[u8]]) -> io::Result<()> {
    // A leftover of a crash could have another mode.
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Removes a file; one that is not there is fine.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads at most `limit` bytes of a file, so that a strange file can't fill the memory.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_on_one_folder_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        assert!(matches!(
            DirLock::take(dir.path()),
            Err(DirError::Locked { .. })
        ));
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_durable_write_replaces_the_whole_file_and_sets_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_durable(&path, 0o600, &[b"a long first version"]).unwrap();
        write_durable(&path, 0o600, &[b"sec", b"ond"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_private_folder_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }
}
