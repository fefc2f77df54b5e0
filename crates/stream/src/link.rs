//! The link protocol: what a producer and one consumer say over a byte stream. Pull-based: data
//! leaves only on credit. Knows messages and their limits; no sockets, no queues, no clock.
//!
//! The consumer dials and says `HELLO`; the producer answers `ACCEPT` or `REJECT`. Then `CREDIT`
//! flows one way and `DATA` the other. Every message is an envelope of 8 bytes, little-endian
//! (type u8, flags u8, zero u16, body length u32), and a body.

pub mod decoder;
pub mod message;

pub use decoder::{DecodeError, Decoder, Role};
pub use message::{
    Accept, Credit, DATA_PREFIX_LEN, Data, Gap, Hello, Message, Reject, RejectCode, Shared,
    SlotRef, encode, encode_data_prefix, encode_shared_prefix,
};

/// Oldest protocol spoken by this build.
pub const PROTOCOL_MIN: u32 = 1;
/// Newest protocol spoken by this build.
pub const PROTOCOL_MAX: u32 = 1;

/// The newest protocol that both sides speak.
pub fn negotiate(min: u32, max: u32) -> Option<u32> {
    let chosen = max.min(PROTOCOL_MAX);
    (chosen >= min.max(PROTOCOL_MIN)).then_some(chosen)
}

#[cfg(test)]
mod tests {
    use super::negotiate;

    #[test]
    fn the_newest_common_protocol_is_chosen() {
        assert_eq!(negotiate(1, 1), Some(1));
        assert_eq!(negotiate(0, 9), Some(1));
        assert_eq!(negotiate(2, 9), None);
        assert_eq!(negotiate(0, 0), None);
        assert_eq!(negotiate(3, 1), None, "an upside-down range");
    }
}
