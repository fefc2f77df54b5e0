//! Frame v1: one layout on sockets, in the live view and on disk. A fixed little-endian header,
//! then meta (a MessagePack map), then the payload. Owns the layout and its checks; never looks
//! into meta or payload.
//!
//! | offset | size | field | meaning |
//! |---:|---:|---|---|
//! | 0 | 4 | magic | `EFR1` |
//! | 4 | 1 | version | 1 |
//! | 5 | 1 | kind | 1 frame, 2 gap, 3 error, 4 end, 5 heartbeat |
//! | 6 | 1 | codec | 0 none, 1 jpeg, 2 h264, 3 rgb8, 4 yuyv, 5 nv12, 6 tensor, 7 bytes, 8 json, 9 grey8 |
//! | 7 | 1 | flags | bit 0: the checksum covers the payload too; bit 1: sampled, meta has `hops` |
//! | 8 | 4 | stream_id | hash of the producing instance and port |
//! | 12 | 4 | epoch | the producer's life, random at its start |
//! | 16 | 8 | seq | counts from 1 in an epoch |
//! | 24 | 8 | capture_ns | UTC nanoseconds, signed |
//! | 32 | 8 | capture_mono_ns | the capturing host's monotonic clock, 0 unknown |
//! | 40 | 4 | clock_error_us | bound on the error of `capture_ns`, 0 unknown |
//! | 44 | 4 | ttl_ms | of no use after this age, 0 never |
//! | 48 | 2 | width | pixels |
//! | 50 | 2 | height | pixels |
//! | 52 | 4 | stride | bytes a row for raw pixels |
//! | 56 | 4 | meta_len | bytes of meta |
//! | 60 | 4 | payload_len | bytes of payload |
//! | 64 | 16 | trace_id | the same for everything made of one capture |
//! | 80 | 8 | span_id | this hop |
//! | 88 | 4 | crc32c | of the header with this field zero, then meta, then (flag) the payload |
//! | 92 | 4 | reserved | zero |

use std::fmt;

use bytes::Bytes;

use crate::{clock, meta};

mod error;

pub use error::FrameError;

/// Bytes of the header.
pub const HEADER_LEN: usize = 96;
/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"EFR1";
/// Layout version written and read by this build.
pub const VERSION: u8 = 1;
/// Header flag: `crc32c` covers the payload as well as header and meta.
pub const FLAG_PAYLOAD_CRC: u8 = 1;
/// Header flag: the frame is sampled. Its meta key `hops` tells where it was when.
pub const FLAG_SAMPLED: u8 = 2;

const CRC_OFFSET: usize = 88;

/// The `stream_id` of an output port, named `instance/port`.
pub fn stream_id(name: &str) -> u32 {
    crc32c::crc32c(name.as_bytes())
}

/// What a frame is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Data.
    #[default]
    Frame,
    /// Frames are missing here.
    Gap,
    /// Something failed; meta key `error` says what.
    Error,
    /// The stream ended.
    End,
    /// Time passed without data.
    Heartbeat,
}

impl Kind {
    fn from_wire(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Frame,
            2 => Self::Gap,
            3 => Self::Error,
            4 => Self::End,
            5 => Self::Heartbeat,
            _ => return None,
        })
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::Frame => 1,
            Self::Gap => 2,
            Self::Error => 3,
            Self::End => 4,
            Self::Heartbeat => 5,
        }
    }
}

/// How the payload is coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// No payload, or one that nobody has to understand.
    #[default]
    None,
    /// A JPEG picture.
    Jpeg,
    /// An H.264 access unit.
    H264,
    /// Packed 8-bit RGB rows.
    Rgb8,
    /// Packed YUYV 4:2:2 rows.
    Yuyv,
    /// Planar NV12.
    Nv12,
    /// A tensor, described by meta.
    Tensor,
    /// Opaque bytes.
    Bytes,
    /// JSON text.
    Json,
    /// Rows of 8-bit brightness.
    Grey8,
    /// A codec of a newer version.
    Other(u8),
}

impl Codec {
    fn from_wire(value: u8) -> Self {
        match value {
            0 => Self::None,
            1 => Self::Jpeg,
            2 => Self::H264,
            3 => Self::Rgb8,
            4 => Self::Yuyv,
            5 => Self::Nv12,
            6 => Self::Tensor,
            7 => Self::Bytes,
            8 => Self::Json,
            9 => Self::Grey8,
            other => Self::Other(other),
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Jpeg => 1,
            Self::H264 => 2,
            Self::Rgb8 => 3,
            Self::Yuyv => 4,
            Self::Nv12 => 5,
            Self::Tensor => 6,
            Self::Bytes => 7,
            Self::Json => 8,
            Self::Grey8 => 9,
            Self::Other(other) => other,
        }
    }

    /// Lower-case name, for logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Jpeg => "jpeg",
            Self::H264 => "h264",
            Self::Rgb8 => "rgb8",
            Self::Yuyv => "yuyv",
            Self::Nv12 => "nv12",
            Self::Tensor => "tensor",
            Self::Bytes => "bytes",
            Self::Json => "json",
            Self::Grey8 => "grey8",
            Self::Other(_) => "other",
        }
    }
}

/// The largest frame that is accepted. Checked before anything is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of meta.
    pub max_meta: u32,
    /// Bytes of payload.
    pub max_payload: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_meta: DEFAULT_MAX_META,
            max_payload: DEFAULT_MAX_PAYLOAD,
        }
    }
}

/// Meta bytes accepted unless configured otherwise.
pub const DEFAULT_MAX_META: u32 = 256 * 1024;
/// Payload bytes accepted unless configured otherwise.
pub const DEFAULT_MAX_PAYLOAD: u32 = 64 * 1024 * 1024;

/// The fields of the header that are not lengths or checksums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// How the payload is coded.
    pub codec: Codec,
    /// See the `FLAG_` constants.
    pub flags: u8,
    /// Which stream; set by the publisher.
    pub stream_id: u32,
    /// Which life of the producer; set by the publisher.
    pub epoch: u32,
    /// Number in the epoch, from 1; set by the publisher.
    pub seq: u64,
    /// When the content was captured, UTC.
    pub capture_ns: i64,
    /// The same on the capturing host's monotonic clock; 0: unknown.
    pub capture_mono_ns: u64,
    /// Bound on the error of `capture_ns`; 0: unknown.
    pub clock_error_us: u32,
    /// Of no use after this age; 0: never.
    pub ttl_ms: u32,
    /// Picture width in pixels, 0 for other content.
    pub width: u16,
    /// Picture height in pixels, 0 for other content.
    pub height: u16,
    /// Bytes a row of raw pixels, 0 for other content.
    pub stride: u32,
    /// The same for everything made of one capture; filled by the publisher when zero.
    pub trace_id: [u8; 16],
    /// This hop; set by the publisher.
    pub span_id: [u8; 8],
}

/// A frame. Cheap to clone: meta and payload are shared.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// Header fields.
    pub header: Header,
    /// A MessagePack map; empty: no entries.
    pub meta: Bytes,
    /// The content.
    pub payload: Bytes,
}

/// A header as read from bytes, with the lengths that follow it. The checksum is checked by
/// [`RawHeader::finish`], once meta and payload are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawHeader {
    header: Header,
    meta_len: u32,
    payload_len: u32,
    crc: u32,
    crc_so_far: u32,
}

impl RawHeader {
    /// Reads a header and checks its lengths against `limits`.
    pub fn parse(bytes: &[u8; HEADER_LEN], limits: &Limits) -> Result<Self, FrameError> {
        let mut fields = Fields(bytes);
        if fields.take::<4>() != MAGIC {
            return Err(FrameError::Magic);
        }
        let [version] = fields.take();
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let [kind] = fields.take();
        let kind = Kind::from_wire(kind).ok_or(FrameError::Kind(kind))?;
        let [codec] = fields.take();
        let [flags] = fields.take();
        let header = Header {
            kind,
            codec: Codec::from_wire(codec),
            flags,
            stream_id: u32::from_le_bytes(fields.take()),
            epoch: u32::from_le_bytes(fields.take()),
            seq: u64::from_le_bytes(fields.take()),
            capture_ns: i64::from_le_bytes(fields.take()),
            capture_mono_ns: u64::from_le_bytes(fields.take()),
            clock_error_us: u32::from_le_bytes(fields.take()),
            ttl_ms: u32::from_le_bytes(fields.take()),
            width: u16::from_le_bytes(fields.take()),
            height: u16::from_le_bytes(fields.take()),
            stride: u32::from_le_bytes(fields.take()),
            ..Header::default()
        };
        let meta_len = u32::from_le_bytes(fields.take());
        let payload_len = u32::from_le_bytes(fields.take());
        check_lengths(meta_len, payload_len, limits)?;
        let header = Header {
            trace_id: fields.take(),
            span_id: fields.take(),
            ..header
        };
        let crc = u32::from_le_bytes(fields.take());
        Ok(Self {
            header,
            meta_len,
            payload_len,
            crc,
            crc_so_far: header_crc(bytes),
        })
    }

    /// The fields, before the checksum was checked.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes that follow the header.
    pub fn body_len(&self) -> usize {
        self.meta_len as usize + self.payload_len as usize
    }

    /// The header bytes again.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = encode_fields(&self.header, self.meta_len, self.payload_len);
        out[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&self.crc.to_le_bytes());
        out
    }

    /// Bytes of meta.
    pub fn meta_len(&self) -> usize {
        self.meta_len as usize
    }

    /// Bytes of payload.
    pub fn payload_len(&self) -> usize {
        self.payload_len as usize
    }

    /// Makes the frame of the header and the bytes that follow it, which must be
    /// [`Self::body_len`] long.
    pub fn finish(self, mut body: Bytes) -> Result<Frame, FrameError> {
        let need = self.body_len();
        if body.len() != need {
            return Err(FrameError::Truncated {
                have: HEADER_LEN + body.len().min(need),
                need: HEADER_LEN + need,
            });
        }
        let meta = body.split_to(self.meta_len());
        self.finish_parts(meta, body)
    }

    /// Makes the frame of the header and what follows it, in two buffers.
    pub fn finish_parts(self, meta: Bytes, payload: Bytes) -> Result<Frame, FrameError> {
        let have = meta.len() + payload.len();
        if meta.len() != self.meta_len() || payload.len() != self.payload_len() {
            return Err(FrameError::Truncated {
                have: HEADER_LEN + have.min(self.body_len()),
                need: HEADER_LEN + self.body_len(),
            });
        }
        let mut crc = crc32c::crc32c_append(self.crc_so_far, &meta);
        if self.header.flags & FLAG_PAYLOAD_CRC != 0 {
            crc = crc32c::crc32c_append(crc, &payload);
        }
        if crc != self.crc {
            return Err(FrameError::Checksum);
        }
        Ok(Frame {
            header: self.header,
            meta,
            payload,
        })
    }
}

fn check_lengths(meta_len: u32, payload_len: u32, limits: &Limits) -> Result<(), FrameError> {
    if meta_len > limits.max_meta {
        return Err(FrameError::MetaTooLarge {
            len: meta_len,
            limit: limits.max_meta,
        });
    }
    if payload_len > limits.max_payload {
        return Err(FrameError::PayloadTooLarge {
            len: payload_len,
            limit: limits.max_payload,
        });
    }
    Ok(())
}

/// Reads fixed-size fields off the front of a header.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes; zeros past the end, which the field list never reaches.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

/// The header bytes with the checksum field zero.
fn encode_fields(header: &Header, meta_len: u32, payload_len: u32) -> [u8; HEADER_LEN] {
    let mut out = [0_u8; HEADER_LEN];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&MAGIC);
    put(&[
        VERSION,
        header.kind.to_wire(),
        header.codec.to_wire(),
        header.flags,
    ]);
    put(&header.stream_id.to_le_bytes());
    put(&header.epoch.to_le_bytes());
    put(&header.seq.to_le_bytes());
    put(&header.capture_ns.to_le_bytes());
    put(&header.capture_mono_ns.to_le_bytes());
    put(&header.clock_error_us.to_le_bytes());
    put(&header.ttl_ms.to_le_bytes());
    put(&header.width.to_le_bytes());
    put(&header.height.to_le_bytes());
    put(&header.stride.to_le_bytes());
    put(&meta_len.to_le_bytes());
    put(&payload_len.to_le_bytes());
    put(&header.trace_id);
    put(&header.span_id);
    out
}

/// CRC-32C of the header bytes with the checksum field zero.
fn header_crc(bytes: &[u8; HEADER_LEN]) -> u32 {
    let crc = crc32c::crc32c(&bytes[..CRC_OFFSET]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &bytes[CRC_OFFSET + 4..])
}

impl fmt::Debug for Frame {
    /// Without the content, which would fill a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("header", &self.header)
            .field("meta_len", &self.meta.len())
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

impl Frame {
    /// A frame with this content, captured now.
    pub fn new(codec: Codec, payload: impl Into<Bytes>) -> Self {
        Self {
            header: Header {
                codec,
                capture_ns: clock::unix_ns(),
                capture_mono_ns: clock::monotonic_ns(),
                ..Header::default()
            },
            meta: Bytes::new(),
            payload: payload.into(),
        }
    }

    /// A JPEG picture captured now.
    pub fn jpeg(width: u16, height: u16, payload: impl Into<Bytes>) -> Self {
        let mut frame = Self::new(Codec::Jpeg, payload);
        frame.header.width = width;
        frame.header.height = height;
        frame
    }

    /// A frame that tells of a failure, captured now. Meta key `error` carries the text.
    pub fn error(message: &str) -> Self {
        let mut frame = Self::new(Codec::None, Bytes::new());
        frame.header.kind = Kind::Error;
        let mut map = meta::Meta::new();
        map.set_error(message);
        frame.meta = map.encode();
        frame
    }

    /// The same capture (time, trace, meta) with other content.
    pub fn with_payload(&self, codec: Codec, payload: impl Into<Bytes>) -> Self {
        let mut frame = self.clone();
        frame.header.codec = codec;
        frame.payload = payload.into();
        frame
    }

    /// The metadata, to read and change; put it back with [`Self::set_meta`].
    pub fn read_meta(&self) -> Result<meta::Meta, meta::MetaError> {
        meta::Meta::decode(&self.meta)
    }

    /// Replaces the metadata.
    pub fn set_meta(&mut self, meta: &meta::Meta) {
        self.meta = meta.encode();
    }

    /// Whether the frame was chosen at its source to tell of its way.
    pub fn is_sampled(&self) -> bool {
        self.header.flags & FLAG_SAMPLED != 0
    }

    /// Whether the frame carries data, and not an error or a mark.
    pub fn is_data(&self) -> bool {
        self.header.kind == Kind::Frame
    }

    /// Bytes of the whole frame.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.meta.len() + self.payload.len()
    }

    /// Checks that the frame can be sent under `limits`.
    pub fn check(&self, limits: &Limits) -> Result<(), FrameError> {
        let meta_len = u32::try_from(self.meta.len()).unwrap_or(u32::MAX);
        let payload_len = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        check_lengths(meta_len, payload_len, limits)
    }

    /// The header bytes. A frame is sent as these, then `meta`, then `payload`, without copying.
    pub fn encode_header(&self) -> [u8; HEADER_LEN] {
        let length = |bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut out = encode_fields(&self.header, length(&self.meta), length(&self.payload));
        let mut crc = crc32c::crc32c_append(header_crc(&out), &self.meta);
        if self.header.flags & FLAG_PAYLOAD_CRC != 0 {
            crc = crc32c::crc32c_append(crc, &self.payload);
        }
        out[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The whole frame in one buffer, for transports that need one.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode_to(&mut out);
        out.into()
    }

    /// Appends the whole frame to a buffer.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.encode_header());
        out.extend_from_slice(&self.meta);
        out.extend_from_slice(&self.payload);
    }

    /// Reads exactly one frame; meta and payload share `bytes`.
    pub fn decode(bytes: &Bytes, limits: &Limits) -> Result<Self, FrameError> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(FrameError::Truncated {
                have: bytes.len(),
                need: HEADER_LEN,
            });
        };
        let raw = RawHeader::parse(header, limits)?;
        let need = HEADER_LEN + raw.body_len();
        if bytes.len() < need {
            return Err(FrameError::Truncated {
                have: bytes.len(),
                need,
            });
        }
        if bytes.len() > need {
            return Err(FrameError::Trailing(bytes.len() - need));
        }
        raw.finish(bytes.slice(HEADER_LEN..))
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
