//! Any bytes as a frame and its metadata: they decode or fail, and what decodes encodes to the same
//! bytes.
#![no_main]

use bytes::Bytes;
use edgeflow_stream::{Frame, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits {
        max_meta: 4096,
        max_payload: 65_536,
    };
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(frame) = Frame::decode(&bytes, &limits) {
        // The reserved bytes are not kept, and unknown codecs keep their number.
        let again = Frame::decode(&frame.encode(), &limits).expect("what was encoded decodes");
        assert_eq!(again, frame);
        read_meta(&frame.meta);
    }
    // A checksum is hard to guess: meta by itself as well.
    read_meta(&bytes);
});

fn read_meta(bytes: &Bytes) {
    if let Ok(meta) = edgeflow_stream::Meta::decode(bytes) {
        let _ = meta.detections();
        let _ = meta.error();
        let again = edgeflow_stream::Meta::decode(&meta.encode()).expect("what was encoded decodes");
        assert_eq!(again, meta);
    }
}
