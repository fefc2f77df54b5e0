//! Any bytes, in any pieces, as what a peer says on a link: the decoder takes them or fails, and
//! always has room for more.
#![no_main]

use edgeflow_stream::Limits;
use edgeflow_stream::link::{Decoder, Role};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&first, data)) = data.split_first() else {
        return;
    };
    let step = usize::from(first >> 1).max(1);
    let role = if first & 1 == 0 { Role::Producer } else { Role::Consumer };
    let limits = Limits {
        max_meta: 4096,
        max_payload: 65_536,
    };
    let mut decoder = Decoder::new(role, limits);
    let mut rest = data;
    loop {
        loop {
            match decoder.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if rest.is_empty() {
            return;
        }
        let space = decoder.space();
        assert!(!space.is_empty(), "no room for a message that is due");
        let count = step.min(rest.len()).min(space.len());
        space[..count].copy_from_slice(&rest[..count]);
        decoder.advance(count);
        rest = &rest[count..];
    }
});
