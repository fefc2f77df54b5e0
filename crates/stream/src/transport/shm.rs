//! Payloads in shared memory, beside a link's Unix socket. The producer owns segments (sealed
//! memfds) of equal slots, copies a payload into a slot once and passes the slot to every consumer
//! that it is for; consumers map segments read-only. Owns the memory and who holds which slot;
//! never decides whether a link shares memory, and never speaks the link protocol.
//!
//! A consumer gives a slot back by storing one word in a page of its own connection, the control
//! page, which both sides map. No message and no system call, from whatever thread drops the
//! payload, however long after the acknowledgement. A consumer that writes nonsense there gives up
//! its own payloads too early and harms nobody else. The other end of the lease is a socket that
//! the consumer never uses: the kernel closes it when the last payload and the connection are gone
//! or the process is, and then the producer takes back what was held.

use std::io;

use crate::frame::FrameError;

mod lent;
mod mapping;
mod pool;
mod remote;

pub(crate) use lent::Lent;
pub(crate) use pool::{Given, Pool};
pub(crate) use remote::Remote;

/// Name of the transport in statistics.
pub const NAME: &str = "shm";
/// Payloads below this travel on the socket: a copy through the kernel is as fast.
pub const MIN_PAYLOAD: usize = 16 * 1024;
/// Shared memory of an output port, beside what its durable links may hold.
pub const BASE_BUDGET: u64 = 64 * 1024 * 1024;
/// Shared memory of an output port at most.
pub const MAX_BUDGET: u64 = 512 * 1024 * 1024;
/// Segments of an output port at most, and that a consumer maps at most.
pub const MAX_SEGMENTS: usize = 32;
/// Payloads that one connection may hold at most.
pub const TICKETS: u32 = 1024;

/// Slots of a segment, unless the budget has no room for so many.
const SLOTS_PER_SEGMENT: u64 = 16;
/// Bytes of a control page: a word for each ticket.
const CONTROL_LEN: usize = TICKETS as usize * 4;
/// Memory that a consumer maps of one producer at most.
const MAX_MAPPED: u64 = 2 * MAX_BUDGET;
/// Closed connections whose payloads are still held, at most.
const MAX_ORPHANS: usize = 64;

/// How an output port uses shared memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedMemory {
    /// Smallest payload that goes into a slot.
    pub min_payload: usize,
    /// Bytes of all segments at most. `None`: [`BASE_BUDGET`] and what the durable links may hold,
    /// up to [`MAX_BUDGET`].
    pub budget: Option<u64>,
}

impl Default for SharedMemory {
    fn default() -> Self {
        Self {
            min_payload: MIN_PAYLOAD,
            budget: None,
        }
    }
}

/// What an output port has in shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Segments.
    pub segments: usize,
    /// Bytes of these; pages that were never used take no memory.
    pub bytes: u64,
    /// Slots of these.
    pub slots: usize,
    /// Slots that a consumer holds, or the producer's own code.
    pub held: usize,
    /// Payloads that were copied into a slot; those written in place are not.
    pub written: u64,
}

/// Why shared memory of a producer can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShareError {
    /// The descriptors of a message are not there.
    #[error("a descriptor did not arrive")]
    NoDescriptor,
    /// The descriptor of a pipe is something else.
    #[error("what was to be a pipe is none")]
    NoPipe,
    /// Descriptors that nobody asked for.
    #[error("too many descriptors")]
    Flood,
    /// The memory could be cut short or is not what was announced.
    #[error("the memory is not sealed or has another size")]
    Unsealed,
    /// Too much, or the same again.
    #[error("too many segments")]
    TooMany,
    /// A payload outside its segment.
    #[error("a payload is not where it was said to be")]
    Reference,
    /// A frame that can't be read.
    #[error("bad frame")]
    Frame(#[source] FrameError),
    /// The kernel refuses the pipe.
    #[error("the pipe can't be used")]
    Pipe(#[source] io::Error),
    /// The kernel refuses.
    #[error("shared memory can't be mapped")]
    Map(#[source] io::Error),
}
