//! One consumer group: the frames that wait for it and its counters. Realtime keeps one frame, the
//! newest; durable keeps a window, and on disk what the window has no room for; balanced keeps a
//! window and skips to the newest when it is full.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use edgeflow_spec::qos::{LinkQos, OnFull, QosMode};

use super::dead_letters::DeadLetters;
use super::spill::{Next, Spill, SpillError};
use crate::clock;
use crate::frame::Frame;
use crate::link::Gap;
use crate::stats::{DropReason, Dropped, GroupStats};

/// Gaps that wait for the next frame; more are told as one.
const MAX_GAPS: usize = 16;
/// Least time between two log lines about the same trouble.
const TROUBLE_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A frame on its way to one group.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) frame: Frame,
    pub(super) sent_mono_ns: u64,
    pub(super) redelivered: bool,
    /// Deliveries that were lost while it was probably in the consumer's loop.
    pub(super) deliveries: u32,
    /// It is in the group's spill as well.
    pub(super) on_disk: bool,
}

impl Entry {
    /// A frame that is sent now.
    pub(super) fn new(frame: Frame) -> Self {
        Self {
            frame,
            sent_mono_ns: clock::monotonic_ns(),
            redelivered: false,
            deliveries: 0,
            on_disk: false,
        }
    }

    /// One whose consumer was lost with it so often.
    pub(super) fn lost(frame: Frame, deliveries: u32) -> Self {
        Self {
            deliveries,
            ..Self::new(frame)
        }
    }

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
    spill: Option<Spill>,
    /// The newest frame while the disk does not take it; nothing is admitted meanwhile.
    parked: Option<Entry>,
    dead_letters: Option<DeadLetters>,
    /// Frames that will never come, to be told with the next frame.
    gaps: Vec<Gap>,
    trouble: Option<String>,
    trouble_logged: Option<Instant>,
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
            spill: None,
            parked: None,
            dead_letters: None,
            gaps: Vec::new(),
            trouble: None,
            trouble_logged: None,
            produced: 0,
            delivered: 0,
            bytes: 0,
            dropped: Dropped::new(),
        }
    }

    /// Uses a spill; what it holds of a former life comes first. Returns the largest number in it.
    pub(super) fn use_spill(&mut self, spill: Spill) -> u64 {
        let (frames, last) = (spill.unread(), spill.recovered_seq());
        self.produced += frames;
        if frames > 0 {
            tracing::info!(link = %self.link, frames, "frames of a former life are on disk");
        }
        self.spill = Some(spill);
        self.refill();
        last
    }

    pub(super) fn use_dead_letters(&mut self, dead_letters: DeadLetters) {
        self.dead_letters = Some(dead_letters);
    }

    pub(super) fn dead_letters(&self) -> Option<&DeadLetters> {
        self.dead_letters.as_ref()
    }

    /// Whether frames wait here until they are acknowledged.
    pub(super) fn keeps_frames(&self) -> bool {
        self.qos.keeps_frames()
    }

    pub(super) fn in_flight(&self) -> u64 {
        let on_disk = self.spill.as_ref().map_or(0, Spill::unread);
        self.held_frames() + on_disk + u64::from(self.parked.is_some())
    }

    fn held_frames(&self) -> u64 {
        self.queue.len() as u64 + self.outstanding
    }

    /// The oldest frame that waits here in memory only; those with members are not among them.
    pub(super) fn oldest_unsaved(&self) -> Option<u64> {
        let mut waiting = self.queue.iter().chain(&self.parked);
        waiting.find(|entry| !entry.on_disk).map(Entry::seq)
    }

    /// Whether its frames are kept for a next life when the producer stops.
    pub(super) fn is_saved(&self) -> bool {
        self.spill.is_some()
    }

    /// Whether some could not be kept.
    pub(super) fn has_lost_at_end(&self) -> bool {
        self.dropped.contains_key(&DropReason::Undelivered)
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether a frame of `bytes` is taken now. A single frame always is.
    pub(super) fn has_room(&mut self, bytes: u64) -> bool {
        if self.qos.mode != QosMode::Durable || self.window_has_room(bytes) {
            return true;
        }
        if !self.qos.spills() {
            return false;
        }
        if self.qos.live_source {
            // What the disk does not take is counted, for the source can't wait.
            return true;
        }
        self.unpark();
        let Some(spill) = &self.spill else {
            return false;
        };
        if self.parked.is_none() && !spill.has_room(bytes) {
            let full = SpillError::Full(self.qos.spill_bytes);
            self.set_trouble(&full, "its producer waits");
            return false;
        }
        self.parked.is_none()
    }

    fn window_has_room(&self, bytes: u64) -> bool {
        let held = self.held_frames();
        let behind = self.parked.is_some() || self.spill.as_ref().is_some_and(|s| s.unread() > 0);
        !behind
            && (held == 0
                || (held < u64::from(self.qos.window_frames)
                    && self.held_bytes + bytes <= self.qos.window_bytes))
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
        match self.qos.mode {
            QosMode::Realtime => {
                self.drop_queued(DropReason::Superseded);
                if self.members.is_empty() {
                    self.count_dropped(DropReason::NoConsumer, 1);
                    return;
                }
                self.push(entry);
            }
            QosMode::Durable if self.qos.spills() && !self.window_has_room(entry.bytes()) => {
                self.spill(entry);
            }
            QosMode::Durable => self.push(entry),
            QosMode::Balanced => {
                self.push(entry);
                self.skip_if_lagging();
            }
        }
    }

    fn push(&mut self, entry: Entry) {
        self.held_bytes += entry.bytes();
        self.queue.push_back(entry);
    }

    /// A frame that the window has no room for goes to disk.
    fn spill(&mut self, entry: Entry) {
        let written = self.spill.as_mut().map(|spill| spill.append(&entry));
        match written {
            Some(Ok(())) => self.trouble = None,
            Some(Err(error)) if self.qos.live_source => {
                self.set_trouble(&error, "frames are lost");
                self.overflow(&entry);
            }
            Some(Err(error)) => {
                self.set_trouble(&error, "its producer waits");
                self.parked = Some(entry);
            }
            // Without a spill nothing is admitted that has no room, but for a live source.
            None => self.overflow(&entry),
        }
    }

    fn overflow(&mut self, entry: &Entry) {
        self.count_dropped(DropReason::Overflow, 1);
        self.tell_gap(entry.seq(), DropReason::Overflow);
    }

    /// Tries once more to write the frame that the disk did not take.
    fn unpark(&mut self) {
        let Some(entry) = self.parked.take() else {
            return;
        };
        self.spill(entry);
    }

    /// Brings spilled frames to memory while the window has room.
    fn refill(&mut self) {
        while let Some(spill) = &mut self.spill {
            let held = self.queue.len() as u64 + self.outstanding;
            let full = held >= u64::from(self.qos.window_frames)
                || self.held_bytes >= self.qos.window_bytes;
            if full && held > 0 {
                return;
            }
            match spill.next() {
                Some(Next::Frame(entry)) => self.push(entry),
                Some(Next::Damaged(count)) => {
                    tracing::error!(link = %self.link, frames = count, "damaged frames on disk are left out");
                    self.count_dropped(DropReason::Corrupt, count);
                }
                None => {
                    if let Some(entry) = self.parked.take() {
                        self.push(entry);
                    }
                    self.trouble = None;
                    return;
                }
            }
        }
    }

    /// Balanced: too many frames or bytes behind the newest.
    fn skip_if_lagging(&mut self) {
        let lags = self.held_frames() > u64::from(self.qos.max_lag)
            || self.held_bytes > self.qos.window_bytes;
        if lags {
            self.skip_to_newest();
        }
    }

    /// Balanced: the frame that is next has waited too long.
    fn skip_if_old(&mut self) {
        let Some(limit) = self.qos.max_age_ms.map(|ms| u64::from(ms) * 1_000_000) else {
            return;
        };
        let now = clock::monotonic_ns();
        let oldest = self.queue.front();
        if oldest.is_some_and(|entry| now.saturating_sub(entry.sent_mono_ns) > limit) {
            self.skip_to_newest();
        }
    }

    fn skip_to_newest(&mut self) {
        while self.queue.len() > 1 {
            let Some(entry) = self.queue.pop_front() else {
                return;
            };
            self.held_bytes = self.held_bytes.saturating_sub(entry.bytes());
            self.count_dropped(DropReason::Skipped, 1);
            self.tell_gap(entry.seq(), DropReason::Skipped);
        }
    }

    /// The next frame for a member. It has to end in [`Self::acked`], [`Self::lost`] or
    /// [`Self::too_large`].
    pub(super) fn take(&mut self) -> Option<Entry> {
        if self.qos.mode == QosMode::Balanced {
            self.skip_if_old();
        }
        let entry = self.queue.pop_front()?;
        self.outstanding += 1;
        Some(entry)
    }

    /// What is to be told in front of frame `seq`.
    pub(super) fn take_gaps(&mut self, seq: u64) -> Vec<Gap> {
        self.gaps.extract_if(.., |gap| gap.to_seq < seq).collect()
    }

    fn tell_gap(&mut self, seq: u64, reason: DropReason) {
        let full = self.gaps.len() >= MAX_GAPS;
        if let Some(last) = self
            .gaps
            .last_mut()
            .filter(|gap| gap.reason == reason.name())
            && (full || last.to_seq.checked_add(1) == Some(seq))
        {
            last.to_seq = seq;
        } else if !full {
            self.gaps.push(Gap {
                from_seq: seq,
                to_seq: seq,
                reason: reason.name().to_owned(),
            });
        }
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
        self.refill();
    }

    /// A member will never take this frame.
    pub(super) fn too_large(&mut self, entry: &Entry) {
        self.release(entry);
        self.count_dropped(DropReason::TooLarge, 1);
        self.refill();
    }

    /// A member was lost with these frames, or left. Durable ones go back to the front, in order.
    /// `died`: the first of them was probably in its loop.
    pub(super) fn lost(&mut self, mut entries: VecDeque<Entry>, died: bool) {
        if !self.keeps_frames() {
            for entry in &entries {
                self.release(entry);
                self.count_dropped(DropReason::ConsumerLost, 1);
            }
            if self.members.is_empty() {
                self.drop_queued(DropReason::NoConsumer);
            }
            return;
        }
        if died && let Some(suspect) = entries.front_mut() {
            suspect.deliveries += 1;
            let suspect = suspect.clone();
            if suspect.deliveries >= self.qos.max_deliveries && self.bury(&suspect) {
                entries.pop_front();
            }
        }
        self.outstanding -= entries.len() as u64;
        for mut entry in entries {
            entry.redelivered = true;
            self.queue.push_back(entry);
        }
        self.queue
            .make_contiguous()
            .sort_by_key(|entry| entry.frame.header.seq);
        if self.qos.mode == QosMode::Balanced {
            self.skip_if_lagging();
        }
        self.refill();
    }

    /// Puts a frame aside that killed its consumer too often. One that can't be put aside goes on.
    fn bury(&mut self, entry: &Entry) -> bool {
        let Some(dead_letters) = &self.dead_letters else {
            return false;
        };
        let (seq, deliveries) = (entry.seq(), entry.deliveries);
        match dead_letters.put(entry) {
            Ok(id) => {
                tracing::warn!(link = %self.link, id, seq, deliveries, "a frame was lost with its consumer too often and is a dead letter now");
            }
            Err(error) => {
                self.set_trouble(&error, "a dead letter can't be put aside");
                return false;
            }
        }
        self.release(entry);
        self.count_dropped(DropReason::DeadLetter, 1);
        self.tell_gap(seq, DropReason::DeadLetter);
        true
    }

    /// Before the end: a member's frames that are to be kept on disk.
    pub(super) fn give_back(&mut self, entries: VecDeque<Entry>) {
        if self.spill.is_some() {
            self.lost(entries, false);
        }
    }

    /// The producer stops: what waits is saved to disk or will not arrive.
    pub(super) fn close(&mut self) {
        self.unpark();
        if let Some(spill) = &mut self.spill {
            let mut queue = std::mem::take(&mut self.queue);
            queue.extend(self.parked.take());
            queue.retain(|entry| !entry.on_disk);
            let saved = spill.save(queue.make_contiguous());
            self.held_bytes = 0;
            if let Err((error, frames)) = saved {
                tracing::error!(link = %self.link, frames, error = %chain(&error), "frames can't be kept for the next start");
                self.count_dropped(DropReason::Undelivered, frames);
            }
            return;
        }
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
            spilled: self.spill.as_ref().map_or(0, Spill::unread),
            spilled_bytes: self.spill.as_ref().map_or(0, Spill::bytes),
            dropped: self.dropped.clone(),
            bytes: self.bytes,
            consumers: u32::try_from(self.members.len()).unwrap_or(u32::MAX),
            trouble: self.trouble.clone(),
        }
    }

    /// Something that a person has to do something about; logged once in a while.
    pub(super) fn set_trouble(&mut self, error: &dyn std::error::Error, effect: &str) {
        let text = format!("link `{}`: {}: {effect}", self.link, chain(error));
        let now = Instant::now();
        let is_due = self
            .trouble_logged
            .is_none_or(|at| now.duration_since(at) >= TROUBLE_LOG_INTERVAL);
        if self.trouble.as_ref() != Some(&text) && is_due {
            tracing::error!(link = %self.link, error = %chain(error), "{effect}");
            self.trouble_logged = Some(now);
        }
        self.trouble = Some(text);
    }

    fn release(&mut self, entry: &Entry) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.held_bytes = self.held_bytes.saturating_sub(entry.bytes());
        if entry.on_disk
            && let Some(spill) = &mut self.spill
        {
            spill.done(entry.seq());
        }
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

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
