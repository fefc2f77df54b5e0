//! One append-only file of records and how far it was read. Never looks at other files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::super::group::Entry;
use super::super::record::{self, RecordHeader};
use crate::frame::{Frame, Limits};

/// Ending of segment files; the stem is the index in 16 hex digits.
const ENDING: &str = ".seg";

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) index: u64,
    path: PathBuf,
    file: File,
    /// Bytes of whole records, and of damage between them.
    pub(super) bytes: u64,
    /// Records, damaged places included.
    pub(super) records: u64,
    /// Records that were read or given up.
    pub(super) read: u64,
    /// Records that are dealt with.
    pub(super) done: u64,
    /// Where the next record to read begins.
    pub(super) read_at: u64,
}

/// What reading brought.
#[derive(Debug)]
pub(super) enum Read {
    /// A frame, where its record begins.
    Frame(u64, RecordHeader, Frame),
    /// This many records can't be read.
    Damaged(u64),
}

/// What a former life left in a segment.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) max_seq: u64,
    /// Bytes of an unfinished record at the end, which was cut.
    pub(super) torn: u64,
}

/// The index in the name of a segment file.
pub(super) fn index_of(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(ENDING).filter(|stem| stem.len() == 16)?;
    u64::from_str_radix(stem, 16).ok()
}

impl Segment {
    pub(super) fn create(dir: &Path, index: u64) -> io::Result<Self> {
        let path = dir.join(format!("{index:016x}{ENDING}"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        Ok(Self {
            index,
            path,
            file,
            bytes: 0,
            records: 0,
            read: 0,
            done: 0,
            read_at: 0,
        })
    }

    /// Opens a segment of a former life; what is before `from` has been dealt with.
    pub(super) fn recover(
        dir: &Path,
        index: u64,
        from: u64,
        limits: &Limits,
    ) -> io::Result<(Self, Found)> {
        let path = dir.join(format!("{index:016x}{ENDING}"));
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let end = file.metadata()?.len();
        let mut segment = Self {
            index,
            path,
            file,
            bytes: end,
            records: 0,
            read: 0,
            done: 0,
            read_at: from.min(end),
        };
        let mut found = Found::default();
        let mut at = segment.read_at;
        while at < end {
            match record::header_at(&segment.file, at, end, limits)? {
                Some((header, seq)) => {
                    found.max_seq = found.max_seq.max(seq);
                    at += header.record_len();
                }
                None => match record::find(&segment.file, at + 1, end, limits)? {
                    Some(next) => at = next,
                    None => {
                        found.torn = end - at;
                        segment.file.set_len(at)?;
                        segment.bytes = at;
                        break;
                    }
                },
            }
            segment.records += 1;
        }
        Ok((segment, found))
    }

    /// Adds a record. After an error nothing was added; `false` with it: the file is of no more use
    /// for writing.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), (io::Error, bool)> {
        if let Err(error) = record::write_at(&self.file, self.bytes, entry) {
            let cut = self.file.set_len(self.bytes).is_ok();
            return Err((error, cut));
        }
        self.bytes += record::record_len(entry.frame.encoded_len() as u64);
        self.records += 1;
        Ok(())
    }

    /// The next record. Only to be called while `read < records`.
    pub(super) fn read_next(&mut self, limits: &Limits) -> io::Result<Read> {
        let (offset, left) = (self.read_at, self.records - self.read);
        let header = record::header_at(&self.file, offset, self.bytes, limits)?;
        let Some((header, _)) = header else {
            return Ok(
                match record::find(&self.file, offset + 1, self.bytes, limits)? {
                    Some(next) => {
                        self.read_at = next;
                        self.give_up(1)
                    }
                    None => self.give_up(left),
                },
            );
        };
        self.read_at = offset + header.record_len();
        match record::frame_at(&self.file, offset, &header, limits)? {
            Some(frame) => {
                self.read += 1;
                Ok(Read::Frame(offset, header, frame))
            }
            None => Ok(self.give_up(1)),
        }
    }

    /// Counts records as damaged.
    pub(super) fn give_up(&mut self, count: u64) -> Read {
        self.read += count;
        self.done += count;
        Read::Damaged(count)
    }

    /// Whether nothing in it is needed any more.
    pub(super) fn is_done(&self) -> bool {
        self.done >= self.records
    }

    pub(super) fn delete(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a spilled file that is done with can't be removed");
        }
    }
}
