//! The folder of `edgeflow local`: what is where, and the lock that keeps two of them apart.

use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use super::leftovers;
use crate::{
    failure::{Exit, Failure, Outcome},
    output::live::patiently,
    paths,
};

/// Daemons of a killed run notice and stop by themselves within this time.
const LEFTOVER_GRACE: Duration = Duration::from_secs(7);
const LEFTOVER_POLL: Duration = Duration::from_millis(50);

/// The open, locked folder.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    run_dir: PathBuf,
    ephemeral: bool,
    /// Held for as long as this lives.
    _lock: File,
    join_token: RefCell<Option<String>>,
}

impl Home {
    /// Makes the folder if needed, locks it, and waits for what an earlier run left to end.
    pub(crate) async fn open(given: Option<&Path>, ephemeral: bool) -> Outcome<Self> {
        let dir = if ephemeral {
            std::env::temp_dir().join(format!("edgeflow-local-{}", std::process::id()))
        } else {
            given
                .map(Path::to_path_buf)
                .or_else(paths::local_dir)
                .ok_or_else(|| {
                    Failure::failed("can't tell where to keep data")
                        .why("neither XDG_DATA_HOME nor HOME is set")
                        .next("name a folder: --data-dir DIR")
                })?
        };
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        private_dir(&dir)?;
        let lock = take_lock(&dir)?;
        let run_dir = run_dir(&dir);
        private_dir(&run_dir)?;
        for inner in ["logs", "control-plane", "agent"] {
            private_dir(&dir.join(inner))?;
        }
        let home = Self {
            dir,
            run_dir,
            ephemeral,
            _lock: lock,
            join_token: RefCell::new(None),
        };
        patiently(
            "waiting for an earlier run to end",
            home.outwait_leftovers(),
        )
        .await;
        Ok(home)
    }

    async fn outwait_leftovers(&self) {
        let started = Instant::now();
        while !leftovers::find(&self.dir, &self.run_dir).is_empty() {
            if started.elapsed() > LEFTOVER_GRACE {
                leftovers::kill(&self.dir, &self.run_dir);
                return;
            }
            tokio::time::sleep(LEFTOVER_POLL).await;
        }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The agent's sockets: not below the folder, whose name may be too long for a socket.
    pub(crate) fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    pub(crate) fn control_plane(&self) -> PathBuf {
        self.dir.join("control-plane")
    }

    pub(crate) fn agent(&self) -> PathBuf {
        self.dir.join("agent")
    }

    /// The log file of a daemon.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir
            .join("logs")
            .join(format!("{}.log", name.replace(' ', "-")))
    }

    /// Whether the agent joined in an earlier run.
    pub(crate) fn is_enrolled(&self) -> bool {
        self.agent().join("identity").exists()
    }

    pub(crate) fn keep_join_token(&self, token: String) {
        *self.join_token.borrow_mut() = Some(token);
    }

    pub(crate) fn take_join_token(&self) -> Option<String> {
        self.join_token.borrow_mut().take()
    }

    /// Removes what must not outlive the run.
    pub(crate) fn close(self) {
        let _ = fs::remove_dir_all(&self.run_dir);
        if self.ephemeral {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn take_lock(dir: &Path) -> Outcome<File> {
    let path = dir.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| Failure::failed(format!("can't open {}", path.display())).why(error))?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        let mut owner = String::new();
        let _ = (&file).take(32).read_to_string(&mut owner);
        let failure = Failure::new(Exit::Conflict, "another `edgeflow local` runs already");
        return Err(if error == rustix::io::Errno::WOULDBLOCK {
            failure
                .why(format!("process {} uses {}", owner.trim(), dir.display()))
                .next("apply to that one instead: edgeflow apply system.yaml")
                .next("stop it, or start a second one with --data-dir DIR or --ephemeral")
        } else {
            Failure::failed(format!("can't lock {}", path.display())).why(error)
        });
    }
    let owner = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    owner.map_err(|error| Failure::failed(format!("can't write {}", path.display())).why(error))?;
    Ok(file)
}

/// Makes a folder that only its owner can enter. One that somebody else made is refused.
fn private_dir(path: &Path) -> Outcome {
    let what = || format!("can't use the folder {}", path.display());
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::failed(what()).why(error))?;
    let metadata =
        fs::symlink_metadata(path).map_err(|error| Failure::failed(what()).why(error))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Failure::failed(what())
            .why("it belongs to another user")
            .next("name one of your own: --data-dir DIR"));
    }
    let open_to_others = metadata.permissions().mode() & 0o077 != 0;
    if open_to_others && metadata.is_dir() {
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(path, private).map_err(|error| Failure::failed(what()).why(error))?;
    }
    Ok(())
}

fn run_dir(dir: &Path) -> PathBuf {
    let base = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .unwrap_or_else(std::env::temp_dir);
    base.join(format!(
        "edgeflow-local-{}-{:08x}",
        rustix::process::geteuid().as_raw(),
        short_hash(dir.as_os_str().as_encoded_bytes())
    ))
}

/// FNV-1a: the same folder has the same name in every run.
fn short_hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_one_on_the_same_folder_is_refused_and_the_first_ones_end_frees_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Home::open(Some(dir.path()), false).await.unwrap();
        let failure = Home::open(Some(dir.path()), false).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Conflict);
        assert!(
            failure
                .render(crate::output::colour::Paint(false))
                .contains(&std::process::id().to_string())
        );
        first.close();
        Home::open(Some(dir.path()), false).await.unwrap().close();
    }

    #[test]
    fn sockets_have_a_short_place() {
        let long = PathBuf::from("/").join("x".repeat(200));
        assert!(run_dir(&long).file_name().unwrap().len() < 40);
        assert_ne!(run_dir(&long), run_dir(Path::new("/y")));
    }
}
