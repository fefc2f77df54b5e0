//! One connection to a producer: its socket and what is beside it, what waits to be written, the
//! frames that have arrived and those that are to be acknowledged. Never waits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::dedup::FrameId;
use super::memory::Memory;
use crate::clock;
use crate::frame::Limits;
use crate::link::{Credit, Data, Decoder, Message, Role, encode};
use crate::transport::{self, Dialed, handover, pipe};

/// Bytes that may wait to be written to a producer that does not read.
const MAX_OUTBOX: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) fd: OwnedFd,
    decoder: Decoder,
    /// Carries all messages after ACCEPT but those with descriptors, if the producer takes part.
    pipe: Option<Pipe>,
    /// Carries the frames, if the producer is a thread of this process.
    handover: Option<handover::Receiver>,
    /// Frames that came that way.
    handed: VecDeque<Data>,
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

/// The pipe of a connection.
#[derive(Debug)]
struct Pipe {
    fd: OwnedFd,
    decoder: Decoder,
    /// Names memory that the socket has yet to announce.
    waiting: Option<Message>,
}

/// What a look at a connection found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Nothing,
    /// Bytes, and no more are there now.
    Last,
    /// Bytes, and there may be more.
    Some,
}

/// The end of a connection that says nothing about why.
const CLOSED: &str = "the producer closed the connection";

impl Conn {
    pub(super) fn new(dialed: Dialed, limits: Limits, greeting: Vec<u8>, memory: Memory) -> Self {
        Self {
            fd: dialed.socket,
            decoder: Decoder::new(Role::Consumer, limits),
            pipe: None,
            handover: dialed.frames,
            handed: VecDeque::new(),
            outbox: greeting,
            ready: VecDeque::new(),
            given: VecDeque::new(),
            credits: 0,
            pending: Credit::default(),
            memory,
        }
    }

    pub(super) fn use_pipe(&mut self, fd: OwnedFd, limits: Limits) {
        self.pipe = Some(Pipe {
            fd,
            decoder: Decoder::new(Role::Consumer, limits),
            waiting: None,
        });
    }

    /// What is to be read beside the socket.
    pub(super) fn beside(&self) -> Option<BorrowedFd<'_>> {
        match (&self.pipe, &self.handover) {
            (Some(pipe), _) => Some(pipe.fd.as_fd()),
            (None, handover) => handover.as_ref().map(AsFd::as_fd),
        }
    }

    /// Reads once, what is beside the socket before the socket.
    pub(super) fn read(&mut self) -> Result<Read, String> {
        let found = self.read_beside()?;
        if found != Read::Nothing {
            return Ok(found);
        }
        let read = self.read_socket();
        if read.is_err() {
            // What was said before the end may have come between the two looks.
            let found = self.read_beside()?;
            if found != Read::Nothing {
                return Ok(found);
            }
        }
        read
    }

    fn read_beside(&mut self) -> Result<Read, String> {
        if let Some(handover) = &self.handover {
            let frames = handover.take();
            let is_empty = frames.is_empty();
            self.handed.extend(frames);
            return Ok(if is_empty { Read::Nothing } else { Read::Last });
        }
        let Some(pipe) = &mut self.pipe else {
            return Ok(Read::Nothing);
        };
        let space = pipe.decoder.space();
        let wanted = space.len();
        let received = pipe::receive(&pipe.fd, space);
        let count = received.map_err(|error| error.to_string())?;
        took(&mut pipe.decoder, count, wanted)
    }

    fn read_socket(&mut self) -> Result<Read, String> {
        let space = self.decoder.space();
        let wanted = space.len();
        let received = self.memory.receive(&self.fd, space);
        let count = received.map_err(|error| error.to_string())?;
        took(&mut self.decoder, count, wanted)
    }

    /// The next message that was read.
    pub(super) fn next(&mut self) -> Result<Option<Message>, String> {
        loop {
            if let Some(message) = self.decoder.next().map_err(|e| describe(&e))? {
                let is_announcement = matches!(message, Message::Segment { .. });
                if self.pipe.is_some() && !is_announcement {
                    return Err("a message on the socket that belongs on the pipe".to_owned());
                }
                return Ok(Some(message));
            }
            let Some(pipe) = &mut self.pipe else {
                return Ok(self.handed.pop_front().map(Message::Data));
            };
            let message = match pipe.waiting.take() {
                Some(message) => message,
                None => match pipe.decoder.next().map_err(|e| describe(&e))? {
                    Some(message) => message,
                    None => return Ok(None),
                },
            };
            if !self.memory.lacks(&message) {
                return Ok(Some(message));
            }
            // It was announced on the socket before it was named on the pipe.
            pipe.waiting = Some(message);
            if self.read_socket()? == Read::Nothing {
                return Ok(self.pipe.as_mut().and_then(|pipe| pipe.waiting.take()));
            }
        }
    }

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

fn took(decoder: &mut Decoder, count: Option<usize>, wanted: usize) -> Result<Read, String> {
    match count {
        None => Ok(Read::Nothing),
        Some(0) => Err(CLOSED.to_owned()),
        Some(count) => {
            decoder.advance(count);
            Ok(if count < wanted {
                Read::Last
            } else {
                Read::Some
            })
        }
    }
}

/// An error with its cause, for logs.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
