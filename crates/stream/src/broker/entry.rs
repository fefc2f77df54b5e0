//! A frame as an entry of a stream: `h` = when it was sent (u64, little-endian, nanoseconds of the
//! producer's monotonic clock) and the frame's header; `m` = meta and payload, or `b` = the key
//! that holds them when they are large.

use bytes::Bytes;
use redis::Value;
use redis::streams::StreamId;

use crate::frame::{Frame, FrameError, HEADER_LEN, Limits, RawHeader};

/// Larger bodies get a key of their own, so that the stream itself stays small.
pub(super) const MAX_INLINE: usize = 64 * 1024;

const SENT_LEN: usize = 8;
pub(super) const HEAD: &str = "h";
pub(super) const BODY: &str = "m";
pub(super) const BLOB: &str = "b";

/// Why an entry is no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryError {
    #[error("its fields are not those of a frame")]
    Fields,
    #[error("its payload is gone")]
    NoBlob,
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// The field `h`.
pub(super) fn head(frame: &Frame, sent_mono_ns: u64) -> [u8; SENT_LEN + HEADER_LEN] {
    let mut out = [0; SENT_LEN + HEADER_LEN];
    out[..SENT_LEN].copy_from_slice(&sent_mono_ns.to_le_bytes());
    out[SENT_LEN..].copy_from_slice(&frame.encode_header());
    out
}

/// Meta and payload in one piece, without a copy when there is no meta.
pub(super) fn body(frame: &Frame) -> Bytes {
    if frame.meta.is_empty() {
        return frame.payload.clone();
    }
    let mut out = Vec::with_capacity(frame.meta.len() + frame.payload.len());
    out.extend_from_slice(&frame.meta);
    out.extend_from_slice(&frame.payload);
    out.into()
}

/// The key of an entry's body, if it has one.
pub(super) fn blob_key(entry: &StreamId) -> Option<&[u8]> {
    match entry.map.get(BLOB) {
        Some(Value::BulkString(key)) => Some(key),
        _ => None,
    }
}

/// Bytes of the whole frame, as the entry says; 0 when it says nothing that can be believed.
pub(super) fn encoded_len(entry: &StreamId, limits: &Limits) -> usize {
    let Some(Value::BulkString(head)) = entry.map.get(HEAD) else {
        return 0;
    };
    let header = head.get(SENT_LEN..).and_then(|h| h.try_into().ok());
    let header = header.and_then(|header| RawHeader::parse(header, limits).ok());
    header.map_or(0, |header| HEADER_LEN + header.body_len())
}

/// Takes a frame out of an entry; `blob` is what its key held. Foreign bytes: anybody may write to
/// a broker.
pub(super) fn parse(
    entry: &mut StreamId,
    blob: Option<Vec<u8>>,
    limits: &Limits,
) -> Result<(Frame, u64), EntryError> {
    let Some(Value::BulkString(head)) = entry.map.get(HEAD) else {
        return Err(EntryError::Fields);
    };
    let (sent, header) = head
        .split_first_chunk::<SENT_LEN>()
        .ok_or(EntryError::Fields)?;
    let header: &[u8; HEADER_LEN] = header.try_into().map_err(|_| EntryError::Fields)?;
    let header = RawHeader::parse(header, limits)?;
    let sent = u64::from_le_bytes(*sent);
    let body = match (entry.map.remove(BODY), entry.map.contains_key(BLOB)) {
        (Some(Value::BulkString(body)), _) => body,
        (_, true) => blob.ok_or(EntryError::NoBlob)?,
        _ => return Err(EntryError::Fields),
    };
    Ok((header.finish(Bytes::from(body))?, sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &[u8])]) -> StreamId {
        let map = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::BulkString(value.to_vec())))
            .collect();
        StreamId {
            id: "1-1".to_owned(),
            map,
            ..StreamId::default()
        }
    }

    #[test]
    fn a_frame_survives_the_way_inline_and_as_a_blob() {
        let mut frame = Frame::jpeg(64, 48, vec![7_u8; 1000]);
        let mut meta = frame.read_meta().unwrap();
        meta.set("key", "value").unwrap();
        frame.set_meta(&meta);
        let (head, body) = (head(&frame, 42), body(&frame));
        let limits = Limits::default();
        let mut inline = entry(&[(HEAD, &head), (BODY, &body)]);
        let (same, sent) = parse(&mut inline, None, &limits).unwrap();
        assert_eq!(
            (same.payload, same.meta, sent),
            (frame.payload.clone(), frame.meta.clone(), 42)
        );
        let mut blob = entry(&[(HEAD, &head), (BLOB, b"key")]);
        assert_eq!(blob_key(&blob), Some(b"key".as_slice()));
        let (same, _) = parse(&mut blob, Some(body.to_vec()), &limits).unwrap();
        assert_eq!(same.payload, frame.payload);
        let mut gone = entry(&[(HEAD, &head), (BLOB, b"key")]);
        assert!(matches!(
            parse(&mut gone, None, &limits),
            Err(EntryError::NoBlob)
        ));
    }

    #[test]
    fn foreign_entries_are_refused() {
        let head = head(&Frame::jpeg(64, 48, vec![7_u8; 10]), 0);
        let limits = Limits::default();
        for fields in [
            vec![],
            vec![(HEAD, b"short".as_slice())],
            vec![(HEAD, head.as_slice())],
            vec![(HEAD, head.as_slice()), (BODY, b"short".as_slice())],
            vec![(HEAD, [0_u8; 104].as_slice()), (BODY, b"".as_slice())],
        ] {
            assert!(parse(&mut entry(&fields), None, &limits).is_err());
        }
    }
}
