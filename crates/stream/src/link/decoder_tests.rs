//! Tests of the message decoder.

use edgeflow_spec::qos::QosMode;
use proptest::prelude::*;

use super::super::message::{Accept, Hello, Reject, RejectCode, encode};
use super::*;
use crate::frame::Frame;

fn hello() -> Message {
    Message::Hello(Hello {
        protocol_min: 1,
        protocol_max: 1,
        link: "camera->detect".into(),
        group: "detect".into(),
        member: "s.detect.0".into(),
        qos: QosMode::Realtime,
        boot_id: "b".into(),
        max_meta: 1,
        max_payload: 2,
        shared_memory: false,
        pipe: false,
        no_shared_memory: String::new(),
        via: String::new(),
    })
}

fn data(len: usize) -> Message {
    let mut frame = Frame::jpeg(8, 8, vec![3_u8; len]);
    frame.header.seq = 4;
    Message::Data(Data {
        frame,
        sent_mono_ns: 77,
        redelivered: true,
    })
}

fn shared(meta: usize) -> Message {
    let mut frame = Frame::jpeg(8, 8, vec![3_u8; 70_000]);
    frame.meta = vec![1; meta].into();
    let header = RawHeader::parse(&frame.encode_header(), &Limits::default()).unwrap();
    Message::Shared(Shared {
        header,
        meta: frame.meta,
        slot: SlotRef {
            segment: 3,
            ticket: 4,
            offset: 1 << 33,
        },
        sent_mono_ns: 5,
        redelivered: meta > 0,
    })
}

fn for_consumer() -> Vec<Message> {
    vec![
        Message::Accept(Accept {
            protocol: 1,
            transport: "unix".into(),
            stream_id: 5,
            epoch: 6,
            boot_id: String::new(),
            pipe: false,
        }),
        data(0),
        data(100_000),
        Message::Gap(Gap {
            from_seq: 1,
            to_seq: 2,
            reason: "too_large".into(),
        }),
        data(10),
        Message::Segment {
            id: 3,
            len: 1 << 40,
        },
        shared(0),
        shared(100),
        Message::Retire { id: 3 },
        Message::AskClock { token: 9 },
        Message::Clock {
            token: 9,
            monotonic_ns: 10,
            unix_ns: -11,
        },
        Message::Ping {
            token: 9,
            reply: true,
        },
        Message::Reject(Reject {
            code: RejectCode::Limit,
            message: "full".into(),
        }),
        Message::End,
    ]
}

/// Feeds `bytes` in pieces of `step` and collects messages until the end or an error.
fn decode(role: Role, bytes: &[u8], step: usize) -> Result<Vec<Message>, DecodeError> {
    let mut decoder = Decoder::new(role, Limits::default());
    let mut messages = Vec::new();
    let mut rest = bytes;
    loop {
        while let Some(message) = decoder.next()? {
            messages.push(message);
        }
        if rest.is_empty() {
            return Ok(messages);
        }
        let space = decoder.space();
        let count = step.min(rest.len()).min(space.len());
        assert!(count > 0, "no space although a message is due");
        space[..count].copy_from_slice(&rest[..count]);
        decoder.advance(count);
        rest = &rest[count..];
    }
}

#[test]
fn messages_survive_any_cut() {
    let sent = for_consumer();
    let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
    for step in [1, 7, 113, 4096, usize::MAX] {
        assert_eq!(decode(Role::Consumer, &bytes, step).unwrap(), sent);
    }
    let credit = Message::Credit(Credit {
        credits: 3,
        acked_seq: 8,
        expired: 1,
    });
    let sent = vec![hello(), credit, Message::End];
    let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
    assert_eq!(decode(Role::Producer, &bytes, 5).unwrap(), sent);
}

#[test]
fn each_side_takes_only_its_messages() {
    assert_eq!(
        decode(Role::Producer, &encode(&data(1)), 64),
        Err(DecodeError::Type(DATA))
    );
    assert_eq!(
        decode(Role::Consumer, &encode(&hello()), 64),
        Err(DecodeError::Type(HELLO))
    );
}

#[test]
fn a_claimed_length_is_refused_before_it_is_believed() {
    let mut bytes = encode(&hello());
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        decode(Role::Producer, &bytes[..8], 8),
        Err(DecodeError::TooLong {
            kind: HELLO,
            len: u32::MAX
        })
    );
    let mut bytes = encode(&data(10));
    bytes[4] ^= 1;
    assert_eq!(
        decode(Role::Consumer, &bytes, 4096),
        Err(DecodeError::Malformed(DATA))
    );
    let mut decoder = Decoder::new(
        Role::Consumer,
        Limits {
            max_meta: 0,
            max_payload: 9,
        },
    );
    let bytes = encode(&data(10));
    decoder.space()[..DATA_PREFIX_LEN].copy_from_slice(&bytes[..DATA_PREFIX_LEN]);
    decoder.advance(DATA_PREFIX_LEN);
    assert!(matches!(decoder.next(), Err(DecodeError::Frame(_))));
}

#[test]
fn unknown_fields_and_codes_of_a_newer_peer_are_ignored() {
    let body = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([
        ("code", "from_the_future"),
        ("message", "m"),
        ("extra", "x"),
    ]))
    .unwrap();
    let mut bytes = vec![REJECT, 0, 0, 0, u8::try_from(body.len()).unwrap(), 0, 0, 0];
    bytes.extend(body);
    assert_eq!(
        decode(Role::Consumer, &bytes, 4096).unwrap(),
        [Message::Reject(Reject {
            code: RejectCode::Other,
            message: "m".into()
        })]
    );
}

#[test]
fn a_buffer_is_used_again_only_when_nobody_holds_its_frame() {
    let mut decoder = Decoder::new(Role::Consumer, Limits::default());
    let mut feed = |fill: u8| {
        let frame = Frame::new(crate::Codec::Bytes, vec![fill; 50_000]);
        let bytes = encode(&Message::Data(Data {
            frame,
            sent_mono_ns: 0,
            redelivered: false,
        }));
        let mut rest = bytes.as_slice();
        loop {
            match decoder.next().unwrap() {
                Some(Message::Data(data)) => return data.frame.payload,
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            let space = decoder.space();
            let count = rest.len().min(space.len());
            space[..count].copy_from_slice(&rest[..count]);
            decoder.advance(count);
            rest = &rest[count..];
        }
    };
    let first = feed(1);
    let second = feed(2);
    assert_ne!(first.as_ptr(), second.as_ptr());
    let address = first.as_ptr();
    drop(first);
    let third = feed(3);
    assert_eq!(third.as_ptr(), address);
    assert!(second.iter().all(|byte| *byte == 2));
    assert!(third.iter().all(|byte| *byte == 3));
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail_cleanly(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        kind in 0_u8..14,
        step in 1_usize..64,
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        let _ = decode(Role::Producer, &bytes, step);
        let _ = decode(Role::Consumer, &bytes, step);
    }
}
