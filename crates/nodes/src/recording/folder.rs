//! The folder of a recording: names of segments, their list, and what the start makes of a segment
//! that was not closed. Names begin with a number that only grows, so that their order does not
//! depend on a clock. Never touches a file whose name is not a segment's.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::mcap::MAGIC;
use super::reader::{Item, ReadError, SegmentReader};
use super::summary::Summary;
use super::writer::{Channel, Index, IndexEntry, MAX_FRAMES, SegmentWriter};

/// Segments that one folder may have; a recorder begins no other.
pub(crate) const MAX_SEGMENTS: usize = 100_000;

const CLOSED: &str = ".mcap";
const ACTIVE: &str = ".mcap.active";
const INCOMPLETE: &str = ".INCOMPLETE.mcap";

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is being written, or its recorder was killed and has not come back.
    Active,
    /// Whole, with an index.
    Closed,
    /// Its recorder was killed: whole up to some frame.
    Incomplete,
}

/// A segment's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) state: State,
    pub(crate) bytes: u64,
    /// When it was written last.
    pub(crate) changed: SystemTime,
}

/// The name of a segment, without its folder.
pub(crate) fn active_name(number: u64, begun: &str) -> String {
    format!("{number:08}-{begun}{ACTIVE}")
}

/// The segment's path once it is closed.
pub(crate) fn closed_path(active: &Path, state: State) -> PathBuf {
    let name = active.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(ACTIVE).unwrap_or(&name);
    let suffix = match state {
        State::Closed => CLOSED,
        State::Incomplete => INCOMPLETE,
        State::Active => ACTIVE,
    };
    active.with_file_name(format!("{stem}{suffix}"))
}

/// The segments of a folder, oldest first.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((number, state)) = name.to_str().and_then(parse_name) else {
            continue;
        };
        // A segment may be removed by its recorder meanwhile.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_file() {
            segments.push(Segment {
                number,
                path: entry.path(),
                state,
                bytes: metadata.len(),
                changed: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            });
        }
    }
    segments.sort_by(|a, b| (a.number, &a.path).cmp(&(b.number, &b.path)));
    segments.drain(..segments.len().saturating_sub(MAX_SEGMENTS));
    Ok(segments)
}

fn parse_name(name: &str) -> Option<(u64, State)> {
    let (number, rest) = name.split_once('-')?;
    if number.len() < 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let state = if rest.ends_with(ACTIVE) {
        State::Active
    } else if rest.ends_with(INCOMPLETE) {
        State::Incomplete
    } else if rest.ends_with(CLOSED) {
        State::Closed
    } else {
        return None;
    };
    Some((number.parse().ok()?, state))
}

/// What was found in a segment that nobody closed.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Its name now.
    pub(crate) path: PathBuf,
    pub(crate) frames: usize,
    /// Damaged places, and bytes at the end that were no whole frame.
    pub(crate) damaged: u64,
    pub(crate) torn: u64,
    /// The highest number of each stream and epoch.
    pub(crate) last: HashMap<(u32, u32), u64>,
    /// Why it has no index: the disk is full, for example.
    pub(crate) no_index: Option<io::Error>,
}

/// Gives a segment that was not closed its index, as far as it can be read, and a name that says
/// INCOMPLETE. One that was closed but not renamed only gets its name, one without a frame is
/// removed. May be killed and run again.
pub(crate) fn recover(active: &Path) -> Result<Recovered, ReadError> {
    let scan = match scan(active) {
        Ok(scan) => scan,
        Err(ReadError::Io(error)) => return Err(ReadError::Io(error)),
        // No frame at all: killed before the first, or nothing that can be read.
        Err(ReadError::Magic | ReadError::Compressed(_)) => {
            let path = closed_path(active, State::Incomplete);
            if std::fs::metadata(active)?.len() <= MAGIC.len() as u64 {
                std::fs::remove_file(active)?;
            } else {
                std::fs::rename(active, &path)?;
            }
            return Ok(Recovered {
                path,
                ..Recovered::default()
            });
        }
    };
    let state = match Summary::read(active)? {
        Some(_) if scan.closed => State::Closed,
        _ => State::Incomplete,
    };
    let mut recovered = Recovered {
        path: closed_path(active, state),
        frames: scan.index.frames.len(),
        damaged: scan.damaged,
        torn: scan.torn,
        last: scan.last,
        no_index: None,
    };
    if recovered.frames == 0 && recovered.damaged == 0 {
        std::fs::remove_file(active)?;
        return Ok(recovered);
    }
    if state == State::Incomplete {
        let note = vec![
            ("incomplete".to_owned(), "true".to_owned()),
            ("damaged".to_owned(), scan.damaged.to_string()),
            ("torn_bytes".to_owned(), scan.torn.to_string()),
        ];
        let closed = SegmentWriter::resume(active, scan.end, scan.index).and_then(|mut writer| {
            writer
                .note(&note)
                .and_then(|()| writer.close(&recovered.path))
        });
        recovered.no_index = closed.err();
        if recovered.no_index.is_none() {
            return Ok(recovered);
        }
    }
    std::fs::rename(active, &recovered.path)?;
    Ok(recovered)
}

#[derive(Debug, Default)]
struct Scan {
    index: Index,
    last: HashMap<(u32, u32), u64>,
    closed: bool,
    /// Behind the last whole record of data.
    end: u64,
    damaged: u64,
    torn: u64,
}

fn scan(path: &Path) -> Result<Scan, ReadError> {
    let mut reader = SegmentReader::open(path)?;
    let mut scan = Scan::default();
    loop {
        let begin = reader.position();
        match reader.next()? {
            None => {
                scan.end = reader.position();
                break;
            }
            Some(Item::DataEnd { at }) => {
                scan.closed = true;
                scan.end = at;
                break;
            }
            Some(Item::Metadata { at, length }) => scan.index.metadata.push((at, length)),
            Some(Item::Channel {
                id,
                stream_id,
                picture,
                topic,
            }) => {
                let topic = topic.to_string();
                scan.index.channels.push(Channel {
                    id,
                    stream_id,
                    picture,
                    topic,
                });
            }
            Some(Item::MessageIndex) => {
                if let Some(last) = scan.index.frames.last_mut() {
                    last.has_index = last.offset + u64::from(last.length) == begin;
                }
            }
            Some(Item::Frame(frame)) => {
                let header = &frame.frame.header;
                let last = scan
                    .last
                    .entry((header.stream_id, header.epoch))
                    .or_default();
                *last = (*last).max(header.seq);
                if scan.index.frames.len() < MAX_FRAMES {
                    scan.index.frames.push(IndexEntry {
                        offset: frame.offset,
                        log_time: frame.log_time,
                        length: u32::try_from(frame.length).unwrap_or(u32::MAX),
                        channel: frame.channel,
                        has_index: false,
                    });
                }
            }
        }
    }
    scan.damaged = reader.damaged();
    scan.torn = reader.torn();
    Ok(scan)
}

/// Brings a folder's names to the disk.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_number_and_state_and_others_are_left_alone() {
        let active = active_name(7, "20260102T030405Z");
        assert_eq!(active, "00000007-20260102T030405Z.mcap.active");
        assert_eq!(parse_name(&active), Some((7, State::Active)));
        let path = PathBuf::from("/r").join(active);
        for (state, name) in [
            (State::Closed, "00000007-20260102T030405Z.mcap"),
            (
                State::Incomplete,
                "00000007-20260102T030405Z.INCOMPLETE.mcap",
            ),
        ] {
            assert_eq!(closed_path(&path, state), Path::new("/r").join(name));
            assert_eq!(parse_name(name), Some((7, state)));
        }
        for name in [
            "notes.mcap",
            "0000000x-a.mcap",
            "1-a.mcap",
            "00000001-a.avi",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
