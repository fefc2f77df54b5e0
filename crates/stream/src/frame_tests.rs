//! Tests of the frame layout.

use proptest::prelude::*;

use super::*;

fn sample() -> Frame {
    let mut frame = Frame::jpeg(640, 480, vec![7_u8; 1000]);
    frame.header.seq = 9;
    frame.header.epoch = 3;
    frame.header.trace_id = [5; 16];
    let mut meta = meta::Meta::new();
    meta.set("k", &1).unwrap();
    frame.set_meta(&meta);
    frame
}

#[test]
fn a_frame_survives_encoding() {
    let frame = sample();
    let decoded = Frame::decode(&frame.encode(), &Limits::default()).unwrap();
    assert_eq!(decoded, frame);
}

#[test]
fn fields_are_where_the_table_says() {
    let mut frame = sample();
    frame.header.stream_id = 0x0403_0201;
    let bytes = frame.encode_header();
    assert_eq!(&bytes[..8], b"EFR1\x01\x01\x01\x00");
    assert_eq!(&bytes[8..12], &[1, 2, 3, 4]);
    assert_eq!(&bytes[16..24], &9_u64.to_le_bytes());
    assert_eq!(&bytes[48..52], &[0x80, 0x02, 0xe0, 0x01]);
    assert_eq!(&bytes[60..64], &1000_u32.to_le_bytes());
    assert_eq!(&bytes[64..80], &[5; 16]);
    assert_eq!(&bytes[92..], &[0; 4]);
}

#[test]
fn lengths_over_the_limit_are_refused_by_the_header_alone() {
    let limits = Limits {
        max_meta: 1,
        max_payload: 999,
    };
    let bytes = sample().encode_header();
    assert!(matches!(
        RawHeader::parse(&bytes, &limits),
        Err(FrameError::MetaTooLarge { .. })
    ));
    let limits = Limits {
        max_meta: 100,
        ..limits
    };
    assert_eq!(
        RawHeader::parse(&bytes, &limits).unwrap_err(),
        FrameError::PayloadTooLarge {
            len: 1000,
            limit: 999
        }
    );
}

#[test]
fn any_changed_header_or_meta_byte_is_noticed() {
    let frame = sample();
    let good = frame.encode();
    for index in 0..HEADER_LEN + frame.meta.len() {
        let mut bytes = good.to_vec();
        bytes[index] ^= 0x40;
        let decoded = Frame::decode(&bytes.into(), &Limits::default());
        assert!(decoded.is_err(), "byte {index} changed unnoticed");
    }
}

#[test]
fn the_payload_is_checked_when_flagged() {
    let mut frame = sample();
    for (flags, noticed) in [(0, false), (FLAG_PAYLOAD_CRC, true)] {
        frame.header.flags = flags;
        let mut bytes = frame.encode().to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let decoded = Frame::decode(&bytes.into(), &Limits::default());
        assert_eq!(decoded.is_err(), noticed);
    }
}

#[test]
fn cut_and_trailing_bytes_are_refused() {
    let good = sample().encode();
    let cut = Frame::decode(&good.slice(..good.len() - 1), &Limits::default());
    assert!(matches!(cut, Err(FrameError::Truncated { .. })));
    let mut long = good.to_vec();
    long.push(0);
    assert_eq!(
        Frame::decode(&long.into(), &Limits::default()),
        Err(FrameError::Trailing(1))
    );
}

#[test]
fn an_error_frame_says_what_failed() {
    let frame = Frame::error("no signal");
    let decoded = Frame::decode(&frame.encode(), &Limits::default()).unwrap();
    assert_eq!(decoded.header.kind, Kind::Error);
    assert_eq!(
        decoded.read_meta().unwrap().error().as_deref(),
        Some("no signal")
    );
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail_cleanly(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Frame::decode(&bytes.into(), &Limits::default());
    }

    #[test]
    fn any_header_survives(
        seq: u64, epoch: u32, stream_id: u32, capture_ns: i64, ttl_ms: u32, width: u16,
        height: u16, stride: u32, codec: u8, meta in proptest::collection::vec(any::<u8>(), 0..64),
        payload in proptest::collection::vec(any::<u8>(), 0..64), trace_id: [u8; 16],
    ) {
        let frame = Frame {
            header: Header {
                codec: Codec::from_wire(codec), seq, epoch, stream_id, capture_ns, ttl_ms, width,
                height, stride, trace_id, ..Header::default()
            },
            meta: meta.into(),
            payload: payload.into(),
        };
        prop_assert_eq!(Frame::decode(&frame.encode(), &Limits::default()), Ok(frame));
    }
}
