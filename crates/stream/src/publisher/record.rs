//! One frame on disk: a header of 40 bytes with its own checksum, then the bytes of Frame v1, which
//! are covered by another one. Owns the layout and its checks; never decides what is kept.
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 4 | magic `EFSR` |
//! | 4 | 4 | length of the frame |
//! | 8 | 8 | when it was written, UTC nanoseconds |
//! | 16 | 8 | when the node sent it, on the producer's monotonic clock |
//! | 24 | 4 | deliveries that were lost to a dying consumer |
//! | 28 | 4 | reserved, zero |
//! | 32 | 4 | crc32c of the frame, payload included |
//! | 36 | 4 | crc32c of the bytes before |

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::group::Entry;
use crate::clock;
use crate::frame::{Frame, HEADER_LEN, Header, Limits, RawHeader};

/// Bytes before the frame.
pub(super) const RECORD_LEN: usize = 40;
const MAGIC: [u8; 4] = *b"EFSR";
/// Bytes read at once when looking for a record behind damage.
const SEARCH_CHUNK: usize = 64 * 1024;

/// The header of a record that was found intact.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHeader {
    pub(super) frame_len: u32,
    pub(super) written_ns: i64,
    pub(super) sent_mono_ns: u64,
    pub(super) deliveries: u32,
    frame_crc: u32,
}

impl RecordHeader {
    /// Bytes of the whole record.
    pub(super) fn record_len(&self) -> u64 {
        record_len(u64::from(self.frame_len))
    }

    fn parse(bytes: &[u8; RECORD_LEN], limits: &Limits) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        if !covered.starts_with(&MAGIC) || u32::from_le_bytes(*crc) != crc32c::crc32c(covered) {
            return None;
        }
        let header = Self {
            frame_len: u32::from_le_bytes(field(bytes, 4)?),
            written_ns: i64::from_le_bytes(field(bytes, 8)?),
            sent_mono_ns: u64::from_le_bytes(field(bytes, 16)?),
            deliveries: u32::from_le_bytes(field(bytes, 24)?),
            frame_crc: u32::from_le_bytes(field(bytes, 32)?),
        };
        let max = HEADER_LEN as u64 + u64::from(limits.max_meta) + u64::from(limits.max_payload);
        let len = u64::from(header.frame_len);
        (HEADER_LEN as u64..=max).contains(&len).then_some(header)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Bytes of the record of a frame of `frame_len` bytes.
pub(super) fn record_len(frame_len: u64) -> u64 {
    RECORD_LEN as u64 + frame_len
}

/// Writes a record at `offset`. After an error the file may end in a part of it.
pub(super) fn write_at(file: &File, offset: u64, entry: &Entry) -> io::Result<()> {
    let frame = &entry.frame;
    let frame_header = frame.encode_header();
    let mut crc = crc32c::crc32c(&frame_header);
    crc = crc32c::crc32c_append(crc, &frame.meta);
    crc = crc32c::crc32c_append(crc, &frame.payload);
    let mut head = Vec::with_capacity(RECORD_LEN + HEADER_LEN + frame.meta.len());
    head.extend_from_slice(&MAGIC);
    // Frames were checked against their limits, which fit u32.
    let len = u32::try_from(frame.encoded_len()).unwrap_or(u32::MAX);
    head.extend_from_slice(&len.to_le_bytes());
    head.extend_from_slice(&clock::unix_ns().to_le_bytes());
    head.extend_from_slice(&entry.sent_mono_ns.to_le_bytes());
    head.extend_from_slice(&entry.deliveries.to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    head.extend_from_slice(&crc.to_le_bytes());
    let header_crc = crc32c::crc32c(&head);
    head.extend_from_slice(&header_crc.to_le_bytes());
    head.extend_from_slice(&frame_header);
    head.extend_from_slice(&frame.meta);
    file.write_all_at(&head, offset)?;
    file.write_all_at(&frame.payload, offset + head.len() as u64)
}

/// The header of the record at `offset` and its frame's number; `None` when there is no whole
/// record before `end`.
pub(super) fn header_at(
    file: &File,
    offset: u64,
    end: u64,
    limits: &Limits,
) -> io::Result<Option<(RecordHeader, u64)>> {
    // Up to and with the number of the frame.
    const SEQ_AT: usize = RECORD_LEN + 16;
    let mut bytes = [0; SEQ_AT + 8];
    if end.saturating_sub(offset) < bytes.len() as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut bytes, offset)?;
    let header = bytes
        .first_chunk()
        .and_then(|header| RecordHeader::parse(header, limits))
        .filter(|header| header.record_len() <= end - offset);
    Ok(header.zip(field(&bytes, SEQ_AT).map(u64::from_le_bytes)))
}

/// The header of the frame of the record at `offset`, which is there; unchecked.
pub(super) fn frame_header_at(
    file: &File,
    offset: u64,
    limits: &Limits,
) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER_LEN];
    file.read_exact_at(&mut bytes, offset + RECORD_LEN as u64)?;
    let header = RawHeader::parse(&bytes, limits).ok();
    Ok(header.map(|header| header.header().clone()))
}

/// The frame of the record at `offset`; `None` when it is damaged.
pub(super) fn frame_at(
    file: &File,
    offset: u64,
    header: &RecordHeader,
    limits: &Limits,
) -> io::Result<Option<Frame>> {
    let mut bytes = vec![0; header.frame_len as usize];
    file.read_exact_at(&mut bytes, offset + RECORD_LEN as u64)?;
    if crc32c::crc32c(&bytes) != header.frame_crc {
        return Ok(None);
    }
    Ok(Frame::decode(&Bytes::from(bytes), limits).ok())
}

/// Where the next record begins, from `offset` on.
pub(super) fn find(file: &File, offset: u64, end: u64, limits: &Limits) -> io::Result<Option<u64>> {
    let mut at = offset;
    let mut chunk = vec![0; SEARCH_CHUNK];
    while at < end {
        let len = usize::try_from(end - at).map_or(SEARCH_CHUNK, |left| left.min(SEARCH_CHUNK));
        file.read_exact_at(&mut chunk[..len], at)?;
        for (index, window) in chunk[..len].windows(MAGIC.len()).enumerate() {
            let here = at + index as u64;
            if window == MAGIC && header_at(file, here, end, limits)?.is_some() {
                return Ok(Some(here));
            }
        }
        if len < SEARCH_CHUNK {
            break;
        }
        // The magic may lie across two chunks.
        at += (len - (MAGIC.len() - 1)) as u64;
    }
    Ok(None)
}
