//! The assignment on disk: what this device has to run, whatever happens to the control plane.
//! Nothing is acknowledged before it is durable, and a refused one changes nothing.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use edgeflow_spec::assignment::{Assignment, body_hash};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::files;

/// Largest assignment that is accepted.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Most instances that a device runs.
pub const MAX_INSTANCES: usize = 512;
const MAX_NAME_BYTES: usize = 200;
const MAX_HEADER_BYTES: u64 = 4096;

/// The durable assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Counts up with every change.
    pub generation: u64,
    /// SHA-256 of the body.
    pub hash: String,
    /// The parsed body.
    pub assignment: Assignment,
}

/// Why an assignment is not taken.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Older than what is on disk.
    #[error("generation {offered} is older than {held}, which this device holds")]
    Stale {
        /// The refused generation.
        offered: u64,
        /// The one on disk.
        held: u64,
    },
    /// The same generation with other content.
    #[error(
        "generation {generation} is on disk with the hash {held}, and was sent again with {offered}"
    )]
    Conflict {
        /// Both generations.
        generation: u64,
        /// Hash of the refused one.
        offered: String,
        /// Hash on disk.
        held: String,
    },
    /// Damaged, too large or unreadable.
    #[error("the assignment is invalid: {0}")]
    Invalid(String),
    /// The disk is full or read-only.
    #[error("the assignment could not be written to {path}")]
    Store {
        /// The ledger's file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Why the file on disk can't be used. The agent then starts with nothing and asks again.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It can't be read.
    #[error("can't read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// Its content does not match its hash.
    #[error("{0} is damaged: {1}")]
    Damaged(PathBuf, String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    generation: u64,
    hash: String,
}

/// Reads and writes the durable assignment. One writer at a time is enough: the session.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    current: RwLock<Option<Arc<Stored>>>,
}

impl Ledger {
    /// Opens the ledger. A damaged file is reported and treated as empty, so that the control
    /// plane sends the assignment again.
    pub fn open(path: PathBuf) -> (Self, Option<LoadError>) {
        let (current, error) = match load(&path) {
            Ok(stored) => (stored.map(Arc::new), None),
            Err(error) => (None, Some(error)),
        };
        let ledger = Self {
            path,
            current: RwLock::new(current),
        };
        (ledger, error)
    }

    /// What is durable now.
    pub fn current(&self) -> Option<Arc<Stored>> {
        self.current
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// Takes an assignment: checks it, makes it durable, then makes it current. Blocks on the
    /// disk. Sending the current one again is fine.
    pub fn accept(&self, generation: u64, hash: &str, body: &[u8]) -> Result<Arc<Stored>, Refusal> {
        let held = self.current();
        if let Some(held) = &held {
            if generation < held.generation {
                return Err(Refusal::Stale {
                    offered: generation,
                    held: held.generation,
                });
            }
            if generation == held.generation {
                if hash == held.hash {
                    return Ok(Arc::clone(held));
                }
                return Err(Refusal::Conflict {
                    generation,
                    offered: hash.to_owned(),
                    held: held.hash.clone(),
                });
            }
        }
        let assignment = check(hash, body).map_err(Refusal::Invalid)?;
        self.store(generation, hash, body)
            .map_err(|source| Refusal::Store {
                path: self.path.clone(),
                source,
            })?;
        let stored = Arc::new(Stored {
            generation,
            hash: hash.to_owned(),
            assignment,
        });
        *self
            .current
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Arc::clone(&stored));
        Ok(stored)
    }

    fn store(&self, generation: u64, hash: &str, body: &[u8]) -> io::Result<()> {
        let header = serde_json::to_vec(&Header {
            generation,
            hash: hash.to_owned(),
        })?;
        files::write_durable(&self.path, 0o600, &[&header, b"\n", body])
    }
}

fn load(path: &Path) -> Result<Option<Stored>, LoadError> {
    let limit = MAX_BODY_BYTES as u64 + MAX_HEADER_BYTES;
    let bytes = match files::read_bounded(path, limit) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LoadError::Read(path.to_owned(), error)),
    };
    let damaged = |why: String| LoadError::Damaged(path.to_owned(), why);
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(|| damaged("it has no header".to_owned()))?;
    let header: Header =
        serde_json::from_slice(&bytes[..end]).map_err(|error| damaged(error.to_string()))?;
    let assignment = check(&header.hash, &bytes[end + 1..]).map_err(damaged)?;
    Ok(Some(Stored {
        generation: header.generation,
        hash: header.hash,
        assignment,
    }))
}

/// Parses a body and checks what later code relies on: names that are safe as file names, each
/// instance once.
fn check(hash: &str, body: &[u8]) -> Result<Assignment, String> {
    if body.len() > MAX_BODY_BYTES {
        return Err(format!(
            "it has {} bytes, more than {MAX_BODY_BYTES}",
            body.len()
        ));
    }
    if body_hash(body) != hash {
        return Err("its content does not match its hash".to_owned());
    }
    let assignment = Assignment::from_body(body).map_err(|error| error.to_string())?;
    if assignment.instances.len() > MAX_INSTANCES {
        return Err(format!("it has more than {MAX_INSTANCES} instances"));
    }
    let mut ids = BTreeSet::new();
    for instance in &assignment.instances {
        check_name("instance id", &instance.id)?;
        if !ids.insert(instance.id.as_str()) {
            return Err(format!("the instance {} is listed twice", instance.id));
        }
        for output in &instance.outputs {
            check_name("port", &output.port)?;
        }
        for input in &instance.inputs {
            check_name("port", &input.from_port)?;
            for from in &input.from {
                check_name("instance id", from)?;
            }
        }
    }
    Ok(assignment)
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    let ok = !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if ok {
        Ok(())
    } else {
        Err(format!("{name:?} is not usable as {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeflow_spec::assignment::{Instance, Program};

    fn instance(id: &str) -> Instance {
        Instance {
            id: id.to_owned(),
            system: "s".to_owned(),
            node: "n".to_owned(),
            replica: 0,
            revision: 1,
            program: Program::Builtin("pattern".to_owned()),
            env: Default::default(),
            params: Default::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            broker: None,
            trace_every: 100,
            models: BTreeSet::new(),
            restart: Default::default(),
            overrides: Default::default(),
            stop_grace_ms: 1000,
        }
    }

    fn body(ids: &[&str]) -> (String, Vec<u8>) {
        let assignment = Assignment {
            peers: Default::default(),
            instances: ids.iter().map(|id| instance(id)).collect(),
            models: Default::default(),
        };
        let body = assignment.to_body();
        (body_hash(&body), body)
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, error) = Ledger::open(dir.path().join("assignment"));
        assert!(error.is_none());
        (dir, ledger)
    }

    #[test]
    fn an_accepted_assignment_is_there_after_a_restart() {
        let (dir, ledger) = ledger();
        let (hash, body) = body(&["s.n.0"]);
        let stored = ledger.accept(3, &hash, &body).unwrap();
        let (again, error) = Ledger::open(dir.path().join("assignment"));
        assert!(error.is_none());
        assert_eq!(again.current().unwrap(), stored);
    }

    #[test]
    fn a_lower_generation_is_refused_and_changes_nothing() {
        let (_dir, ledger) = ledger();
        let (hash, old) = body(&["s.n.0"]);
        ledger.accept(3, &hash, &old).unwrap();
        let (other, new) = body(&["s.m.0"]);
        assert!(matches!(
            ledger.accept(2, &other, &new),
            Err(Refusal::Stale {
                offered: 2,
                held: 3
            })
        ));
        assert_eq!(ledger.current().unwrap().hash, hash);
    }

    #[test]
    fn the_same_generation_is_taken_again_only_with_the_same_hash() {
        let (_dir, ledger) = ledger();
        let (hash, old) = body(&["s.n.0"]);
        ledger.accept(3, &hash, &old).unwrap();
        ledger.accept(3, &hash, &old).unwrap();
        let (other, new) = body(&["s.m.0"]);
        assert!(matches!(
            ledger.accept(3, &other, &new),
            Err(Refusal::Conflict { generation: 3, .. })
        ));
    }

    #[test]
    fn a_body_that_does_not_match_its_hash_is_invalid() {
        let (_dir, ledger) = ledger();
        let (hash, mut bytes) = body(&["s.n.0"]);
        bytes.push(b' ');
        assert!(matches!(
            ledger.accept(1, &hash, &bytes),
            Err(Refusal::Invalid(_))
        ));
    }

    #[test]
    fn an_instance_id_can_not_leave_its_folder() {
        let (_dir, ledger) = ledger();
        for id in ["../../etc", "a/b", "", ".hidden"] {
            let (hash, bytes) = body(&[id]);
            assert!(
                matches!(ledger.accept(1, &hash, &bytes), Err(Refusal::Invalid(_))),
                "{id}"
            );
        }
        let (hash, bytes) = body(&["s.n.0", "s.n.0"]);
        assert!(ledger.accept(1, &hash, &bytes).is_err());
    }

    #[test]
    fn a_write_error_is_reported_and_the_old_assignment_stays() {
        let (dir, ledger) = ledger();
        let (hash, old) = body(&["s.n.0"]);
        ledger.accept(1, &hash, &old).unwrap();
        // A folder where the temporary file has to go: fails for root too.
        std::fs::create_dir(dir.path().join("assignment.new")).unwrap();
        let (other, new) = body(&["s.m.0"]);
        assert!(matches!(
            ledger.accept(2, &other, &new),
            Err(Refusal::Store { .. })
        ));
        assert_eq!(ledger.current().unwrap().generation, 1);
        let (again, _) = Ledger::open(dir.path().join("assignment"));
        assert_eq!(again.current().unwrap().hash, hash);
    }

    #[test]
    fn a_damaged_file_is_reported_and_treated_as_empty() {
        let (dir, ledger) = ledger();
        let (hash, old) = body(&["s.n.0"]);
        ledger.accept(1, &hash, &old).unwrap();
        let path = dir.path().join("assignment");
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (again, error) = Ledger::open(path);
        assert!(again.current().is_none());
        assert!(matches!(error, Some(LoadError::Damaged(..))));
    }
}
