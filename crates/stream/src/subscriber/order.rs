//! Puts frames that went through replicas back into the order of their capture. Frames are known by
//! what their trace says of the first producer: stream, epoch and number. Pure: the time is passed
//! in. Never holds a frame for longer than the timeout, nor more than a bounded number of frames.
//!
//! A frame may go when nothing older can still come: the one before it has gone, or every source (a
//! replica) has sent something newer. A number that is missing because a frame was superseded
//! therefore costs until the other sources' next frames, and not the timeout. A source that let a
//! frame time out is not waited for until it sends again, so that a frozen replica costs one
//! timeout and not one for every frame.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::frame::Header;

/// Frames held of one link; more means that the oldest go out of turn.
const MAX_HELD_FRAMES: usize = 256;
/// Bytes held of one link.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;
/// Origins remembered; the one that was quiet for longest is forgotten first.
const MAX_ORIGINS: usize = 64;

/// The first producer of a frame: its stream and life.
type Origin = [u8; 8];

/// Frames of one link, from several sources.
#[derive(Debug)]
pub(super) struct Order<T> {
    timeout: Duration,
    sources: usize,
    origins: BTreeMap<Origin, Lane<T>>,
    frames: usize,
    bytes: usize,
    clock: u64,
}

/// Frames of one origin.
#[derive(Debug)]
struct Lane<T> {
    held: BTreeMap<u64, Vec<Held<T>>>,
    /// The newest number that went.
    gone: Option<u64>,
    /// The newest number of each source.
    newest: Vec<Option<u64>>,
    /// Sources that are not waited for.
    absent: Vec<bool>,
    used: u64,
}

#[derive(Debug)]
struct Held<T> {
    deadline: Instant,
    bytes: usize,
    item: T,
}

/// Splits a trace in origin and number.
fn origin_of(header: &Header) -> (Origin, u64) {
    let trace = &header.trace_id;
    let (mut origin, mut number) = ([0; 8], [0; 8]);
    origin.copy_from_slice(&trace[..8]);
    number.copy_from_slice(&trace[8..]);
    (origin, u64::from_le_bytes(number))
}

impl<T> Order<T> {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            sources: 0,
            origins: BTreeMap::new(),
            frames: 0,
            bytes: 0,
            clock: 0,
        }
    }

    /// One more source; its index.
    pub(super) fn add_source(&mut self) -> usize {
        self.sources += 1;
        self.sources - 1
    }

    /// Takes a frame of a source. Comes back at once when its turn is over: it is late.
    pub(super) fn push(
        &mut self,
        now: Instant,
        source: usize,
        header: &Header,
        bytes: usize,
        item: T,
    ) -> Option<T> {
        let (origin, number) = origin_of(header);
        self.clock += 1;
        if !self.origins.contains_key(&origin) && self.origins.len() >= MAX_ORIGINS {
            self.forget_an_origin();
        }
        let sources = self.sources;
        let lane = self.origins.entry(origin).or_insert_with(|| Lane {
            held: BTreeMap::new(),
            gone: None,
            newest: vec![None; sources],
            absent: vec![false; sources],
            used: 0,
        });
        lane.used = self.clock;
        if let (Some(newest), Some(absent)) =
            (lane.newest.get_mut(source), lane.absent.get_mut(source))
        {
            *newest = (*newest).max(Some(number));
            *absent = false;
        }
        // A second frame made of the capture that went last is in order.
        if lane.gone.is_some_and(|gone| number < gone) {
            return Some(item);
        }
        let deadline = now + self.timeout;
        lane.held.entry(number).or_default().push(Held {
            deadline,
            bytes,
            item,
        });
        self.frames += 1;
        self.bytes += bytes;
        None
    }

    /// The next frame that may go.
    pub(super) fn pop(&mut self, now: Instant) -> Option<T> {
        let full = self.frames > MAX_HELD_FRAMES || self.bytes > MAX_HELD_BYTES;
        for lane in self.origins.values_mut() {
            lane.give_up_on_the_late(now);
            if let Some(held) = lane.pop() {
                return Some(self.count_gone(held));
            }
        }
        if full {
            let crowded = self.origins.values_mut().max_by_key(|lane| lane.held.len());
            let held = crowded.and_then(Lane::pop_first)?;
            return Some(self.count_gone(held));
        }
        None
    }

    fn count_gone(&mut self, held: Held<T>) -> T {
        self.frames -= 1;
        self.bytes -= held.bytes;
        held.item
    }

    /// When a frame may go though nothing arrives.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let held = self.origins.values().flat_map(|lane| lane.held.values());
        held.flatten().map(|held| held.deadline).min()
    }

    fn forget_an_origin(&mut self) {
        let idle = self.origins.iter().filter(|(_, lane)| lane.held.is_empty());
        let oldest = idle.min_by_key(|(_, lane)| lane.used).map(|(key, _)| *key);
        if let Some(origin) = oldest {
            self.origins.remove(&origin);
        }
    }
}

impl<T> Lane<T> {
    /// Sources that a frame waited for until its time was up are not waited for any more.
    fn give_up_on_the_late(&mut self, now: Instant) {
        let due = |held: &Vec<Held<T>>| held.iter().any(|held| held.deadline <= now);
        let overdue = self.held.iter().rev().find(|(_, held)| due(held));
        let Some((&number, _)) = overdue else {
            return;
        };
        for (newest, absent) in self.newest.iter().zip(&mut self.absent) {
            *absent |= *newest < Some(number);
        }
    }

    fn pop(&mut self) -> Option<Held<T>> {
        let (&number, _) = self.held.first_key_value()?;
        let follows = self.gone.is_some_and(|gone| number <= gone + 1);
        let sources = self.newest.iter().zip(&self.absent);
        let passed = |(newest, absent): (&Option<u64>, &bool)| *absent || *newest >= Some(number);
        if follows || sources.into_iter().all(passed) {
            return self.pop_first();
        }
        None
    }

    fn pop_first(&mut self) -> Option<Held<T>> {
        let mut first = self.held.first_entry()?;
        let number = *first.key();
        let held = first.get_mut().remove(0);
        if first.get().is_empty() {
            first.remove();
        }
        self.gone = self.gone.max(Some(number));
        Some(held)
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
