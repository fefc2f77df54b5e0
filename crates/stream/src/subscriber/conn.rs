//! One connection to a producer: its socket, what waits to be written, the frames that have arrived
//! and those that are to be acknowledged. Never waits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use super::dedup::FrameId;
use super::memory::Memory;
use crate::clock;
use crate::link::{Credit, Data, Decoder, Message, encode};
use crate::transport;

/// Bytes that may wait to be written to a producer that does not read.
const MAX_OUTBOX: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) fd: OwnedFd,
    pub(super) decoder: Decoder,
    pub(super) outbox: Vec<u8>,
    /// Frames that wait for the loop, with their arrival if they are sampled.
    pub(super) ready: VecDeque<(Data, u64)>,
    /// Frames that the loop has or had, in their order, up to the first that it is not done with.
    /// An acknowledgement covers all frames before it, so a frame that is finished early waits here.
    pub(super) given: VecDeque<Given>,
    /// Frames that may still arrive.
    pub(super) credits: u32,
    /// Credits and acknowledgements to send.
    pub(super) pending: Credit,
    pub(super) memory: Memory,
}

#[derive(Debug)]
pub(super) struct Given {
    pub(super) id: FrameId,
    pub(super) done: bool,
}

impl Conn {
    pub(super) fn take_data(&mut self, data: Data) -> Result<(), String> {
        if self.credits == 0 {
            return Err("the producer sent more than its credit".to_owned());
        }
        self.credits -= 1;
        // Only they are asked for it, and a look at the clock is not free.
        let sampled = data.frame.is_sampled();
        let arrived_ns = if sampled { clock::monotonic_ns() } else { 0 };
        self.ready.push_back((data, arrived_ns));
        Ok(())
    }

    /// The loop is done with a frame: what may be acknowledged now is.
    pub(super) fn finish(&mut self, id: &FrameId) {
        if let Some(given) = self.given.iter_mut().find(|given| given.id == *id) {
            given.done = true;
        }
        while self.given.front().is_some_and(|given| given.done) {
            if let Some(given) = self.given.pop_front() {
                self.pending.acked_seq = given.id.2;
            }
        }
    }

    pub(super) fn send_pending(&mut self) -> io::Result<()> {
        if self.pending == Credit::default() {
            return Ok(());
        }
        if self.outbox.len() > MAX_OUTBOX {
            return Err(io::Error::other("the producer does not read"));
        }
        let credit = std::mem::take(&mut self.pending);
        self.credits += credit.credits;
        self.outbox.extend(encode(&Message::Credit(credit)));
        self.flush()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match transport::send_parts(&self.fd, [&self.outbox, &[], &[]], 0)? {
                None => return Ok(()),
                Some(count) => {
                    self.outbox.drain(..count);
                }
            }
        }
        Ok(())
    }
}
