//! Writes one segment. Every frame is a chunk of its own, written whole before the call returns: a
//! killed process loses nothing that was written, and a failed write leaves no trace. Closing adds
//! the index. Never chooses names and never deletes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgeflow::{Frame, clock};

use super::mcap::{self, MAGIC, PREFIX, op, put_bytes, put_map, put_text, record};
use super::message;

/// Frames in one segment: bounds the index in memory, which takes 24 bytes for each.
pub(crate) const MAX_FRAMES: usize = 100_000;
/// Channels in one segment.
pub(crate) const MAX_CHANNELS: usize = 1000;
/// Name of the metadata record.
pub(crate) const METADATA: &str = "edgeflow";
/// Room for a chunk's and a message's own fields, the channel's record and the frame's share of the
/// index.
pub(crate) const OVERHEAD: u64 = 1024;
/// Bytes kept for the next frame's head.
const HEAD_KEPT: usize = 64 * 1024;

const SCHEMAS: [(u16, &str); 2] = [(1, message::PICTURE), (2, message::FRAME)];

/// What a segment is of, as text: system, node, device and so on.
pub(crate) type About = Vec<(String, String)>;

/// Where a frame is in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) offset: u64,
    pub(crate) log_time: u64,
    /// Bytes of the chunk record.
    pub(crate) length: u32,
    pub(crate) channel: u16,
    /// Whether the chunk's message index follows it.
    pub(crate) has_index: bool,
}

/// A stream of one kind of frames in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(crate) id: u16,
    pub(crate) stream_id: u32,
    pub(crate) picture: bool,
    pub(crate) topic: String,
}

/// All that the index says.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) frames: Vec<IndexEntry>,
    pub(crate) channels: Vec<Channel>,
    /// Offset and length of metadata records.
    pub(crate) metadata: Vec<(u64, u64)>,
}

/// A segment that is being written.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    file: Arc<File>,
    path: PathBuf,
    length: u64,
    /// The file is longer than `length`: a write failed half-way.
    torn: bool,
    index: Index,
    head: Vec<u8>,
}

impl SegmentWriter {
    /// Begins a new file; it must not be there yet.
    pub(crate) fn create(path: &Path, about: &About) -> io::Result<Self> {
        let mut start = MAGIC.to_vec();
        record(&mut start, op::HEADER, |out| {
            put_text(out, "edgeflow");
            put_text(out, concat!("edgeflow-nodes ", env!("CARGO_PKG_VERSION")));
        });
        let at = start.len() as u64;
        put_metadata(&mut start, about);
        let metadata = vec![(at, start.len() as u64 - at)];
        for (id, name) in SCHEMAS {
            put_schema(&mut start, id, name);
        }
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(path)?;
        if let Err(error) = (&file).write_all(&start) {
            // An empty segment would be in the way of the next try.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            length: start.len() as u64,
            torn: false,
            index: Index {
                metadata,
                ..Index::default()
            },
            head: Vec::new(),
        })
    }

    /// Goes on with a file that was not closed, after its last whole record.
    pub(crate) fn resume(path: &Path, length: u64, index: Index) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        file.set_len(length)?;
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            length,
            torn: false,
            index,
            head: Vec::new(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn frames(&self) -> usize {
        self.index.frames.len()
    }

    /// Whether no other frame fits into the index.
    pub(crate) fn is_full(&self) -> bool {
        self.frames() >= MAX_FRAMES || self.index.channels.len() >= MAX_CHANNELS
    }

    /// To write what the kernel holds to the disk, from another thread.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Appends a frame of the stream that `topic` names. After an error the segment is as before.
    pub(crate) fn append(&mut self, topic: &str, frame: &Frame) -> io::Result<()> {
        self.mend()?;
        let (channel, is_new) = self.channel(topic, frame);
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        if is_new {
            put_channel(&mut head, &channel);
        }
        let chunk_at = head.len();
        let log_time = u64::try_from(frame.header.capture_ns).unwrap_or(0);
        put_chunk_head(&mut head, &channel, log_time, frame);
        let length = head.len() - chunk_at + frame.payload.len();
        let mut tail = Vec::with_capacity(PREFIX + mcap::MESSAGE_INDEX);
        record(&mut tail, op::MESSAGE_INDEX, |out| {
            out.extend_from_slice(&channel.id.to_le_bytes());
            out.extend_from_slice(&16_u32.to_le_bytes());
            out.extend_from_slice(&log_time.to_le_bytes());
            out.extend_from_slice(&0_u64.to_le_bytes());
        });
        let result = self.put(&[&head, &frame.payload, &tail]);
        let offset = self.length + chunk_at as u64;
        if result.is_ok() {
            self.length += (head.len() + frame.payload.len() + tail.len()) as u64;
            self.index.frames.push(IndexEntry {
                offset,
                log_time,
                // Frames are at most 64 MiB.
                length: u32::try_from(length).unwrap_or(u32::MAX),
                channel: channel.id,
                has_index: true,
            });
            if is_new {
                self.index.channels.push(channel);
            }
        }
        if head.capacity() <= HEAD_KEPT {
            self.head = head;
        }
        result
    }

    /// Adds a metadata record.
    pub(crate) fn note(&mut self, about: &About) -> io::Result<()> {
        self.mend()?;
        let mut out = Vec::new();
        put_metadata(&mut out, about);
        self.put(&[&out])?;
        self.index.metadata.push((self.length, out.len() as u64));
        self.length += out.len() as u64;
        Ok(())
    }

    /// Writes the index and the end, brings all of it to the disk and gives the file its name. After
    /// an error the segment is as before and can be closed again.
    pub(crate) fn close(&mut self, path: &Path) -> io::Result<()> {
        self.mend()?;
        let mut out = Vec::new();
        record(&mut out, op::DATA_END, |out| out.extend_from_slice(&[0; 4]));
        let summary_at = self.length + out.len() as u64;
        super::summary::put(&mut out, summary_at, &self.index, &SCHEMAS);
        self.put(&[&out])?;
        let synced = self.file.sync_all();
        if let Err(error) = synced.and_then(|()| std::fs::rename(&self.path, path)) {
            self.torn = true;
            return Err(error);
        }
        self.length += out.len() as u64;
        self.path = path.to_owned();
        Ok(())
    }

    /// As after a write that failed half-way.
    #[cfg(test)]
    pub(crate) fn mark_torn(&mut self) {
        self.torn = true;
    }

    /// Removes what a failed write left.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        Ok(())
    }

    fn put(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let written = parts
            .iter()
            .try_for_each(|part| (&*self.file).write_all(part));
        if written.is_err() {
            self.torn = true;
            // When this fails too, it is tried again before the next write.
            let _ = self.mend();
        }
        written
    }

    fn channel(&self, topic: &str, frame: &Frame) -> (Channel, bool) {
        let picture = message::is_picture(frame);
        let stream_id = frame.header.stream_id;
        let known = self
            .index
            .channels
            .iter()
            .find(|it| it.stream_id == stream_id && it.picture == picture && it.topic == topic);
        if let Some(known) = known {
            return (known.clone(), false);
        }
        let highest = self.index.channels.iter().map(|it| it.id).max();
        let channel = Channel {
            // `is_full` keeps this far from the end.
            id: highest.unwrap_or(0).saturating_add(1),
            stream_id,
            picture,
            topic: topic.to_owned(),
        };
        (channel, true)
    }
}

/// A chunk up to the frame's payload.
fn put_chunk_head(out: &mut Vec<u8>, channel: &Channel, log_time: u64, frame: &Frame) {
    let chunk_at = out.len();
    record(out, op::CHUNK, |out| {
        out.extend_from_slice(&log_time.to_le_bytes());
        out.extend_from_slice(&log_time.to_le_bytes());
        // Size and checksum follow below; no compression.
        out.extend_from_slice(&[0; 8 + 4 + 4 + 8]);
        record(out, op::MESSAGE, |out| {
            out.extend_from_slice(&channel.id.to_le_bytes());
            out.extend_from_slice(&(frame.header.seq as u32).to_le_bytes());
            out.extend_from_slice(&log_time.to_le_bytes());
            let now = u64::try_from(clock::unix_ns()).unwrap_or(0);
            out.extend_from_slice(&now.to_le_bytes());
            message::encode_head(out, &channel.topic, frame);
        });
    });
    let content = chunk_at + PREFIX;
    let records_at = content + mcap::CHUNK_HEAD;
    let records = (out.len() - records_at + frame.payload.len()) as u64;
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(
        chunk_at + 1,
        &(mcap::CHUNK_HEAD as u64 + records).to_le_bytes(),
    );
    put(content + 16, &records.to_le_bytes());
    put(content + 32, &records.to_le_bytes());
    put(records_at + 1, &(records - PREFIX as u64).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[records_at..]);
    crc.update(&frame.payload);
    let crc = crc.finalize().to_le_bytes();
    out[content + 24..content + 28].copy_from_slice(&crc);
}

fn put_metadata(out: &mut Vec<u8>, about: &About) {
    record(out, op::METADATA, |out| {
        put_text(out, METADATA);
        put_map(
            out,
            about
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
    });
}

/// Appends a schema's record.
pub(crate) fn put_schema(out: &mut Vec<u8>, id: u16, name: &str) {
    record(out, op::SCHEMA, |out| {
        out.extend_from_slice(&id.to_le_bytes());
        put_text(out, name);
        put_text(out, message::ENCODING);
        put_bytes(out, &message::descriptors(name));
    });
}

/// Appends a channel's record.
pub(crate) fn put_channel(out: &mut Vec<u8>, channel: &Channel) {
    record(out, op::CHANNEL, |out| {
        out.extend_from_slice(&channel.id.to_le_bytes());
        let (schema, _) = SCHEMAS[usize::from(!channel.picture)];
        out.extend_from_slice(&schema.to_le_bytes());
        put_text(out, &channel.topic);
        put_text(out, message::ENCODING);
        let stream_id = channel.stream_id.to_string();
        put_map(out, [("stream_id", stream_id.as_str())].into_iter());
    });
}
