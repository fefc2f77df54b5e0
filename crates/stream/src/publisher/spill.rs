//! The part of a durable group that is on disk: frames in the order they were sent, in segment
//! files, behind those in memory. Survives the process. Bounded by a budget in bytes; a segment is
//! deleted when all its frames are done with. Never drops a frame that can be read.
//!
//! Nothing is synced to the medium: what was written survives the end of the process, not that of
//! the power supply.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;

use super::group::Entry;
use super::record;
use crate::clock;
use crate::frame::Limits;

mod segment;

use segment::{Read, Segment};

/// Largest segment; a budget has room for some.
const MAX_SEGMENT_BYTES: u64 = 16 << 20;
/// Segments that a budget has room for at least.
const SEGMENTS_IN_BUDGET: u64 = 8;
/// Index of the first segment, with room below it for what is saved in front at the end.
const FIRST_INDEX: u64 = 1 << 32;
/// File with the places of the first frames that are not done with.
const CURSOR_FILE: &str = "acked";
const CURSOR_MAGIC: [u8; 4] = *b"EFSC";
/// Places in it: frames are done with nearly in order, so that few segments are begun.
const MAX_PLACES: usize = 16;
/// Magic, checksum of the rest, then segment and offset of each place.
const CURSOR_LEN: usize = 8 + MAX_PLACES * 16;

/// Why a frame can't go to disk. It was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpillError {
    #[error("its {0} bytes on disk are used up")]
    Full(u64),
    #[error("it can't be written to disk")]
    Write(#[source] io::Error),
}

/// Why the files of a former life can't be used.
#[derive(Debug, thiserror::Error)]
#[error("spilled frames in {path} can't be opened")]
pub(super) struct OpenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A frame that was read into memory and is not done with.
#[derive(Debug)]
struct Taken {
    seq: u64,
    segment: u64,
    offset: u64,
    done: bool,
}

#[derive(Debug)]
pub(super) struct Spill {
    dir: PathBuf,
    budget: u64,
    limits: Limits,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// Whether the last segment takes more.
    writable: bool,
    next_index: u64,
    /// Frames on disk only.
    unread: u64,
    taken: VecDeque<Taken>,
    bytes: u64,
    cursor: Option<File>,
    /// Largest number of a frame of a former life.
    recovered_seq: u64,
    #[cfg(test)]
    pub(super) is_disk_full: bool,
}

/// What reading brought.
#[derive(Debug)]
pub(super) enum Next {
    Frame(Entry),
    /// This many frames can't be read.
    Damaged(u64),
}

impl Spill {
    /// Takes over what a former life left in `dir`.
    pub(super) fn open(dir: PathBuf, budget: u64, limits: Limits) -> Result<Self, OpenError> {
        let mut spill = Self {
            dir,
            budget,
            limits,
            segments: VecDeque::new(),
            writable: false,
            next_index: FIRST_INDEX,
            unread: 0,
            taken: VecDeque::new(),
            bytes: 0,
            cursor: None,
            recovered_seq: 0,
            #[cfg(test)]
            is_disk_full: false,
        };
        match spill.recover() {
            Ok(()) => Ok(spill),
            Err(source) => Err(OpenError {
                path: spill.dir,
                source,
            }),
        }
    }

    fn recover(&mut self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.dir)?;
        let mut indices = Vec::new();
        for file in std::fs::read_dir(&self.dir)? {
            indices.extend(file?.file_name().to_str().and_then(segment::index_of));
        }
        indices.sort_unstable();
        let places = self.read_cursor().unwrap_or_default();
        for index in indices {
            let place = places.iter().find(|(segment, _)| *segment == index);
            let from = place.map_or(0, |(_, offset)| *offset);
            let (segment, found) = Segment::recover(&self.dir, index, from, &self.limits)?;
            self.next_index = index.saturating_add(1);
            if found.torn > 0 {
                tracing::info!(path = %self.dir.display(), bytes = found.torn, "cut off a frame that was not written to its end");
            }
            if segment.is_done() {
                segment.delete();
                continue;
            }
            self.recovered_seq = self.recovered_seq.max(found.max_seq);
            self.unread += segment.records;
            self.bytes += segment.bytes;
            self.segments.push_back(segment);
        }
        if self.segments.is_empty() {
            self.next_index = FIRST_INDEX;
            // Its place would be one in files that are yet to come.
            match std::fs::remove_file(self.dir.join(CURSOR_FILE)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        } else if places.iter().any(|(index, _)| !self.has_segment(*index)) {
            self.write_cursor();
        }
        Ok(())
    }

    fn has_segment(&self, index: u64) -> bool {
        self.segments.iter().any(|segment| segment.index == index)
    }

    /// Frames on disk that are not in memory.
    pub(super) fn unread(&self) -> u64 {
        self.unread
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Largest number of a frame of a former life; 0: none.
    pub(super) fn recovered_seq(&self) -> u64 {
        self.recovered_seq
    }

    /// Whether the budget takes a frame of `bytes`. A single frame always fits.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.bytes == 0 || self.bytes + record::record_len(bytes) <= self.budget
    }

    /// Adds a frame behind all others.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), SpillError> {
        let len = entry.frame.encoded_len() as u64;
        if !self.has_room(len) {
            return Err(SpillError::Full(self.budget));
        }
        #[cfg(test)]
        if self.is_disk_full {
            return Err(SpillError::Write(io::ErrorKind::StorageFull.into()));
        }
        let segment_bytes = (self.budget / SEGMENTS_IN_BUDGET).min(MAX_SEGMENT_BYTES);
        let last = self.segments.back().filter(|_| self.writable);
        let fits = last.is_some_and(|last| {
            last.records == 0 || last.bytes + record::record_len(len) <= segment_bytes
        });
        if !fits {
            self.writable = false;
            self.settle();
            let created = Segment::create(&self.dir, self.next_index);
            self.segments.push_back(created.map_err(SpillError::Write)?);
            self.next_index += 1;
            self.writable = true;
        }
        let Some(last) = self.segments.back_mut() else {
            return Ok(());
        };
        let before = last.bytes;
        if let Err((error, cut)) = last.append(entry) {
            self.writable = cut;
            return Err(SpillError::Write(error));
        }
        self.bytes += last.bytes - before;
        self.unread += 1;
        Ok(())
    }

    /// The oldest frame that is not in memory yet. It has to end in [`Self::done`].
    pub(super) fn next(&mut self) -> Option<Next> {
        let segment = self
            .segments
            .iter_mut()
            .find(|segment| segment.read < segment.records)?;
        let read = match segment.read_next(&self.limits) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(path = %self.dir.display(), %error, "spilled frames can't be read");
                let left = segment.records - segment.read;
                segment.give_up(left)
            }
        };
        match read {
            Read::Frame(offset, header, mut frame) => {
                self.unread -= 1;
                let seq = frame.header.seq;
                self.taken.push_back(Taken {
                    seq,
                    segment: segment.index,
                    offset,
                    done: false,
                });
                let former = seq <= self.recovered_seq;
                let mut sent_mono_ns = header.sent_mono_ns;
                if former {
                    // These clocks may be those of an earlier boot.
                    sent_mono_ns = clock::monotonic_ns();
                    frame.header.capture_mono_ns = 0;
                }
                Some(Next::Frame(Entry {
                    frame,
                    sent_mono_ns,
                    redelivered: former,
                    deliveries: header.deliveries,
                    on_disk: true,
                }))
            }
            Read::Damaged(count) => {
                self.unread -= count.min(self.unread);
                self.settle();
                Some(Next::Damaged(count))
            }
        }
    }

    /// A frame that was read is done with.
    pub(super) fn done(&mut self, seq: u64) {
        let Some(taken) = self.taken.iter_mut().find(|t| t.seq == seq && !t.done) else {
            return;
        };
        taken.done = true;
        let index = taken.segment;
        if let Some(segment) = self.segments.iter_mut().find(|s| s.index == index) {
            segment.done += 1;
        }
        while self.taken.front().is_some_and(|taken| taken.done) {
            self.taken.pop_front();
        }
        self.settle();
        self.write_cursor();
    }

    /// The end: frames that are only in memory go in front of what is on disk, beyond the budget if
    /// need be, and what was read and not done with counts as on disk again. An error comes with
    /// the number of frames that could not be saved.
    pub(super) fn save(&mut self, in_memory: &[Entry]) -> Result<(), (SpillError, u64)> {
        self.unread += self.taken.iter().filter(|taken| !taken.done).count() as u64;
        self.taken.clear();
        if in_memory.is_empty() {
            return Ok(());
        }
        let failed = |error, saved: usize| {
            let lost = (in_memory.len() - saved) as u64;
            (SpillError::Write(error), lost)
        };
        let index = self.segments.front().map_or(FIRST_INDEX, |s| s.index) - 1;
        let created = Segment::create(&self.dir, index);
        let mut segment = created.map_err(|error| failed(error, 0))?;
        let appended = in_memory.iter().enumerate().try_for_each(|(saved, entry)| {
            segment
                .append(entry)
                .map_err(|(error, _)| failed(error, saved))
        });
        self.unread += segment.records;
        self.bytes += segment.bytes;
        if segment.records > 0 {
            self.segments.push_front(segment);
        } else {
            segment.delete();
        }
        appended
    }

    /// Deletes the segments of which nothing is needed, and forgets their places: another file may
    /// get the name of one.
    fn settle(&mut self) {
        let before = self.segments.len();
        let last = self.segments.back().map(|segment| segment.index);
        let is_idle = self.unread == 0 && self.taken.is_empty();
        let in_use = last.filter(|_| self.writable && !is_idle);
        for segment in std::mem::take(&mut self.segments) {
            if segment.is_done() && Some(segment.index) != in_use {
                self.bytes -= segment.bytes;
                self.writable &= Some(segment.index) != last;
                segment.delete();
            } else {
                self.segments.push_back(segment);
            }
        }
        if self.segments.len() < before {
            self.write_cursor();
        }
    }

    /// Where the first frame of a segment is that is not done with.
    fn place(&self, segment: &Segment) -> u64 {
        let mut taken = self.taken.iter();
        taken
            .find(|taken| taken.segment == segment.index && !taken.done)
            .map_or(segment.read_at, |taken| taken.offset)
    }

    /// Remembers the first frames that are not done with. Without it some would come twice.
    fn write_cursor(&mut self) {
        let mut bytes = [0; CURSOR_LEN];
        bytes[..4].copy_from_slice(&CURSOR_MAGIC);
        let places = self.segments.iter().map(|s| (s.index, self.place(s)));
        let begun = places.filter(|(_, offset)| *offset > 0);
        for (place, (segment, offset)) in bytes[8..].chunks_exact_mut(16).zip(begun) {
            place[..8].copy_from_slice(&segment.to_le_bytes());
            place[8..].copy_from_slice(&offset.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        if let Err(error) = self.cursor().and_then(|file| file.write_all_at(&bytes, 0)) {
            tracing::debug!(path = %self.dir.display(), %error, "the place in spilled frames can't be written");
            // Without a place some frames come twice; with a wrong one some would not come at all.
            self.cursor = None;
            let _ = std::fs::remove_file(self.dir.join(CURSOR_FILE));
        }
    }

    fn cursor(&mut self) -> io::Result<&File> {
        let file = match self.cursor.take() {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false).mode(0o600);
                options.open(self.dir.join(CURSOR_FILE))?
            }
        };
        Ok(self.cursor.insert(file))
    }

    fn read_cursor(&self) -> Option<Vec<(u64, u64)>> {
        let mut bytes = [0; CURSOR_LEN];
        let file = File::open(self.dir.join(CURSOR_FILE)).ok()?;
        file.read_exact_at(&mut bytes, 0).ok()?;
        let (head, places) = bytes.split_first_chunk::<8>()?;
        let (magic, crc) = head.split_first_chunk::<4>()?;
        if *magic != CURSOR_MAGIC || *crc != crc32c::crc32c(places).to_le_bytes() {
            return None;
        }
        let place = |place: &[u8]| {
            let (segment, offset) = place.split_first_chunk::<8>()?;
            let offset = offset.first_chunk::<8>()?;
            Some((u64::from_le_bytes(*segment), u64::from_le_bytes(*offset)))
        };
        places.chunks_exact(16).map(place).collect()
    }
}

#[cfg(test)]
#[path = "spill_tests.rs"]
mod tests;
