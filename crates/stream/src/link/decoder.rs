//! Bytes to messages, without IO: the caller reads into [`Decoder::space`], says how much with
//! [`Decoder::advance`] and takes messages with [`Decoder::next`]. Payloads are read straight into
//! their own buffer, which is used again once nobody holds the frame. Memory is bounded by the
//! frame limits; foreign bytes can only make it fail.

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;

use super::message::{
    ACCEPT, CLOCK, CREDIT, Credit, DATA, DATA_FIELDS_LEN, DATA_PREFIX_LEN, Data, END, ENVELOPE_LEN,
    FLAG_REDELIVERED, FLAG_REPLY, GAP, Gap, HELLO, MAX_CONTROL_LEN, Message, PING, REJECT, RETIRE,
    SEGMENT, SHARED, SHARED_FIELDS_LEN, SHARED_PREFIX_LEN, Shared, SlotRef,
};
use crate::frame::{FrameError, HEADER_LEN, Limits, RawHeader};

/// Which messages are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads what consumers send.
    Producer,
    /// Reads what producers send.
    Consumer,
}

/// Why the bytes of a peer are not accepted. The connection can't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a message, or not one that this side takes.
    #[error("unexpected message type {0}")]
    Type(u8),
    /// A body that is too long for its type.
    #[error("message type {kind} of {len} bytes is too long")]
    TooLong {
        /// Message type.
        kind: u8,
        /// Claimed body length.
        len: u32,
    },
    /// A body that can't be read.
    #[error("malformed message of type {0}")]
    Malformed(u8),
    /// A frame that can't be read.
    #[error("bad frame")]
    Frame(#[source] FrameError),
}

/// Buffer for envelopes, control messages and the start of frames. Small: what is read into it of a
/// frame is copied once more, the rest of the frame is not.
const BUFFER: usize = 2 * (ENVELOPE_LEN + MAX_CONTROL_LEN);
/// Smaller frame buffers are not kept: the allocator has them at hand.
const MIN_KEPT: usize = 16 * 1024;
/// Frame buffers kept for reuse.
const MAX_KEPT: usize = 3;

/// A message decoder for one connection.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limits: Limits,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    body: Option<Body>,
    kept: Vec<Bytes>,
}

/// A frame whose meta and payload are arriving.
#[derive(Debug)]
struct Body {
    header: RawHeader,
    sent_mono_ns: u64,
    redelivered: bool,
    /// Where the payload is, if it does not follow.
    slot: Option<SlotRef>,
    bytes: BytesMut,
    filled: usize,
}

impl Decoder {
    /// A decoder that takes what `role` is sent, with frames up to `limits`.
    pub fn new(role: Role, limits: Limits) -> Self {
        Self {
            role,
            limits,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            body: None,
            kept: Vec::new(),
        }
    }

    /// Where to read the next bytes to. Never empty after [`Self::next`] returned `None`.
    pub fn space(&mut self) -> &mut [u8] {
        if let Some(body) = &mut self.body {
            return &mut body.bytes[body.filled..];
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// The first `count` bytes of [`Self::space`] were filled.
    pub fn advance(&mut self, count: usize) {
        match &mut self.body {
            Some(body) => body.filled = (body.filled + count).min(body.bytes.len()),
            None => self.end = (self.end + count).min(self.buffer.len()),
        }
    }

    /// The next whole message, `None` until more bytes arrive.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Message>, DecodeError> {
        if self.body.is_none() {
            let there = &self.buffer[self.start..self.end];
            let Some(envelope) = there.first_chunk::<ENVELOPE_LEN>() else {
                return Ok(None);
            };
            let [kind, flags, zero @ .., a, b, c, d] = *envelope;
            let len = u32::from_le_bytes([a, b, c, d]);
            self.check_type(kind, len)?;
            if zero != [0, 0] {
                return Err(DecodeError::Malformed(kind));
            }
            if kind != DATA && kind != SHARED {
                return self.take_control(kind, flags, len as usize);
            }
            if !self.start_body(kind, flags, len)? {
                return Ok(None);
            }
        }
        self.take_body()
    }

    fn check_type(&self, kind: u8, len: u32) -> Result<(), DecodeError> {
        let accepted = match self.role {
            Role::Producer => matches!(kind, HELLO | CREDIT | PING | END | CLOCK),
            Role::Consumer => matches!(
                kind,
                ACCEPT | REJECT | DATA | GAP | PING | END | SEGMENT | SHARED | RETIRE | CLOCK
            ),
        };
        if !accepted {
            return Err(DecodeError::Type(kind));
        }
        // The exact length of frames is checked against their header.
        if kind != DATA && kind != SHARED && len as usize > MAX_CONTROL_LEN {
            return Err(DecodeError::TooLong { kind, len });
        }
        Ok(())
    }

    fn take_control(
        &mut self,
        kind: u8,
        flags: u8,
        len: usize,
    ) -> Result<Option<Message>, DecodeError> {
        let body_at = self.start + ENVELOPE_LEN;
        if self.end - self.start < ENVELOPE_LEN + len {
            return Ok(None);
        }
        let body = &self.buffer[body_at..body_at + len];
        let message = parse_control(kind, flags, body).ok_or(DecodeError::Malformed(kind))?;
        self.start = body_at + len;
        Ok(Some(message))
    }

    /// Begins a frame. `false`: its prefix is not there yet.
    fn start_body(&mut self, kind: u8, flags: u8, len: u32) -> Result<bool, DecodeError> {
        let there = &self.buffer[self.start..self.end];
        let (prefix_len, slot) = if kind == SHARED {
            let prefix = there.first_chunk::<SHARED_PREFIX_LEN>();
            (SHARED_PREFIX_LEN, prefix.map(slot_of))
        } else {
            (DATA_PREFIX_LEN, None)
        };
        if there.len() < prefix_len {
            return Ok(false);
        }
        let mut sent = [0; DATA_FIELDS_LEN];
        sent.copy_from_slice(&there[ENVELOPE_LEN..ENVELOPE_LEN + DATA_FIELDS_LEN]);
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&there[prefix_len - HEADER_LEN..prefix_len]);
        let header = RawHeader::parse(&header, &self.limits).map_err(DecodeError::Frame)?;
        let (fields, follows) = match slot {
            Some(_) => (SHARED_FIELDS_LEN, header.meta_len()),
            None => (DATA_FIELDS_LEN, header.body_len()),
        };
        if len as usize != fields + HEADER_LEN + follows {
            return Err(DecodeError::Malformed(kind));
        }
        self.start += prefix_len;
        let mut bytes = self.frame_buffer(follows);
        let there = &self.buffer[self.start..self.end];
        let filled = there.len().min(bytes.len());
        bytes[..filled].copy_from_slice(&there[..filled]);
        self.start += filled;
        self.body = Some(Body {
            header,
            sent_mono_ns: u64::from_le_bytes(sent),
            redelivered: flags & FLAG_REDELIVERED != 0,
            slot,
            bytes,
            filled,
        });
        Ok(true)
    }

    fn take_body(&mut self) -> Result<Option<Message>, DecodeError> {
        let Some(body) = self.body.take_if(|body| body.filled == body.bytes.len()) else {
            return Ok(None);
        };
        let bytes = body.bytes.freeze();
        if bytes.len() >= MIN_KEPT {
            self.kept.push(bytes.clone());
        }
        let (sent_mono_ns, redelivered) = (body.sent_mono_ns, body.redelivered);
        if let Some(slot) = body.slot {
            return Ok(Some(Message::Shared(Shared {
                header: body.header,
                meta: bytes,
                slot,
                sent_mono_ns,
                redelivered,
            })));
        }
        let frame = body.header.finish(bytes).map_err(DecodeError::Frame)?;
        Ok(Some(Message::Data(Data {
            frame,
            sent_mono_ns,
            redelivered,
        })))
    }

    /// A buffer of `len` bytes: one of an earlier frame that nobody holds any more, or a new one.
    /// What is left in it is overwritten before anybody sees it.
    fn frame_buffer(&mut self, len: usize) -> BytesMut {
        if len < MIN_KEPT {
            return BytesMut::zeroed(len);
        }
        let mut reused = None;
        for index in (0..self.kept.len()).rev() {
            match self.kept.swap_remove(index).try_into_mut() {
                // A much larger buffer goes back to the allocator.
                Ok(free) if reused.is_none() && free.capacity() / 8 <= len => reused = Some(free),
                Ok(_) => {}
                Err(held) => self.kept.push(held),
            }
        }
        self.kept.truncate(MAX_KEPT - 1);
        match reused {
            Some(mut bytes) => {
                bytes.resize(len, 0);
                bytes
            }
            None => BytesMut::zeroed(len),
        }
    }
}

fn parse_control(kind: u8, flags: u8, body: &[u8]) -> Option<Message> {
    Some(match kind {
        HELLO => Message::Hello(named(body)?),
        ACCEPT => Message::Accept(named(body)?),
        REJECT => Message::Reject(named(body)?),
        CREDIT => {
            let body: &[u8; 16] = body.try_into().ok()?;
            let [a, b, c, d, seq @ .., e, f, g, h] = *body;
            Message::Credit(Credit {
                credits: u32::from_le_bytes([a, b, c, d]),
                acked_seq: u64::from_le_bytes(seq),
                expired: u32::from_le_bytes([e, f, g, h]),
            })
        }
        GAP => {
            let (from, rest) = body.split_first_chunk()?;
            let (to, reason) = rest.split_first_chunk()?;
            Message::Gap(Gap {
                from_seq: u64::from_le_bytes(*from),
                to_seq: u64::from_le_bytes(*to),
                reason: String::from_utf8_lossy(reason).into_owned(),
            })
        }
        PING => Message::Ping {
            token: u64::from_le_bytes(body.try_into().ok()?),
            reply: flags & FLAG_REPLY != 0,
        },
        CLOCK if flags & FLAG_REPLY == 0 => Message::AskClock {
            token: u64::from_le_bytes(body.try_into().ok()?),
        },
        CLOCK => {
            let body: &[u8; 24] = body.try_into().ok()?;
            let (token, rest) = body.split_first_chunk()?;
            let (monotonic, unix) = rest.split_first_chunk()?;
            Message::Clock {
                token: u64::from_le_bytes(*token),
                monotonic_ns: u64::from_le_bytes(*monotonic),
                unix_ns: i64::from_le_bytes(unix.try_into().ok()?),
            }
        }
        SEGMENT => {
            let (id, len) = body.split_first_chunk()?;
            Message::Segment {
                id: u32::from_le_bytes(*id),
                len: u64::from_le_bytes(len.try_into().ok()?),
            }
        }
        RETIRE => Message::Retire {
            id: u32::from_le_bytes(body.try_into().ok()?),
        },
        END => body.is_empty().then_some(Message::End)?,
        _ => return None,
    })
}

fn slot_of(prefix: &[u8; SHARED_PREFIX_LEN]) -> SlotRef {
    let mut offset = [0; 8];
    offset.copy_from_slice(&prefix[24..32]);
    let word = |at: usize| [prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]];
    SlotRef {
        segment: u32::from_le_bytes(word(16)),
        ticket: u32::from_le_bytes(word(20)),
        offset: u64::from_le_bytes(offset),
    }
}

fn named<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    rmp_serde::from_slice(body).ok()
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
