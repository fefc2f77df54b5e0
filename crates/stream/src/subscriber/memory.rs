//! What one connection has of its producer's shared memory: the descriptors that arrive beside the
//! bytes, the segments, and the frames whose payloads are in them. Never waits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::link::{Accept, Data, Message};
use crate::transport::shm::{self, Remote, ShareError};
use crate::transport::{pipe, receive, receive_with_fds};

/// Descriptors that may wait for their messages.
const MAX_FDS_WAITING: usize = 4;

#[derive(Debug)]
pub(super) struct Memory {
    /// Shared memory was asked for, so descriptors may come.
    asked: bool,
    fds: VecDeque<OwnedFd>,
    remote: Option<Remote>,
}

impl Memory {
    pub(super) fn new(asked: bool) -> Self {
        Self {
            asked,
            fds: VecDeque::new(),
            remote: None,
        }
    }

    /// Reads what is there, and keeps the descriptors that come with it.
    pub(super) fn receive(&mut self, fd: impl AsFd, space: &mut [u8]) -> io::Result<Option<usize>> {
        if !self.asked {
            // The kernel closes descriptors that nobody asked for.
            return receive(fd, space);
        }
        if self.fds.len() > MAX_FDS_WAITING {
            return Err(io::Error::other(ShareError::Flood));
        }
        receive_with_fds(fd, space, &mut self.fds)
    }

    /// The producer accepted, with these words and descriptors. The pipe, if there is one.
    pub(super) fn open(&mut self, accept: &Accept) -> Result<Option<OwnedFd>, ShareError> {
        if !self.asked || accept.transport != shm::NAME {
            return Ok(None);
        }
        self.remote = Some(Remote::open(&mut self.fds)?);
        if !accept.pipe {
            return Ok(None);
        }
        let fd = self.fds.pop_front().ok_or(ShareError::NoDescriptor)?;
        let pipe = pipe::open(fd).map_err(ShareError::Pipe)?;
        pipe.ok_or(ShareError::NoPipe).map(Some)
    }

    /// Whether a message needs memory that is not announced yet.
    pub(super) fn lacks(&self, message: &Message) -> bool {
        let (Message::Shared(shared), Some(remote)) = (message, &self.remote) else {
            return false;
        };
        !remote.knows(shared.slot.segment)
    }

    /// Takes `SEGMENT`, `RETIRE` and `SHARED`; the frame of the latter.
    pub(super) fn take(&mut self, message: Message) -> Result<Option<Data>, ShareError> {
        let remote = self.remote.as_mut().ok_or(ShareError::Reference)?;
        match message {
            Message::Segment { id, len } => remote.add(id, len, &mut self.fds)?,
            Message::Retire { id } => remote.retire(id),
            Message::Shared(shared) => {
                let payload = remote.payload(&shared.slot, shared.header.payload_len())?;
                let frame = shared.header.finish_parts(shared.meta, payload);
                return Ok(Some(Data {
                    frame: frame.map_err(ShareError::Frame)?,
                    sent_mono_ns: shared.sent_mono_ns,
                    redelivered: shared.redelivered,
                }));
            }
            _ => {}
        }
        Ok(None)
    }
}
