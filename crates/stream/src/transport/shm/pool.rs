//! The producer's side: segments, slots and who holds them. A payload is written once, however
//! many consumers get it. Never waits: without a free slot the payload travels on the socket.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::lent::{Lent, Returned};
use super::mapping::{self, Mapping};
use super::{CONTROL_LEN, MAX_ORPHANS, MAX_SEGMENTS, PoolStats, SLOTS_PER_SEGMENT, TICKETS};
use crate::link::SlotRef;

/// Slots start at multiples of this.
const SLOT_ALIGN: u64 = 4096;
/// Slots up to this size have a power of two of bytes, so that growing frames need few segments.
const DOUBLING_UP_TO: u64 = 1024 * 1024;

/// What names a frame: stream, epoch, number. A number alone comes again with frames that an
/// earlier life left on disk.
pub(crate) type FrameId = (u32, u32, u64);

/// All payloads of one output port that are in shared memory.
#[derive(Debug)]
pub(crate) struct Pool {
    min_payload: usize,
    budget: u64,
    segments: Vec<Segment>,
    next_segment: u32,
    holders: BTreeMap<u64, Holder>,
    /// Connections that are closed while their consumer still holds payloads.
    orphans: Vec<Holder>,
    written: u64,
}

#[derive(Debug)]
struct Segment {
    id: u32,
    fd: Arc<OwnedFd>,
    map: Arc<Mapping>,
    slot_len: u64,
    slots: Vec<Slot>,
    /// Slots that nobody holds; the one that was used last is on top, its pages are warm.
    free: Vec<u32>,
}

/// A slot keeps its content when nobody holds it any more, until it is used again.
#[derive(Clone, Debug, Default)]
struct Slot {
    /// The frame whose payload it has.
    frame: Option<FrameId>,
    holds: u32,
    /// The producer's own code has it.
    lent: Option<Returned>,
}

/// One connection and the slots that it holds.
#[derive(Debug)]
struct Holder {
    page: Mapping,
    /// Hangs up when the consumer has nothing left of this connection.
    lease: OwnedFd,
    holds: Vec<Hold>,
    free_tickets: Vec<u32>,
    /// Bytes of the slots in `holds`.
    bytes: u64,
    /// Segments that the consumer was told of.
    known: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    ticket: u32,
    slot: SlotId,
}

#[derive(Clone, Copy, Debug)]
struct SlotId {
    segment: u32,
    index: u32,
}

/// A slot for a consumer.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) slot: SlotRef,
    /// The consumer has to be told of this segment first.
    pub(crate) announce: Option<Announce>,
    /// Segments that the consumer knows and that are gone.
    pub(crate) retired: Vec<u32>,
}

/// A segment to be mapped.
#[derive(Debug)]
pub(crate) struct Announce {
    pub(crate) id: u32,
    pub(crate) len: u64,
    pub(crate) fd: Arc<OwnedFd>,
}

impl Pool {
    pub(crate) fn new(min_payload: usize, budget: u64) -> Self {
        Self {
            min_payload,
            budget,
            segments: Vec::new(),
            next_segment: 1,
            holders: BTreeMap::new(),
            orphans: Vec::new(),
            written: 0,
        }
    }

    /// Whether a payload is large enough to be worth a slot.
    pub(crate) fn wants(&self, len: usize) -> bool {
        len >= self.min_payload
    }

    /// A consumer takes part. What it has to be sent: its control page and its end of the lease.
    pub(crate) fn join(&mut self, consumer: u64) -> io::Result<[OwnedFd; 2]> {
        self.reclaim_dead();
        if self.orphans.len() >= MAX_ORPHANS {
            return Err(io::Error::other("payloads of lost connections are held"));
        }
        let (page_fd, page) = mapping::create_shared(CONTROL_LEN)?;
        let (lease, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let holder = Holder {
            page,
            lease,
            holds: Vec::new(),
            free_tickets: (0..TICKETS).rev().collect(),
            bytes: 0,
            known: Vec::new(),
        };
        self.holders.insert(consumer, holder);
        Ok([page_fd, theirs])
    }

    /// A connection is closed. What its process still holds stays held until it is dropped.
    pub(crate) fn leave(&mut self, consumer: u64) {
        if let Some(mut holder) = self.holders.remove(&consumer) {
            holder.collect(&mut self.segments);
            if !holder.holds.is_empty() {
                self.orphans.push(holder);
            }
        }
    }

    /// A slot for the producer's own code, to be written in place; `None`: there is none, or nobody to
    /// share it with.
    pub(crate) fn lend(&mut self, len: usize) -> Option<Lent> {
        if self.holders.is_empty() || !self.wants(len) {
            return None;
        }
        let at = self.room_for(len as u64)?;
        // What is lent and kept leaves the rest to frames that are copied.
        let lent: u64 = self.segments.iter().map(Segment::lent).sum();
        let segment = self.segments.get_mut(at)?;
        if lent + segment.slot_len > self.budget / 2 {
            return None;
        }
        segment.lend(len)
    }

    /// A slot with this frame's payload for a consumer; `None`: there is none for it now.
    pub(crate) fn give(&mut self, consumer: u64, frame: FrameId, payload: &[u8]) -> Option<Given> {
        // Whoever holds too much leaves the rest to the others.
        let quota = self.budget / 2;
        let holder = self.holders.get_mut(&consumer)?;
        if holder.free_tickets.is_empty() || holder.bytes + payload.len() as u64 > quota {
            holder.collect(&mut self.segments);
            if holder.free_tickets.is_empty() || holder.bytes + payload.len() as u64 > quota {
                return None;
            }
        }
        let written = self
            .find_lent(payload)
            .or_else(|| Some((self.find(frame)?, 0)));
        let (id, within) = match written {
            Some(written) => written,
            None => (self.write(frame, payload)?, 0),
        };
        let segment = self.segments.iter_mut().find(|one| one.id == id.segment)?;
        let holder = self.holders.get_mut(&consumer)?;
        let ticket = holder.free_tickets.pop()?;
        if let Some(word) = holder.page.word(ticket) {
            word.store(0, Ordering::Relaxed);
        }
        segment.hold(id.index);
        holder.holds.push(Hold { ticket, slot: id });
        holder.bytes += segment.slot_len;
        let announce = (!holder.known.contains(&id.segment)).then(|| segment.announce());
        if announce.is_some() {
            holder.known.push(id.segment);
        }
        let offset = u64::from(id.index) * segment.slot_len + within;
        let retired = self.retired_for(consumer);
        Some(Given {
            slot: SlotRef {
                segment: id.segment,
                ticket,
                offset,
            },
            announce,
            retired,
        })
    }

    /// What there is now.
    pub(crate) fn stats(&mut self) -> PoolStats {
        self.reclaim_dead();
        let slots = self.segments.iter().map(|one| one.slots.len());
        let free = self.segments.iter().map(|one| one.free.len());
        let slots: usize = slots.sum();
        PoolStats {
            segments: self.segments.len(),
            bytes: self.bytes(),
            slots,
            held: slots - free.sum::<usize>(),
            written: self.written,
        }
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::len).sum()
    }

    /// The slot that has this frame's payload already.
    fn find(&self, frame: FrameId) -> Option<SlotId> {
        self.segments.iter().find_map(|segment| {
            let index = segment
                .slots
                .iter()
                .position(|slot| slot.frame == Some(frame))?;
            Some(SlotId {
                segment: segment.id,
                index: u32::try_from(index).ok()?,
            })
        })
    }

    /// The slot that a payload was written into before it was sent, and where in it.
    fn find_lent(&self, payload: &[u8]) -> Option<(SlotId, u64)> {
        self.segments.iter().find_map(|segment| {
            let offset = segment.map.offset_of(payload)? as u64;
            let id = SlotId {
                segment: segment.id,
                index: u32::try_from(offset / segment.slot_len).ok()?,
            };
            Some((id, offset % segment.slot_len))
        })
    }

    fn write(&mut self, frame: FrameId, payload: &[u8]) -> Option<SlotId> {
        let at = self.room_for(payload.len() as u64)?;
        let segment = self.segments.get_mut(at)?;
        let index = *segment.free.last()?;
        let offset = usize::try_from(u64::from(index) * segment.slot_len).ok()?;
        let slot = segment.slots.get_mut(index as usize)?;
        if !segment.map.write(offset, payload) {
            return None;
        }
        slot.frame = Some(frame);
        self.written += 1;
        Some(SlotId {
            segment: segment.id,
            index,
        })
    }

    /// A segment with a free slot for `len` bytes.
    fn room_for(&mut self, len: u64) -> Option<usize> {
        self.reclaim();
        let mut at = self.segment_for(len);
        if at.is_none() && !self.orphans.is_empty() {
            self.reclaim_dead();
            at = self.segment_for(len);
        }
        at.or_else(|| self.grow(len))
    }

    fn segment_for(&self, len: u64) -> Option<usize> {
        let fits = |one: &Segment| one.slot_len >= len && !one.free.is_empty();
        self.segments.iter().position(fits)
    }

    /// A new segment for payloads of `len` bytes, in the place of idle ones if it has to be.
    fn grow(&mut self, len: u64) -> Option<usize> {
        let mut slot_len = roomy(len);
        if self.budget.saturating_sub(self.bytes()) < slot_len * SLOTS_PER_SEGMENT
            || self.segments.len() >= MAX_SEGMENTS
        {
            // None that is free is large enough: what is idle is of no use any more.
            self.segments.retain(|one| one.free.len() < one.slots.len());
        }
        let left = self.budget.saturating_sub(self.bytes());
        if left < slot_len {
            slot_len = len.next_multiple_of(SLOT_ALIGN);
        }
        let slots = (left / slot_len).min(SLOTS_PER_SEGMENT);
        if slots == 0 || self.segments.len() >= MAX_SEGMENTS {
            return None;
        }
        match Segment::new(self.next_segment, slot_len, slots) {
            Ok(segment) => {
                self.next_segment = self.next_segment.wrapping_add(1);
                self.segments.push(segment);
                Some(self.segments.len() - 1)
            }
            Err(error) => {
                tracing::debug!(%error, "no shared memory; payloads go over the socket");
                None
            }
        }
    }

    /// Takes back what consumers and the producer's own code gave up.
    fn reclaim(&mut self) {
        let segments = &mut self.segments;
        segments.iter_mut().for_each(Segment::take_back);
        for holder in self.holders.values_mut() {
            holder.collect(segments);
        }
        self.orphans.retain_mut(|holder| {
            holder.collect(segments);
            !holder.holds.is_empty()
        });
    }

    /// Takes back what closed connections held whose process is gone, too.
    fn reclaim_dead(&mut self) {
        self.reclaim();
        let segments = &mut self.segments;
        self.orphans.retain_mut(|holder| {
            let is_dead = holder.hung_up();
            if is_dead {
                holder.drop_all(segments);
            }
            !is_dead
        });
    }

    /// Segments that a consumer still maps although they are gone.
    fn retired_for(&mut self, consumer: u64) -> Vec<u32> {
        let segments = &self.segments;
        let Some(holder) = self.holders.get_mut(&consumer) else {
            return Vec::new();
        };
        if holder.known.len() <= segments.len()
            && holder.known.iter().all(|id| contains(segments, *id))
        {
            return Vec::new();
        }
        let (live, gone) = holder
            .known
            .drain(..)
            .partition(|id| contains(segments, *id));
        holder.known = live;
        gone
    }
}

fn contains(segments: &[Segment], id: u32) -> bool {
    segments.iter().any(|segment| segment.id == id)
}

/// Slot size for payloads around `len`: frames of one stream differ, and grow.
fn roomy(len: u64) -> u64 {
    if len <= DOUBLING_UP_TO {
        len.next_power_of_two().max(SLOT_ALIGN)
    } else {
        (len + len / 4).next_multiple_of(SLOT_ALIGN)
    }
}

impl Segment {
    fn new(id: u32, slot_len: u64, slots: u64) -> io::Result<Self> {
        let too_large = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let len = usize::try_from(slot_len * slots).map_err(too_large)?;
        let count = u32::try_from(slots).map_err(too_large)?;
        let (fd, map) = mapping::create_private(len)?;
        Ok(Self {
            id,
            fd: Arc::new(fd),
            map: Arc::new(map),
            slot_len,
            slots: vec![Slot::default(); count as usize],
            free: (0..count).rev().collect(),
        })
    }

    fn len(&self) -> u64 {
        self.slot_len * self.slots.len() as u64
    }

    fn announce(&self) -> Announce {
        Announce {
            id: self.id,
            len: self.len(),
            fd: Arc::clone(&self.fd),
        }
    }

    fn hold(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.holds += 1;
            if slot.holds == 1 {
                // On top in all but a few cases: it was written a moment ago.
                match self.free.last() {
                    Some(top) if *top == index => drop(self.free.pop()),
                    _ => self.free.retain(|free| *free != index),
                }
            }
        }
    }

    fn release(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.holds = slot.holds.saturating_sub(1);
            if slot.holds == 0 && slot.lent.is_none() {
                self.free.push(index);
            }
        }
    }

    /// Bytes of the slots that are lent.
    fn lent(&self) -> u64 {
        let lent = self.slots.iter().filter(|slot| slot.lent.is_some());
        lent.count() as u64 * self.slot_len
    }

    fn lend(&mut self, len: usize) -> Option<Lent> {
        let index = *self.free.last()?;
        let slot = self.slots.get_mut(index as usize)?;
        let offset = usize::try_from(u64::from(index) * self.slot_len).ok()?;
        let (lent, returned) = Lent::new(&self.map, offset, len)?;
        self.free.pop();
        slot.frame = None;
        slot.lent = Some(returned);
        Some(lent)
    }

    fn take_back(&mut self) {
        for (index, slot) in (0..).zip(&mut self.slots) {
            if slot.lent.as_ref().is_some_and(Returned::is_set) {
                slot.lent = None;
                if slot.holds == 0 {
                    self.free.push(index);
                }
            }
        }
    }
}

impl Holder {
    /// Takes back what the consumer gave up.
    fn collect(&mut self, segments: &mut [Segment]) {
        let mut index = 0;
        while let Some(hold) = self.holds.get(index).copied() {
            let word = self.page.word(hold.ticket);
            // What the consumer read of the payload it read before it stored this.
            if word.is_some_and(|word| word.load(Ordering::Acquire) != 0) {
                self.holds.swap_remove(index);
                self.free_tickets.push(hold.ticket);
                self.end(hold, segments);
            } else {
                index += 1;
            }
        }
    }

    fn drop_all(&mut self, segments: &mut [Segment]) {
        while let Some(hold) = self.holds.pop() {
            self.end(hold, segments);
        }
    }

    fn end(&mut self, hold: Hold, segments: &mut [Segment]) {
        if let Some(segment) = segments.iter_mut().find(|one| one.id == hold.slot.segment) {
            self.bytes = self.bytes.saturating_sub(segment.slot_len);
            segment.release(hold.slot.index);
        }
    }

    /// Whether the kernel closed the consumer's end of the lease.
    fn hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.lease, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut fds, Some(&now)).is_ok()
            && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}
