//! A frame as an MCAP message: protobuf with the fields of `foxglove.CompressedImage`, so that other
//! tools show pictures, and two more with the frame's header and metadata, so that nothing is lost.
//! The payload comes last and is written without a copy. Never looks into metadata or payload.

use bytes::Bytes;
use edgeflow::{Codec, Frame, Kind};
use edgeflow_stream::Limits;
use edgeflow_stream::frame::{FrameError, HEADER_LEN, RawHeader};

/// Message encoding of every channel.
pub(crate) const ENCODING: &str = "protobuf";
/// Schema of channels with JPEG pictures.
pub(crate) const PICTURE: &str = "foxglove.CompressedImage";
/// Schema of all others.
pub(crate) const FRAME: &str = "edgeflow.Frame";
/// First bytes of every message: the key and the length of the header field, then Frame v1's magic.
pub(crate) const SIGNATURE: [u8; 7] = [0xc2, 0x3e, HEADER_LEN as u8, b'E', b'F', b'R', b'1'];

const FIELD_TIMESTAMP: u32 = 1;
const FIELD_DATA: u32 = 2;
const FIELD_FORMAT: u32 = 3;
const FIELD_FRAME_ID: u32 = 4;
const FIELD_HEADER: u32 = 1000;
const FIELD_META: u32 = 1001;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// Why a message is not a frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("it is not a message of a recorder")]
    Foreign,
    #[error("the frame in it can't be read")]
    Frame(#[source] FrameError),
}

/// Whether the frame goes to a channel of pictures.
pub(crate) fn is_picture(frame: &Frame) -> bool {
    frame.header.codec == Codec::Jpeg && frame.header.kind == Kind::Frame
}

/// Appends the message up to its payload.
pub(crate) fn encode_head(out: &mut Vec<u8>, topic: &str, frame: &Frame) {
    put_delimited(out, FIELD_HEADER, &frame.encode_header());
    put_delimited(out, FIELD_META, &frame.meta);
    let (seconds, nanos) = (
        frame.header.capture_ns.div_euclid(1_000_000_000),
        frame.header.capture_ns.rem_euclid(1_000_000_000),
    );
    let mut timestamp = Vec::with_capacity(16);
    put_number(&mut timestamp, 1, seconds as u64);
    put_number(&mut timestamp, 2, nanos as u64);
    put_delimited(out, FIELD_TIMESTAMP, &timestamp);
    put_delimited(out, FIELD_FRAME_ID, topic.as_bytes());
    put_delimited(out, FIELD_FORMAT, frame.header.codec.name().as_bytes());
    put_key(out, FIELD_DATA, DELIMITED);
    put_varint(out, frame.payload.len() as u64);
}

/// Reads a message; metadata and payload share `bytes`.
pub(crate) fn decode(bytes: &Bytes, limits: &Limits) -> Result<Frame, MessageError> {
    let (mut header, mut meta, mut payload) = (None, Bytes::new(), Bytes::new());
    let mut cursor = Cursor { bytes, at: 0 };
    while cursor.at < bytes.len() {
        let (field, value) = cursor.field().ok_or(MessageError::Foreign)?;
        match field {
            FIELD_HEADER => header = Some(value),
            FIELD_META => meta = value,
            FIELD_DATA => payload = value,
            _ => {}
        }
    }
    let header = header.ok_or(MessageError::Foreign)?;
    let header = header
        .first_chunk::<HEADER_LEN>()
        .filter(|_| header.len() == HEADER_LEN)
        .ok_or(MessageError::Foreign)?;
    let raw = RawHeader::parse(header, limits).map_err(MessageError::Frame)?;
    raw.finish_parts(meta, payload).map_err(MessageError::Frame)
}

struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Cursor<'_> {
    /// The next field and, if it has a length, its bytes.
    fn field(&mut self) -> Option<(u32, Bytes)> {
        let key = self.varint()?;
        let field = u32::try_from(key >> 3).ok()?;
        let skip = match (key & 7) as u32 {
            VARINT => {
                self.varint()?;
                return Some((field, Bytes::new()));
            }
            FIXED64 => 8,
            FIXED32 => 4,
            DELIMITED => usize::try_from(self.varint()?).ok()?,
            _ => return None,
        };
        let end = self.at.checked_add(skip)?;
        if end > self.bytes.len() {
            return None;
        }
        let value = self.bytes.slice(self.at..end);
        self.at = end;
        Some((field, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// The protobuf descriptors of a schema, for tools that read the messages.
pub(crate) fn descriptors(schema: &str) -> Vec<u8> {
    let (package, name) = schema.split_once('.').unwrap_or(("", schema));
    let timestamp = file(
        ("google/protobuf/timestamp.proto", "google.protobuf", ""),
        "Timestamp",
        &[("seconds", 1, INT64), ("nanos", 2, INT32)],
    );
    let message = file(
        (
            &format!("{package}/{name}.proto"),
            package,
            "google/protobuf/timestamp.proto",
        ),
        name,
        &[
            ("timestamp", FIELD_TIMESTAMP, MESSAGE),
            ("frame_id", FIELD_FRAME_ID, STRING),
            ("data", FIELD_DATA, BYTES),
            ("format", FIELD_FORMAT, STRING),
            ("edgeflow_header", FIELD_HEADER, BYTES),
            ("edgeflow_meta", FIELD_META, BYTES),
        ],
    );
    let mut set = Vec::new();
    put_delimited(&mut set, 1, &timestamp);
    put_delimited(&mut set, 1, &message);
    set
}

// Field types of descriptor.proto.
const INT64: u64 = 3;
const INT32: u64 = 5;
const STRING: u64 = 9;
const MESSAGE: u64 = 11;
const BYTES: u64 = 12;

/// A `FileDescriptorProto` with one message.
fn file(
    (path, package, imports): (&str, &str, &str),
    name: &str,
    fields: &[(&str, u32, u64)],
) -> Vec<u8> {
    let mut message = Vec::new();
    put_delimited(&mut message, 1, name.as_bytes());
    for (name, number, kind) in fields {
        let mut field = Vec::new();
        put_delimited(&mut field, 1, name.as_bytes());
        put_number(&mut field, 3, (*number).into());
        put_number(&mut field, 4, 1);
        put_number(&mut field, 5, *kind);
        if *kind == MESSAGE {
            put_delimited(&mut field, 6, b".google.protobuf.Timestamp");
        }
        put_delimited(&mut message, 2, &field);
    }
    let mut file = Vec::new();
    put_delimited(&mut file, 1, path.as_bytes());
    put_delimited(&mut file, 2, package.as_bytes());
    if !imports.is_empty() {
        put_delimited(&mut file, 3, imports.as_bytes());
    }
    put_delimited(&mut file, 4, &message);
    put_delimited(&mut file, 12, b"proto3");
    file
}

fn put_key(out: &mut Vec<u8>, field: u32, kind: u32) {
    put_varint(out, u64::from(field << 3 | kind));
}

fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_key(out, field, VARINT);
    put_varint(out, value);
}

fn put_delimited(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_key(out, field, DELIMITED);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(frame: &Frame) -> Bytes {
        let mut out = Vec::new();
        encode_head(&mut out, "camera", frame);
        out.extend_from_slice(&frame.payload);
        out.into()
    }

    #[test]
    fn a_frame_survives_with_header_and_metadata() {
        let mut frame = Frame::jpeg(64, 48, vec![7; 300]);
        frame.header.seq = 9;
        frame.header.capture_ns = -5;
        let mut meta = frame.read_meta().unwrap();
        meta.set("zones", &[1, 2]).unwrap();
        frame.set_meta(&meta);
        let bytes = message(&frame);
        assert!(bytes.starts_with(&SIGNATURE));
        assert_eq!(decode(&bytes, &Limits::default()).unwrap(), frame);
    }

    #[test]
    fn no_prefix_and_no_changed_byte_of_the_head_panics() {
        let bytes = message(&Frame::error("no signal"));
        for end in 0..bytes.len() {
            let _ = decode(&bytes.slice(..end), &Limits::default());
            let mut changed = bytes.to_vec();
            changed[end] ^= 0xff;
            let _ = decode(&changed.into(), &Limits::default());
        }
        assert!(matches!(
            decode(&Bytes::from_static(b"\x0a\x01x"), &Limits::default()),
            Err(MessageError::Foreign)
        ));
    }
}
