//! Reads a segment from front to end, whether it was closed, cut short or damaged. What is damaged is
//! left out and counted. Never trusts a length and never panics on what it reads.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use edgeflow::Frame;
use edgeflow_stream::Limits;

use super::mcap::{CHUNK_HEAD, Fields, MAGIC, MESSAGE_HEAD, MESSAGE_INDEX, PREFIX, op};
use super::message;
use super::summary::Summary;

/// Largest record that is read whole: a chunk with the largest frame, or with many small ones.
const MAX_RECORD: u64 = 80 * 1024 * 1024;
/// Channels that a file may have.
const MAX_CHANNELS: usize = 10_000;
/// Bytes searched at a time for the next whole frame.
const SEARCH_STEP: usize = 1024 * 1024;
/// Places in one file that look like a frame and are none, after which its rest is left out.
const MAX_FALSE_STARTS: u32 = 1000;
/// Bytes of a chunk in front of a message's signature.
const SIGNATURE_AT: usize = PREFIX + CHUNK_HEAD + PREFIX + MESSAGE_HEAD;

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the file can't be read")]
    Io(#[from] io::Error),
    #[error("it is not a recording: it does not begin like an MCAP file")]
    Magic,
    #[error("it is compressed with `{0}`, which a replay can't read: write it without compression")]
    Compressed(String),
}

/// What is in a file, in its order.
#[derive(Debug)]
pub(crate) enum Item {
    /// A frame.
    Frame(Recorded),
    /// The index of the chunk before it.
    MessageIndex,
    /// Metadata with this many bytes.
    Metadata { at: u64, length: u64 },
    /// A channel with its stream.
    Channel {
        id: u16,
        stream_id: u32,
        picture: bool,
        topic: Arc<str>,
    },
    /// The file was closed here.
    DataEnd { at: u64 },
}

/// A frame with its place.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) frame: Frame,
    pub(crate) topic: Arc<str>,
    pub(crate) channel: u16,
    pub(crate) log_time: u64,
    /// Where its chunk begins, and the chunk's length.
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A file that is read.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: BufReader<File>,
    size: u64,
    at: u64,
    /// Where the file is read next.
    cursor: u64,
    topics: HashMap<u16, Arc<str>>,
    ready: VecDeque<Item>,
    damaged: u64,
    foreign: u64,
    false_starts: u32,
    torn: u64,
}

impl SegmentReader {
    /// Opens a recording. One whose first bytes are damaged is read from its first whole frame on.
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut reader = Self {
            file: BufReader::with_capacity(128 * 1024, file),
            size,
            at: 0,
            cursor: 0,
            topics: HashMap::new(),
            ready: VecDeque::new(),
            damaged: 0,
            foreign: 0,
            false_starts: 0,
            torn: 0,
        };
        let mut magic = [0; MAGIC.len()];
        if size >= MAGIC.len() as u64 {
            reader.read_exact(&mut magic)?;
        }
        if magic == MAGIC {
            reader.at = MAGIC.len() as u64;
        } else if !reader.search()? {
            return Err(ReadError::Magic);
        }
        Ok(reader)
    }

    /// Where the last record that was read ends.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// Damaged places so far.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Messages so far that no recorder wrote.
    pub(crate) fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Bytes at the end that are no whole record.
    pub(crate) fn torn(&self) -> u64 {
        self.torn
    }

    /// Goes to the first frame from `time` on, with what the index says. Nothing was read yet.
    pub(crate) fn seek(&mut self, summary: &Summary, time: u64) -> io::Result<()> {
        let known = summary.topics.iter().take(MAX_CHANNELS);
        self.topics
            .extend(known.map(|(id, topic)| (*id, topic.as_str().into())));
        match summary.seek(time).filter(|offset| *offset <= self.size) {
            Some(offset) => self.go_to(offset),
            None => self.go_to(self.size),
        }
    }

    /// The next item; `None` at the end of what can be read.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, ReadError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            let left = self.size - self.at;
            if left == 0 {
                return Ok(None);
            }
            let Some((opcode, length)) = self.prefix(left)? else {
                if !self.search()? {
                    return Ok(None);
                }
                continue;
            };
            let start = self.at;
            match opcode {
                op::HEADER | op::SCHEMA => self.go_to(start + PREFIX as u64 + length)?,
                op::DATA_END | op::FOOTER => {
                    self.go_to(self.size)?;
                    return Ok(Some(Item::DataEnd { at: start }));
                }
                op::METADATA => {
                    let length = PREFIX as u64 + length;
                    self.go_to(start + length)?;
                    return Ok(Some(Item::Metadata { at: start, length }));
                }
                op::MESSAGE_INDEX => {
                    self.go_to(start + PREFIX as u64 + length)?;
                    return Ok(Some(Item::MessageIndex));
                }
                op::CHANNEL | op::MESSAGE | op::CHUNK => {
                    let content = self.content(length)?;
                    self.whole(opcode, start, &content)?;
                }
                _ => self.go_to(start + PREFIX as u64 + length)?,
            }
        }
    }

    /// Reads opcode and length of the next record; `None`: what is there is no whole record.
    fn prefix(&mut self, left: u64) -> Result<Option<(u8, u64)>, ReadError> {
        let mut prefix = [0; PREFIX];
        if left < PREFIX as u64 {
            return Ok(None);
        }
        self.read_exact(&mut prefix)?;
        let mut fields = Fields(&prefix[1..]);
        let (opcode, length) = (prefix[0], fields.u64().unwrap_or(u64::MAX));
        let known = (op::HEADER..=op::DATA_END).contains(&opcode) || opcode >= op::PRIVATE;
        let fits = length <= left - PREFIX as u64 && length <= MAX_RECORD;
        let index = opcode != op::MESSAGE_INDEX || length >= MESSAGE_INDEX as u64;
        if known && fits && index {
            return Ok(Some((opcode, length)));
        }
        self.go_to(self.at)?;
        Ok(None)
    }

    /// Reads the content of the record at the position and goes behind it.
    fn content(&mut self, length: u64) -> Result<Bytes, ReadError> {
        // Bounded by MAX_RECORD.
        let mut content = vec![0; usize::try_from(length).unwrap_or(0)];
        self.read_exact(&mut content)?;
        self.at += PREFIX as u64 + length;
        Ok(content.into())
    }

    /// Takes a record that is there whole.
    fn whole(&mut self, opcode: u8, start: u64, content: &Bytes) -> Result<(), ReadError> {
        let place = (start, PREFIX as u64 + content.len() as u64);
        match opcode {
            op::CHANNEL => self.channel(content),
            op::MESSAGE => self.message(content, place),
            _ => match check_chunk(content)? {
                Some(records) => self.records(&records, place),
                None => self.damaged += 1,
            },
        }
        Ok(())
    }

    fn records(&mut self, records: &Bytes, place: (u64, u64)) {
        let mut fields = Fields(records);
        while !fields.0.is_empty() {
            let Some((opcode, content)) = fields.record() else {
                self.damaged += 1;
                return;
            };
            match opcode {
                op::CHANNEL => self.channel(&records.slice_ref(content)),
                op::MESSAGE => self.message(&records.slice_ref(content), place),
                _ => {}
            }
        }
    }

    fn channel(&mut self, content: &Bytes) {
        let mut fields = Fields(content);
        let parsed = (|| {
            let (id, schema) = (fields.u16()?, fields.u16()?);
            let topic: Arc<str> = fields.text()?.into();
            fields.text()?;
            fields.u32()?;
            let key = fields.text().unwrap_or_default();
            let value = fields.text().unwrap_or_default();
            let stream_id = if key == "stream_id" {
                value.parse().ok()
            } else {
                None
            };
            Some((id, schema, topic, stream_id.unwrap_or(0)))
        })();
        let Some((id, schema, topic, stream_id)) = parsed else {
            self.damaged += 1;
            return;
        };
        if self.topics.len() < MAX_CHANNELS {
            self.topics.insert(id, Arc::clone(&topic));
            let picture = schema == 1;
            self.ready.push_back(Item::Channel {
                id,
                stream_id,
                picture,
                topic,
            });
        }
    }

    fn message(&mut self, content: &Bytes, (offset, length): (u64, u64)) {
        let mut fields = Fields(content);
        let head = (|| {
            let channel = fields.u16()?;
            fields.u32()?;
            let log_time = fields.u64()?;
            fields.u64()?;
            Some((channel, log_time))
        })();
        let Some((channel, log_time)) = head else {
            self.damaged += 1;
            return;
        };
        match message::decode(&content.slice(MESSAGE_HEAD..), &Limits::default()) {
            Ok(frame) => {
                let topic = self.topics.get(&channel).cloned().unwrap_or_default();
                self.ready.push_back(Item::Frame(Recorded {
                    frame,
                    topic,
                    channel,
                    log_time,
                    offset,
                    length,
                }));
            }
            Err(message::MessageError::Foreign) => self.foreign += 1,
            Err(message::MessageError::Frame(_)) => self.damaged += 1,
        }
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact(bytes)?;
        self.cursor += bytes.len() as u64;
        Ok(())
    }

    fn go_to(&mut self, offset: u64) -> io::Result<()> {
        match i64::try_from(i128::from(offset) - i128::from(self.cursor)) {
            // Keeps the buffer when the place is in it.
            Ok(delta) => self.file.seek_relative(delta)?,
            Err(_) => drop(self.file.seek(SeekFrom::Start(offset))?),
        }
        self.cursor = offset;
        self.at = offset;
        Ok(())
    }

    /// Looks for the next whole frame behind a damaged place. False: there is none.
    fn search(&mut self) -> Result<bool, ReadError> {
        let damage = self.at;
        let mut from = self.at + 1;
        let mut window = Vec::new();
        while from < self.size && self.false_starts < MAX_FALSE_STARTS {
            self.go_to(from)?;
            window.clear();
            let step = (SEARCH_STEP + SIGNATURE_AT + message::SIGNATURE.len()) as u64;
            self.file.by_ref().take(step).read_to_end(&mut window)?;
            self.cursor += window.len() as u64;
            for start in candidates(&window) {
                if self.is_frame(from + start as u64)? {
                    self.damaged += 1;
                    self.go_to(from + start as u64)?;
                    return Ok(true);
                }
                self.false_starts += 1;
            }
            from += SEARCH_STEP as u64;
        }
        self.go_to(damage)?;
        self.torn = self.size - damage;
        Ok(false)
    }

    /// Whether a whole chunk begins at `offset`.
    fn is_frame(&mut self, offset: u64) -> Result<bool, ReadError> {
        self.go_to(offset)?;
        match self.prefix(self.size - offset)? {
            Some((op::CHUNK, length)) => {
                let content = self.content(length)?;
                Ok(matches!(check_chunk(&content), Ok(Some(_))))
            }
            _ => Ok(false),
        }
    }
}

/// Where chunks with a frame may begin in a window of a file.
fn candidates(window: &[u8]) -> Vec<usize> {
    let signature = message::SIGNATURE;
    let mut found = Vec::new();
    let starts = window.windows(SIGNATURE_AT + signature.len()).enumerate();
    for (at, bytes) in starts {
        if bytes[0] == op::CHUNK && bytes[SIGNATURE_AT..] == signature {
            found.push(at);
        }
    }
    found
}

/// The records of a chunk whose checksum is right; `None`: it is damaged.
fn check_chunk(content: &Bytes) -> Result<Option<Bytes>, ReadError> {
    let mut fields = Fields(content);
    let head = (|| {
        fields.u64()?;
        fields.u64()?;
        fields.u64()?;
        let crc = fields.u32()?;
        let compression = fields.text()?;
        let length = fields.u64()?;
        Some((crc, compression, fields.bytes(length)?))
    })();
    let Some((crc, compression, records)) = head else {
        return Ok(None);
    };
    if matches!(compression, "lz4" | "zstd") {
        return Err(ReadError::Compressed(compression.to_owned()));
    }
    let whole = compression.is_empty() && (crc == 0 || crc32fast::hash(records) == crc);
    Ok(whole.then(|| content.slice_ref(records)))
}
