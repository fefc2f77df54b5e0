//! The consumer's side: the segments of one producer, mapped read-only, and payloads in them. A
//! payload gives its slot back when its last clone is dropped, in any thread.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::mapping::{self, Mapping};
use super::{CONTROL_LEN, MAX_MAPPED, MAX_SEGMENTS, ShareError};
use crate::link::SlotRef;

/// What a connection has of its producer's memory.
#[derive(Debug)]
pub(crate) struct Remote {
    lease: Arc<Lease>,
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    id: u32,
    len: u64,
    map: Arc<Mapping>,
}

/// The control page, and the descriptor whose closing tells the producer that nothing is held.
#[derive(Debug)]
struct Lease {
    page: Mapping,
    _alive: OwnedFd,
}

/// The owner of a payload's bytes.
struct Payload {
    map: Arc<Mapping>,
    offset: usize,
    len: usize,
    lease: Arc<Lease>,
    ticket: u32,
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.map.bytes(self.offset, self.len).unwrap_or_default()
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Some(word) = self.lease.page.word(self.ticket) {
            // Everything that was read of the payload was read before.
            word.store(1, Ordering::Release);
        }
    }
}

impl Remote {
    /// Takes the control page and the lease out of the descriptors that came with `ACCEPT`.
    pub(crate) fn open(fds: &mut VecDeque<OwnedFd>) -> Result<Self, ShareError> {
        let page = fds.pop_front().ok_or(ShareError::NoDescriptor)?;
        let alive = fds.pop_front().ok_or(ShareError::NoDescriptor)?;
        let page = mapping::open(page, CONTROL_LEN, true)?;
        Ok(Self {
            lease: Arc::new(Lease {
                page,
                _alive: alive,
            }),
            segments: Vec::new(),
        })
    }

    /// Maps a segment that the producer announces.
    pub(crate) fn add(
        &mut self,
        id: u32,
        len: u64,
        fds: &mut VecDeque<OwnedFd>,
    ) -> Result<(), ShareError> {
        let fd = fds.pop_front().ok_or(ShareError::NoDescriptor)?;
        let mapped: u64 = self.segments.iter().map(|segment| segment.len).sum();
        if self.knows(id)
            || self.segments.len() >= MAX_SEGMENTS
            || len > MAX_MAPPED.saturating_sub(mapped)
        {
            return Err(ShareError::TooMany);
        }
        let bytes = usize::try_from(len).map_err(|_| ShareError::TooMany)?;
        let map = Arc::new(mapping::open(fd, bytes, false)?);
        self.segments.push(Segment { id, len, map });
        Ok(())
    }

    /// Whether a segment is mapped.
    pub(crate) fn knows(&self, id: u32) -> bool {
        self.segments.iter().any(|segment| segment.id == id)
    }

    /// The producer has given a segment up. Payloads in it stay until they are dropped.
    pub(crate) fn retire(&mut self, id: u32) {
        self.segments.retain(|segment| segment.id != id);
    }

    /// The payload of `len` bytes that a message refers to, without a copy.
    pub(crate) fn payload(&self, slot: &SlotRef, len: usize) -> Result<Bytes, ShareError> {
        let segment = self.segments.iter().find(|one| one.id == slot.segment);
        let segment = segment.ok_or(ShareError::Reference)?;
        let offset = usize::try_from(slot.offset).map_err(|_| ShareError::Reference)?;
        let is_inside = segment.map.bytes(offset, len).is_some();
        if !is_inside || self.lease.page.word(slot.ticket).is_none() {
            return Err(ShareError::Reference);
        }
        Ok(Bytes::from_owner(Payload {
            map: Arc::clone(&segment.map),
            offset,
            len,
            lease: Arc::clone(&self.lease),
            ticket: slot.ticket,
        }))
    }
}
