//! A recording that grows: begins, closes and removes segments within its limits. Owns the folder
//! while it runs. Synchronous, without threads and without waiting; never decides what to do about
//! an error.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use edgeflow::{Frame, tracing};

use crate::recording::folder::{self, MAX_SEGMENTS, Recovered, Segment, State};
use crate::recording::reader::ReadError;
use crate::recording::writer::{About, OVERHEAD, SegmentWriter};

/// A segment is never more than this share of what is kept, so that what is kept never shrinks by
/// more at once.
const SEGMENTS_KEPT: u64 = 4;

/// What is kept, and how it is cut.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) keep: u64,
    pub(crate) keep_for: Option<Duration>,
    pub(crate) segment: u64,
    pub(crate) segment_for: Duration,
}

/// Why the folder can't be recorded to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the folder {0} can't be used")]
    Folder(PathBuf, #[source] io::Error),
    #[error("another recorder writes to {0}: give each its own `path`")]
    Taken(PathBuf),
    #[error("the segment {0}, which was not closed, can't be read")]
    Recover(PathBuf, #[source] ReadError),
}

/// A recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    dir: PathBuf,
    // Open means locked.
    _lock: File,
    limits: Limits,
    about: About,
    topics: HashMap<u32, String>,
    closed: VecDeque<Segment>,
    active: Option<Active>,
    next_number: u64,
    // What an earlier life wrote before it was killed: those frames may come again.
    written: HashMap<(u32, u32), u64>,
    repeated: u64,
}

#[derive(Debug)]
struct Active {
    writer: SegmentWriter,
    begun: Instant,
    unsynced: bool,
}

impl Recorder {
    /// Takes a folder; what an earlier life left unclosed is put in order first.
    pub(crate) fn open(
        dir: &Path,
        limits: Limits,
        about: About,
        topics: HashMap<u32, String>,
    ) -> Result<(Self, Vec<Recovered>), OpenError> {
        let unusable = |error| OpenError::Folder(dir.to_owned(), error);
        std::fs::create_dir_all(dir).map_err(unusable)?;
        let lock = File::open(dir).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Taken(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let mut recovered = Vec::new();
        let mut written = HashMap::new();
        for segment in folder::list(dir).map_err(unusable)? {
            if segment.state == State::Active {
                let found = folder::recover(&segment.path)
                    .map_err(|error| OpenError::Recover(segment.path.clone(), error))?;
                written.extend(found.last.iter().map(|(stream, seq)| (*stream, *seq)));
                recovered.push(found);
            }
        }
        let closed: VecDeque<Segment> = folder::list(dir).map_err(unusable)?.into();
        let next_number = closed.back().map_or(1, |last| last.number + 1);
        let recorder = Self {
            dir: dir.to_owned(),
            _lock: lock,
            limits,
            about,
            topics,
            closed,
            active: None,
            next_number,
            written,
            repeated: 0,
        };
        Ok((recorder, recovered))
    }

    /// Writes a frame. After an error nothing of it is there, and the same frame can be tried again.
    pub(crate) fn write(&mut self, frame: &Frame) -> io::Result<()> {
        let header = &frame.header;
        let written = self.written.get(&(header.stream_id, header.epoch));
        if written.is_some_and(|seq| header.seq <= *seq) {
            self.repeated += 1;
            return Ok(());
        }
        let need = frame.encoded_len() as u64 + OVERHEAD;
        if self.is_due(need) {
            self.close_active()?;
        }
        self.make_room(need)?;
        let topic = match self.topics.get(&header.stream_id) {
            Some(topic) => topic.clone(),
            None => format!("stream-{:08x}", header.stream_id),
        };
        let active = match &mut self.active {
            Some(active) => active,
            none => {
                let writer = begin(&self.dir, self.next_number, &self.about)?;
                self.next_number += 1;
                none.insert(Active {
                    writer,
                    begun: Instant::now(),
                    unsynced: false,
                })
            }
        };
        active.writer.append(&topic, frame)?;
        active.unsynced = true;
        Ok(())
    }

    /// Whether the running segment ends before a frame of this size.
    fn is_due(&self, need: u64) -> bool {
        let size = self.limits.segment.min(self.limits.keep / SEGMENTS_KEPT);
        self.active.as_ref().is_some_and(|active| {
            let writer = &active.writer;
            writer.frames() > 0 && writer.length() + need > size
                || writer.is_full()
                || active.begun.elapsed() >= self.limits.segment_for
        })
    }

    /// What time asks for: closes the running segment, removes old ones.
    pub(crate) fn tick(&mut self, now: SystemTime) -> io::Result<()> {
        if self.is_due(0) {
            self.close_active()?;
        }
        let Some(keep_for) = self.limits.keep_for else {
            return Ok(());
        };
        while let Some(oldest) = self.closed.front() {
            // A clock that was set back makes a segment young, never old.
            let age = now.duration_since(oldest.changed).unwrap_or_default();
            if age <= keep_for {
                break;
            }
            self.remove_oldest("it is older than `keep_for`")?;
        }
        Ok(())
    }

    /// The running segment's file, if something was written since the last call.
    pub(crate) fn unsynced(&mut self) -> Option<Arc<File>> {
        let active = self.active.as_mut()?;
        std::mem::take(&mut active.unsynced).then(|| active.writer.file())
    }

    /// What [`Self::unsynced`] gave could not be brought to the disk.
    pub(crate) fn sync_failed(&mut self) {
        if let Some(active) = &mut self.active {
            active.unsynced = true;
        }
    }

    /// Closes the running segment.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.close_active()
    }

    /// Bytes of the recording.
    pub(crate) fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|segment| segment.bytes).sum();
        closed
            + self
                .active
                .as_ref()
                .map_or(0, |active| active.writer.length())
    }

    /// Frames that came again and were there already.
    pub(crate) fn repeated(&self) -> u64 {
        self.repeated
    }

    fn close_active(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let writer = &mut active.writer;
        let path = folder::closed_path(writer.path(), State::Closed);
        writer.close(&path)?;
        let (bytes, frames) = (writer.length(), writer.frames());
        tracing::info!(segment = %path.display(), bytes, frames, "segment closed");
        self.closed.push_back(Segment {
            number: self.next_number - 1,
            path,
            state: State::Closed,
            bytes,
            changed: SystemTime::now(),
        });
        self.active = None;
        folder::sync(&self.dir)
    }

    fn make_room(&mut self, need: u64) -> io::Result<()> {
        while self.bytes() + need > self.limits.keep || self.closed.len() >= MAX_SEGMENTS {
            if self.closed.is_empty() {
                break;
            }
            self.remove_oldest("the recording has reached `keep`")?;
        }
        Ok(())
    }

    fn remove_oldest(&mut self, reason: &str) -> io::Result<()> {
        if let Some(oldest) = self.closed.front() {
            match std::fs::remove_file(&oldest.path) {
                // Somebody else made room.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
            tracing::info!(segment = %oldest.path.display(), bytes = oldest.bytes, reason, "segment removed");
            self.closed.pop_front();
        }
        Ok(())
    }
}

fn begin(dir: &Path, number: u64, about: &About) -> io::Result<SegmentWriter> {
    let now = jiff::Timestamp::now()
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string();
    let path = dir.join(folder::active_name(number, &now));
    let mut about = about.clone();
    about.push(("segment".to_owned(), number.to_string()));
    let writer = SegmentWriter::create(&path, &about)?;
    if let Err(error) = folder::sync(dir) {
        // The next try begins it again.
        let _ = std::fs::remove_file(&path);
        return Err(error);
    }
    Ok(writer)
}
