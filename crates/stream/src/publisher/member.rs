//! One connected consumer: its socket, its credits, what it was given and did not acknowledge, and
//! the message that is only half written.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::group::Entry;
use crate::frame::{Frame, Limits};
use crate::link::{Decoder, Message, Role, encode, encode_data_prefix, encode_shared_prefix};
use crate::transport::shm::Given;
use crate::transport::{self, pipe};

/// Control messages that may wait for a consumer that does not read; more means it is broken.
const MAX_CONTROL_WAITING: usize = 64;
/// Credits a durable consumer may hold.
const MAX_CREDITS: u32 = 1024;

/// Where a connection is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its first message is due.
    Greeting { deadline: Instant },
    /// It belongs to this group.
    Member { group: u32 },
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) fd: Arc<OwnedFd>,
    /// Carries what goes without descriptors, if the consumer takes part.
    pub(super) pipe: Option<Arc<OwnedFd>>,
    pub(super) decoder: Decoder,
    pub(super) phase: Phase,
    /// Who it says it is.
    pub(super) name: String,
    pub(super) limits: Limits,
    pub(super) credits: u32,
    pub(super) unacked: VecDeque<Entry>,
    /// It said that it ends by will.
    pub(super) leaving: bool,
    /// It can't be written to any more. What it said before is still read, to its end.
    pub(super) broken: bool,
    /// When it was last given a frame, counted in frames of the publisher.
    pub(super) last_given: u64,
    outbox: VecDeque<Outgoing>,
    written: usize,
}

#[derive(Debug)]
enum Outgoing {
    Control(Vec<u8>),
    /// What comes before the frame's meta, the frame, and whether its payload follows.
    Frame(Box<[u8]>, Frame, bool),
    /// The descriptors go with the first byte.
    WithFds(Vec<u8>, Vec<Arc<OwnedFd>>),
}

impl Outgoing {
    fn parts(&self) -> [&[u8]; 3] {
        match self {
            Self::Control(bytes) | Self::WithFds(bytes, _) => [bytes, &[], &[]],
            Self::Frame(prefix, frame, inline) => frame_parts(prefix, frame, *inline),
        }
    }
}

fn frame_parts<'a>(prefix: &'a [u8], frame: &'a Frame, inline: bool) -> [&'a [u8]; 3] {
    let payload: &[u8] = if inline { &frame.payload } else { &[] };
    [prefix, &frame.meta, payload]
}

fn total(parts: &[&[u8]; 3]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

impl Member {
    pub(super) fn new(fd: OwnedFd, deadline: Instant) -> Self {
        transport::grow_send_buffer(&fd);
        Self {
            fd: Arc::new(fd),
            pipe: None,
            decoder: Decoder::new(Role::Producer, Limits::default()),
            phase: Phase::Greeting { deadline },
            name: String::new(),
            limits: Limits::default(),
            credits: 0,
            unacked: VecDeque::new(),
            leaving: false,
            broken: false,
            last_given: 0,
            outbox: VecDeque::new(),
            written: 0,
        }
    }

    /// Whether a frame may be given to it now.
    pub(super) fn is_ready(&self) -> bool {
        self.credits > 0 && self.outbox.is_empty() && !self.broken
    }

    pub(super) fn has_unwritten(&self) -> bool {
        !self.outbox.is_empty() && !self.broken
    }

    /// What has to take bytes before the next message can be written on.
    pub(super) fn blocked_on(&self) -> Option<&Arc<OwnedFd>> {
        let outgoing = self.outbox.front().filter(|_| !self.broken)?;
        Some(match (outgoing, &self.pipe) {
            (Outgoing::WithFds(..), _) | (_, None) => &self.fd,
            (_, Some(pipe)) => pipe,
        })
    }

    /// The pipe that nobody reads any more; polling it reports that for ever.
    pub(super) fn broken_pipe(&self) -> Option<&Arc<OwnedFd>> {
        self.pipe.as_ref().filter(|_| self.broken)
    }

    pub(super) fn grant(&mut self, credits: u32, durable: bool) {
        let limit = if durable { MAX_CREDITS } else { 1 };
        self.credits = self.credits.saturating_add(credits).min(limit);
    }

    /// Writes a control message, or as much as fits.
    pub(super) fn send_control(&mut self, message: &Message) -> io::Result<()> {
        if self.outbox.len() >= MAX_CONTROL_WAITING {
            return Err(io::Error::other("the consumer does not read"));
        }
        self.outbox.push_back(Outgoing::Control(encode(message)));
        self.flush()
    }

    /// Like [`Self::send_control`], with descriptors.
    pub(super) fn send_with_fds(
        &mut self,
        message: &Message,
        fds: Vec<Arc<OwnedFd>>,
    ) -> io::Result<()> {
        let bytes = encode(message);
        self.outbox.push_back(Outgoing::WithFds(bytes, fds));
        self.flush()
    }

    /// Gives it a frame whose payload is in a slot, for one credit. On an error the frame is among
    /// the unacknowledged.
    pub(super) fn give_shared(&mut self, entry: Entry, given: Given) -> io::Result<()> {
        self.credits = self.credits.saturating_sub(1);
        for id in given.retired {
            let retire = encode(&Message::Retire { id });
            self.outbox.push_back(Outgoing::Control(retire));
        }
        if let Some(announce) = given.announce {
            let (id, len) = (announce.id, announce.len);
            let segment = encode(&Message::Segment { id, len });
            self.outbox
                .push_back(Outgoing::WithFds(segment, vec![announce.fd]));
        }
        let (sent, again) = (entry.sent_mono_ns, entry.redelivered);
        let prefix = encode_shared_prefix(&entry.frame, &given.slot, sent, again);
        self.write_frame(entry, &prefix, false)
    }

    /// Gives it a frame, for one credit. On an error the frame is among the unacknowledged.
    pub(super) fn give(&mut self, entry: Entry) -> io::Result<()> {
        self.credits = self.credits.saturating_sub(1);
        let prefix = encode_data_prefix(&entry.frame, entry.sent_mono_ns, entry.redelivered);
        self.write_frame(entry, &prefix, true)
    }

    /// Writes a frame's message, at once if nothing waits before it.
    fn write_frame(&mut self, entry: Entry, prefix: &[u8], inline: bool) -> io::Result<()> {
        let parts = frame_parts(prefix, &entry.frame, inline);
        let at_once = if self.outbox.is_empty() {
            self.send_parts(parts, 0)
        } else {
            Ok(None)
        };
        let is_whole = matches!(at_once, Ok(Some(sent)) if sent == total(&parts));
        if !is_whole {
            let outgoing = Outgoing::Frame(prefix.into(), entry.frame.clone(), inline);
            self.outbox.push_back(outgoing);
        }
        self.unacked.push_back(entry);
        let sent = at_once?;
        if is_whole {
            return Ok(());
        }
        self.written += sent.unwrap_or(0);
        self.flush()
    }

    /// Writes what fits now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(outgoing) = self.outbox.front() {
            let sent = match outgoing {
                Outgoing::WithFds(bytes, fds) if self.written == 0 => {
                    transport::send_with_fds(&self.fd, bytes, fds)?
                }
                // It began on the socket.
                Outgoing::WithFds(..) => {
                    transport::send_parts(&self.fd, outgoing.parts(), self.written)?
                }
                _ => self.send_parts(outgoing.parts(), self.written)?,
            };
            match sent {
                None => return Ok(()),
                Some(count) => self.written += count,
            }
            if self.written >= total(&outgoing.parts()) {
                self.outbox.pop_front();
                self.written = 0;
            }
        }
        Ok(())
    }

    /// Sends what fits now of `parts`, without their first `skip` bytes. `None`: nothing fits.
    fn send_parts(&self, parts: [&[u8]; 3], skip: usize) -> io::Result<Option<usize>> {
        match &self.pipe {
            Some(pipe) => pipe::send_parts(pipe, parts, skip),
            None => transport::send_parts(&self.fd, parts, skip),
        }
    }

    /// Takes the frames up to `seq` out of the unacknowledged; `None` when it was not given.
    pub(super) fn acknowledge(&mut self, seq: u64) -> Option<VecDeque<Entry>> {
        let index = self.unacked.iter().position(|entry| entry.seq() == seq)?;
        let rest = self.unacked.split_off(index + 1);
        Some(std::mem::replace(&mut self.unacked, rest))
    }
}
