//! One consumer group: the frames that wait for it and its counters. Realtime keeps one frame, the
//! newest; durable keeps a window.

use std::collections::VecDeque;

use edgeflow_spec::qos::{LinkQos, OnFull};

use crate::frame::Frame;
use crate::stats::{DropReason, Dropped, GroupStats};

/// A frame on its way to one group.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) frame: Frame,
    pub(super) sent_mono_ns: u64,
    pub(super) redelivered: bool,
}

impl Entry {
    pub(super) fn seq(&self) -> u64 {
        self.frame.header.seq
    }

    fn bytes(&self) -> u64 {
        self.frame.encoded_len() as u64
    }
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) link: String,
    pub(super) name: String,
    pub(super) qos: LinkQos,
    /// Known beforehand: stays when nobody is connected.
    pub(super) declared: bool,
    /// Ids of the connected members.
    pub(super) members: Vec<u64>,
    queue: VecDeque<Entry>,
    /// Frames with members, not acknowledged.
    outstanding: u64,
    /// Bytes of queued and outstanding frames.
    held_bytes: u64,
    produced: u64,
    delivered: u64,
    bytes: u64,
    dropped: Dropped,
}

impl Group {
    pub(super) fn new(link: String, name: String, qos: LinkQos, declared: bool) -> Self {
        Self {
            link,
            name,
            qos,
            declared,
            members: Vec::new(),
            queue: VecDeque::new(),
            outstanding: 0,
            held_bytes: 0,
            produced: 0,
            delivered: 0,
            bytes: 0,
            dropped: Dropped::new(),
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.qos.is_lossless()
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.queue.len() as u64 + self.outstanding
    }

    /// The oldest frame that waits here; those with members are not among them.
    pub(super) fn oldest_queued(&self) -> Option<u64> {
        self.queue.front().map(Entry::seq)
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether the window takes a frame of `bytes`. A single frame always fits.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let in_flight = self.in_flight();
        !self.is_durable()
            || in_flight == 0
            || (in_flight < u64::from(self.qos.window_frames)
                && self.held_bytes + bytes <= self.qos.window_bytes)
    }

    pub(super) fn fails_when_full(&self) -> bool {
        self.qos.on_full == OnFull::Fail
    }

    /// A frame that the window has no room for, and that fails for it.
    pub(super) fn refuse(&mut self) {
        self.produced += 1;
        self.count_dropped(DropReason::Overflow, 1);
    }

    /// Takes a new frame.
    pub(super) fn offer(&mut self, entry: Entry) {
        self.produced += 1;
        if !self.is_durable() {
            self.drop_queued(DropReason::Superseded);
            if self.members.is_empty() {
                self.count_dropped(DropReason::NoConsumer, 1);
                return;
            }
        }
        self.held_bytes += entry.bytes();
        self.queue.push_back(entry);
    }

    /// The next frame for a member. It has to end in [`Self::acked`], [`Self::lost`] or
    /// [`Self::too_large`].
    pub(super) fn take(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        self.outstanding += 1;
        Some(entry)
    }

    /// A member is done with a frame.
    pub(super) fn acked(&mut self, entry: &Entry, expired: bool) {
        self.release(entry);
        if expired {
            self.count_dropped(DropReason::Expired, 1);
        } else {
            self.delivered += 1;
            self.bytes += entry.bytes();
        }
    }

    /// A member will never take this frame.
    pub(super) fn too_large(&mut self, entry: &Entry) {
        self.release(entry);
        self.count_dropped(DropReason::TooLarge, 1);
    }

    /// A member was lost with these frames. Durable ones go back to the front, in order.
    pub(super) fn lost(&mut self, entries: VecDeque<Entry>) {
        if !self.is_durable() {
            for entry in &entries {
                self.release(entry);
                self.count_dropped(DropReason::ConsumerLost, 1);
            }
            if self.members.is_empty() {
                self.drop_queued(DropReason::NoConsumer);
            }
            return;
        }
        self.outstanding -= entries.len() as u64;
        for mut entry in entries {
            entry.redelivered = true;
            self.queue.push_back(entry);
        }
        self.queue
            .make_contiguous()
            .sort_by_key(|entry| entry.frame.header.seq);
    }

    /// The producer stops: what waits will not arrive.
    pub(super) fn close(&mut self) {
        self.drop_queued(DropReason::Undelivered);
        let outstanding = std::mem::take(&mut self.outstanding);
        self.count_dropped(DropReason::Undelivered, outstanding);
        self.held_bytes = 0;
    }

    pub(super) fn stats(&self, transport: &'static str, transport_reason: String) -> GroupStats {
        GroupStats {
            link: self.link.clone(),
            group: self.name.clone(),
            qos: self.qos.mode,
            transport,
            transport_reason,
            produced: self.produced,
            delivered: self.delivered,
            in_flight: self.in_flight(),
            dropped: self.dropped.clone(),
            bytes: self.bytes,
            consumers: u32::try_from(self.members.len()).unwrap_or(u32::MAX),
        }
    }

    fn release(&mut self, entry: &Entry) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.held_bytes = self.held_bytes.saturating_sub(entry.bytes());
    }

    fn drop_queued(&mut self, reason: DropReason) {
        while let Some(entry) = self.queue.pop_front() {
            self.held_bytes = self.held_bytes.saturating_sub(entry.bytes());
            self.count_dropped(reason, 1);
        }
    }

    fn count_dropped(&mut self, reason: DropReason, count: u64) {
        if count > 0 {
            *self.dropped.entry(reason).or_default() += count;
        }
    }
}
