//! The index at the end of a closed segment: written when it is closed, read to learn its times and
//! to jump to a time. Never reads frames.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::mcap::{self, Fields, MAGIC, PREFIX, TAIL, op, put_text, record};
use super::writer::{Index, METADATA, put_channel, put_schema};

/// Largest index that is read: that of a full segment, with room for others' files.
const MAX_SUMMARY: u64 = 64 * 1024 * 1024;

/// What the index of a closed segment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Earliest and latest capture time, in nanoseconds.
    pub(crate) times: Option<(u64, u64)>,
    /// Chunks: where each begins, and its latest time.
    pub(crate) chunks: Vec<(u64, u64)>,
    /// Topics by channel.
    pub(crate) topics: Vec<(u16, String)>,
}

impl Summary {
    /// Where to begin reading to miss no frame from `time` on.
    pub(crate) fn seek(&self, time: u64) -> Option<u64> {
        let chunks = self.chunks.iter();
        chunks
            .filter(|(_, end)| *end >= time)
            .map(|(at, _)| *at)
            .min()
    }

    /// Reads the index of a file; `None` if it has none, or a damaged one.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let Some(footer_at) = size.checked_sub(TAIL as u64) else {
            return Ok(None);
        };
        file.seek(SeekFrom::Start(footer_at))?;
        let mut tail = [0; TAIL];
        file.read_exact(&mut tail)?;
        let Some((start, crc)) = footer(&tail) else {
            return Ok(None);
        };
        // Up to the checksum, which is the last field of the footer.
        let crc_at = size - (MAGIC.len() + 4) as u64;
        let length = crc_at.saturating_sub(start);
        if start == 0 || start > footer_at || length > MAX_SUMMARY {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        if crc != 0 && crc32fast::hash(&bytes) != crc {
            return Ok(None);
        }
        Ok(Some(Self::parse(&bytes)))
    }

    fn parse(bytes: &[u8]) -> Self {
        let mut summary = Self::default();
        let mut fields = Fields(bytes);
        while let Some((opcode, content)) = fields.record() {
            let mut content = Fields(content);
            match opcode {
                op::CHUNK_INDEX => {
                    let (_, end, at) = (content.u64(), content.u64(), content.u64());
                    summary.chunks.extend(at.zip(end));
                }
                op::CHANNEL => {
                    let (id, _) = (content.u16(), content.u16());
                    let topic = content.text().map(str::to_owned);
                    summary.topics.extend(id.zip(topic));
                }
                op::STATISTICS => {
                    let count = content.u64().unwrap_or(0);
                    content.bytes(2 + 4 * 4);
                    let times = content.u64().zip(content.u64());
                    summary.times = times.filter(|_| count > 0);
                }
                _ => {}
            }
        }
        summary
    }
}

/// Start and checksum of the summary, from the last bytes of a file.
fn footer(tail: &[u8; TAIL]) -> Option<(u64, u32)> {
    let (record, magic) = tail.split_at(TAIL - MAGIC.len());
    let (opcode, content) = Fields(record).record()?;
    if magic != MAGIC || opcode != op::FOOTER || content.len() != mcap::FOOTER {
        return None;
    }
    let mut content = Fields(content);
    let start = content.u64()?;
    content.u64()?;
    Some((start, content.u32()?))
}

/// Appends the index, the footer and the last magic. `out` is written at `at` less its length now.
pub(crate) fn put(out: &mut Vec<u8>, at: u64, index: &Index, schemas: &[(u16, &str)]) {
    let base = out.len();
    let offset = |out: &Vec<u8>| at + (out.len() - base) as u64;
    let mut groups = Vec::new();
    let mut group = |out: &mut Vec<u8>, opcode: u8, fill: &dyn Fn(&mut Vec<u8>)| {
        let start = offset(out);
        fill(out);
        let length = offset(out) - start;
        if length > 0 {
            groups.push((opcode, start, length));
        }
    };
    group(out, op::SCHEMA, &|out| {
        schemas
            .iter()
            .for_each(|(id, name)| put_schema(out, *id, name));
    });
    group(out, op::CHANNEL, &|out| {
        index
            .channels
            .iter()
            .for_each(|channel| put_channel(out, channel));
    });
    group(out, op::STATISTICS, &|out| {
        put_statistics(out, index, schemas.len());
    });
    group(out, op::METADATA_INDEX, &|out| {
        for (at, length) in &index.metadata {
            record(out, op::METADATA_INDEX, |out| {
                out.extend_from_slice(&at.to_le_bytes());
                out.extend_from_slice(&length.to_le_bytes());
                put_text(out, METADATA);
            });
        }
    });
    group(out, op::CHUNK_INDEX, &|out| put_chunk_indexes(out, index));
    let offsets_at = offset(out);
    for (opcode, start, length) in &groups {
        record(out, op::SUMMARY_OFFSET, |out| {
            out.push(*opcode);
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
        });
    }
    out.push(op::FOOTER);
    out.extend_from_slice(&(mcap::FOOTER as u64).to_le_bytes());
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(&offsets_at.to_le_bytes());
    let crc = crc32fast::hash(&out[base..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&MAGIC);
}

fn put_statistics(out: &mut Vec<u8>, index: &Index, schemas: usize) {
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let times = || index.frames.iter().map(|frame| frame.log_time);
    record(out, op::STATISTICS, |out| {
        out.extend_from_slice(&(index.frames.len() as u64).to_le_bytes());
        out.extend_from_slice(&(schemas as u16).to_le_bytes());
        out.extend_from_slice(&count(index.channels.len()).to_le_bytes());
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&count(index.metadata.len()).to_le_bytes());
        out.extend_from_slice(&count(index.frames.len()).to_le_bytes());
        out.extend_from_slice(&times().min().unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&times().max().unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&count(index.channels.len() * 10).to_le_bytes());
        for channel in &index.channels {
            let frames = index.frames.iter();
            let frames = frames.filter(|frame| frame.channel == channel.id).count() as u64;
            out.extend_from_slice(&channel.id.to_le_bytes());
            out.extend_from_slice(&frames.to_le_bytes());
        }
    });
}

fn put_chunk_indexes(out: &mut Vec<u8>, index: &Index) {
    for frame in &index.frames {
        record(out, op::CHUNK_INDEX, |out| {
            let length = u64::from(frame.length);
            let records = length.saturating_sub((PREFIX + mcap::CHUNK_HEAD) as u64);
            for value in [frame.log_time, frame.log_time, frame.offset, length] {
                out.extend_from_slice(&value.to_le_bytes());
            }
            if frame.has_index {
                out.extend_from_slice(&10_u32.to_le_bytes());
                out.extend_from_slice(&frame.channel.to_le_bytes());
                out.extend_from_slice(&(frame.offset + length).to_le_bytes());
                out.extend_from_slice(&((PREFIX + mcap::MESSAGE_INDEX) as u64).to_le_bytes());
            } else {
                out.extend_from_slice(&[0; 4 + 8]);
            }
            put_text(out, "");
            out.extend_from_slice(&records.to_le_bytes());
            out.extend_from_slice(&records.to_le_bytes());
        });
    }
}
