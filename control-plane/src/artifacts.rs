//! Files that are named by their digest: received piece by piece, checked, kept, read again. Knows
//! nothing of what they are.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tokio::{
    fs::{self, File},
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, SeekFrom},
    sync::{Semaphore, SemaphorePermit},
};

use crate::pki::hex;

/// Files that are received at a time.
const RECEIVING: usize = 4;
/// Bytes of a piece that goes out.
const PIECE_BYTES: usize = 256 * 1024;
/// Ending of a file that is not whole yet.
const PART: &str = "part";

/// Why a file was not kept.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Not what was announced.
    #[error(
        "the file that arrived is not the one that was announced: {have} instead of {announced}; nothing was kept, send it again"
    )]
    Different {
        /// What arrived.
        have: String,
        /// What was to arrive.
        announced: String,
    },
    /// There are several on their way.
    #[error("{RECEIVING} files are being sent already; try again when one of them is done")]
    Busy,
    /// The disk.
    #[error("{}", disk_words(.0))]
    Disk(#[source] io::Error),
}

fn disk_words(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the control plane's disk is full; nothing was kept, free some space and send it again"
        }
        _ => "the control plane can't keep the file; see its log",
    }
}

impl From<io::Error> for ArtifactError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// The folder.
#[derive(Debug)]
pub struct Artifacts {
    dir: PathBuf,
    receiving: Semaphore,
}

/// A file on its way in. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub struct Incoming<'a> {
    dir: &'a Path,
    part: Part,
    file: File,
    sha256: String,
    bytes: u64,
    hash: Sha256,
    arrived: u64,
    _turn: SemaphorePermit<'a>,
}

/// A file that goes unless it is kept.
#[derive(Debug)]
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // Left over otherwise until the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file on its way out.
#[derive(Debug)]
pub struct Outgoing {
    file: File,
    buffer: Vec<u8>,
}

impl Artifacts {
    /// Opens the folder; what is not among `known` digests goes.
    pub fn open(dir: PathBuf, known: &BTreeSet<&str>) -> io::Result<Self> {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_none_or(|name| !known.contains(name)) {
                tracing::info!(file = %path.display(), "a file that belongs to no model is removed");
                std::fs::remove_file(&path)?;
            }
        }
        Ok(Self {
            dir,
            receiving: Semaphore::new(RECEIVING),
        })
    }

    /// Whether a file is there, whole.
    pub async fn has(&self, sha256: &str, bytes: u64) -> bool {
        let meta = fs::metadata(self.dir.join(sha256)).await;
        meta.is_ok_and(|meta| meta.is_file() && meta.len() == bytes)
    }

    /// Begins to receive a file.
    pub async fn receive(&self, sha256: &str, bytes: u64) -> Result<Incoming<'_>, ArtifactError> {
        let turn = self.receiving.try_acquire();
        let turn = turn.map_err(|_| ArtifactError::Busy)?;
        let unique = hex(&rand::random::<[u8; 8]>());
        let part = Part(self.dir.join(format!("{unique}.{PART}")));
        let file = File::create_new(&part.0).await?;
        Ok(Incoming {
            dir: &self.dir,
            part,
            file,
            sha256: sha256.to_owned(),
            bytes,
            hash: Sha256::new(),
            arrived: 0,
            _turn: turn,
        })
    }

    /// Opens a file from `offset` on.
    pub async fn read(&self, sha256: &str, offset: u64) -> io::Result<Outgoing> {
        let mut file = File::open(self.dir.join(sha256)).await?;
        file.seek(SeekFrom::Start(offset)).await?;
        Ok(Outgoing {
            file,
            buffer: vec![0; PIECE_BYTES],
        })
    }

    /// Removes a file; one that is not there is fine.
    pub async fn remove(&self, sha256: &str) {
        let removed = fs::remove_file(self.dir.join(sha256)).await;
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(sha256, %error, "a model's file can't be removed; the next start tries again");
        }
    }
}

impl Incoming<'_> {
    /// Takes a piece.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), ArtifactError> {
        self.arrived += piece.len() as u64;
        if self.arrived > self.bytes {
            return Err(self.different(format!("over {} bytes", self.bytes)));
        }
        self.hash.update(piece);
        Ok(self.file.write_all(piece).await?)
    }

    /// Keeps it, if it is what was announced. It is on the disk when this returns.
    pub async fn keep(mut self) -> Result<(), ArtifactError> {
        if self.arrived != self.bytes {
            return Err(self.different(format!("{} bytes", self.arrived)));
        }
        let digest = hex(&std::mem::take(&mut self.hash).finalize());
        if digest != self.sha256 {
            return Err(self.different(format!("SHA-256 {digest}")));
        }
        self.file.flush().await?;
        self.file.sync_all().await?;
        fs::rename(&self.part.0, self.dir.join(&self.sha256)).await?;
        Ok(File::open(self.dir).await?.sync_all().await?)
    }

    fn different(&self, have: String) -> ArtifactError {
        ArtifactError::Different {
            have,
            announced: format!("{} bytes with SHA-256 {}", self.bytes, self.sha256),
        }
    }
}

impl Outgoing {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let read = self.file.read(&mut self.buffer).await?;
        Ok((read > 0).then(|| self.buffer[..read].to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> String {
        hex(&Sha256::digest(bytes))
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = std::fs::read_dir(dir).unwrap();
        let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[tokio::test]
    async fn what_arrives_whole_is_kept_and_read_from_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(dir.path().to_owned(), &BTreeSet::new()).unwrap();
        let sha256 = digest(b"hello, model");
        let mut incoming = artifacts.receive(&sha256, 12).await.unwrap();
        incoming.write(b"hello, ").await.unwrap();
        incoming.write(b"model").await.unwrap();
        incoming.keep().await.unwrap();
        assert_eq!(names(dir.path()), std::slice::from_ref(&sha256));
        assert!(artifacts.has(&sha256, 12).await && !artifacts.has(&sha256, 13).await);
        let mut outgoing = artifacts.read(&sha256, 7).await.unwrap();
        assert_eq!(outgoing.next().await.unwrap().unwrap(), b"model");
        assert_eq!(outgoing.next().await.unwrap(), None);
        let known = BTreeSet::from([sha256.as_str()]);
        let again = Artifacts::open(dir.path().to_owned(), &known).unwrap();
        assert!(again.has(&sha256, 12).await);
        again.remove(&sha256).await;
        again.remove(&sha256).await;
        assert!(names(dir.path()).is_empty());
    }

    #[tokio::test]
    async fn what_is_not_what_was_announced_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(dir.path().to_owned(), &BTreeSet::new()).unwrap();
        let sha256 = digest(b"four");
        for (bytes, piece, words) in [
            (4, &b"five!"[..], "over 4 bytes"),
            (4, b"for", "3 bytes"),
            (4, b"fore", "SHA-256"),
        ] {
            let mut incoming = artifacts.receive(&sha256, bytes).await.unwrap();
            let outcome = match incoming.write(piece).await {
                Ok(()) => incoming.keep().await,
                Err(error) => {
                    drop(incoming);
                    Err(error)
                }
            };
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(names(dir.path()).is_empty());
        }
        // Cut off, and left over by a crash.
        drop(artifacts.receive(&sha256, 4).await.unwrap());
        assert!(names(dir.path()).is_empty());
        std::fs::write(dir.path().join("x.part"), b"left over").unwrap();
        Artifacts::open(dir.path().to_owned(), &BTreeSet::new()).unwrap();
        assert!(names(dir.path()).is_empty());
    }

    #[tokio::test]
    async fn only_some_are_received_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(dir.path().to_owned(), &BTreeSet::new()).unwrap();
        let mut all = Vec::new();
        for _ in 0..RECEIVING {
            all.push(artifacts.receive("x", 1).await.unwrap());
        }
        let busy = artifacts.receive("x", 1).await.unwrap_err();
        assert!(matches!(busy, ArtifactError::Busy));
        all.pop();
        artifacts.receive("x", 1).await.unwrap();
    }
}
