//! Frames that were put aside because their consumer died with them too often: one file each, in
//! the format of the spill, bounded in number and bytes. Nothing here decides that a frame is one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use super::group::Entry;
use super::record;
use crate::clock;
use crate::frame::{Frame, Header, Limits};

/// Dead letters kept for one link.
pub const MAX_DEAD_LETTERS: usize = 1000;
/// Bytes of dead letters kept for one link.
pub const MAX_DEAD_LETTER_BYTES: u64 = 256 << 20;
/// Ending of the files; the stem is the id.
const ENDING: &str = ".dead";
/// Longest id.
const MAX_ID: usize = 64;

/// A frame that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names it: when it was put aside and its number.
    pub id: String,
    /// Link id.
    pub link: String,
    /// The group that did not survive it.
    pub group: String,
    /// When it was put aside, UTC nanoseconds.
    pub at_ns: i64,
    /// Deliveries that were lost.
    pub deliveries: u32,
    /// The header of the frame, as it was sent.
    pub header: Header,
    /// Bytes of the frame.
    pub bytes: u64,
}

/// Why dead letters can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The folder or a file can't be written.
    #[error("dead letters in {path} can't be written")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder or a file can't be read.
    #[error("dead letters in {path} can't be read")]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The output keeps nothing on disk.
    #[error("the output has no folder for dead letters")]
    NoFolder,
    /// There is none with this id.
    #[error("there is no dead letter `{0}`")]
    Unknown(String),
}

/// The folder of one link. Cheap to clone; nothing is kept in memory.
#[derive(Clone, Debug)]
pub(super) struct DeadLetters {
    link: String,
    group: String,
    dir: PathBuf,
    limits: Limits,
}

impl DeadLetters {
    pub(super) fn new(link: &str, group: &str, dir: PathBuf, limits: Limits) -> Self {
        Self {
            link: link.to_owned(),
            group: group.to_owned(),
            dir,
            limits,
        }
    }

    /// Puts a frame aside and returns its id. Beyond the limits the oldest one makes room.
    pub(super) fn put(&self, entry: &Entry) -> Result<String, DeadLetterError> {
        let failed = |path: &PathBuf, source| DeadLetterError::Write {
            path: path.clone(),
            source,
        };
        let mut builder = DirBuilder::new();
        let created = builder.recursive(true).mode(0o700).create(&self.dir);
        created.map_err(|error| failed(&self.dir, error))?;
        self.make_room(entry.frame.encoded_len() as u64)?;
        let id = format!("{}-{}", clock::unix_ns() / 1_000_000, entry.seq());
        let path = self.dir.join(format!("{id}{ENDING}"));
        let draft = self.dir.join("draft");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options
            .open(&draft)
            .and_then(|file| record::write_at(&file, 0, entry))
            .and_then(|()| std::fs::rename(&draft, &path));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&draft);
            return Err(failed(&path, error));
        }
        Ok(id)
    }

    fn make_room(&self, bytes: u64) -> Result<(), DeadLetterError> {
        let mut files = self.files()?;
        let mut held: u64 = files.iter().map(|(_, len)| len).sum();
        while files.len() >= MAX_DEAD_LETTERS
            || (!files.is_empty() && held + record::record_len(bytes) > MAX_DEAD_LETTER_BYTES)
        {
            let (id, len) = files.remove(0);
            tracing::warn!(id, path = %self.dir.display(), "too many dead letters; the oldest is removed");
            self.remove(&id)?;
            held -= len;
        }
        Ok(())
    }

    /// Ids of all, oldest first.
    pub(super) fn ids(&self) -> Result<Vec<String>, DeadLetterError> {
        Ok(self.files()?.into_iter().map(|(id, _)| id).collect())
    }

    /// Ids and sizes, oldest first.
    fn files(&self) -> Result<Vec<(String, u64)>, DeadLetterError> {
        let failed = |source| DeadLetterError::Read {
            path: self.dir.clone(),
            source,
        };
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            if let Some(id) = id.filter(|id| is_id(id)) {
                let len = entry.metadata().map_err(failed)?.len();
                files.push((id.to_owned(), len));
            }
        }
        files.sort_by_key(|(id, _)| key(id));
        Ok(files)
    }

    /// Describes one. `None`: its file is damaged.
    pub(super) fn describe(&self, id: &str) -> Result<Option<DeadLetter>, DeadLetterError> {
        self.read(id, |file, end| {
            let Some((header, _)) = record::header_at(file, 0, end, &self.limits)? else {
                return Ok(None);
            };
            let frame = record::frame_header_at(file, 0, &self.limits)?;
            Ok(frame.map(|frame| DeadLetter {
                id: id.to_owned(),
                link: self.link.clone(),
                group: self.group.clone(),
                at_ns: header.written_ns,
                deliveries: header.deliveries,
                header: frame,
                bytes: u64::from(header.frame_len),
            }))
        })
    }

    /// Reads one. `None`: its file is damaged.
    pub(super) fn frame(&self, id: &str) -> Result<Option<Frame>, DeadLetterError> {
        self.read(id, |file, end| {
            match record::header_at(file, 0, end, &self.limits)? {
                Some((header, _)) => record::frame_at(file, 0, &header, &self.limits),
                None => Ok(None),
            }
        })
    }

    fn read<T>(
        &self,
        id: &str,
        read: impl FnOnce(&File, u64) -> io::Result<T>,
    ) -> Result<T, DeadLetterError> {
        if !is_id(id) {
            return Err(DeadLetterError::Unknown(id.to_owned()));
        }
        let path = self.dir.join(format!("{id}{ENDING}"));
        let opened = File::open(&path).and_then(|file| {
            let end = file.metadata()?.len();
            read(&file, end)
        });
        opened.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => DeadLetterError::Unknown(id.to_owned()),
            _ => DeadLetterError::Read { path, source },
        })
    }

    pub(super) fn link(&self) -> &str {
        &self.link
    }

    pub(super) fn remove(&self, id: &str) -> Result<(), DeadLetterError> {
        let path = self.dir.join(format!("{id}{ENDING}"));
        std::fs::remove_file(&path).map_err(|source| DeadLetterError::Write { path, source })
    }
}

/// Digits and dashes, so that an id never leaves the folder.
fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_ID
        && id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

fn key(id: &str) -> (u64, u64) {
    let (at, seq) = id.split_once('-').unwrap_or((id, ""));
    (at.parse().unwrap_or(0), seq.parse().unwrap_or(0))
}
