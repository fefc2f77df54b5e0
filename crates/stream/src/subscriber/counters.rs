//! Counters of one link at its consumer.

use std::time::Duration;

use super::ClockOffset;
use crate::histogram::Histogram;
use crate::stats::{DropReason, Dropped, InputStats};

#[derive(Debug)]
pub(super) struct Counters {
    link: String,
    port: String,
    frames: u64,
    bytes: u64,
    dropped: Dropped,
    missing: u64,
    hop: Histogram,
    age: Histogram,
    pub(super) connected: u32,
    expected: u32,
    /// Of the producer that sent last.
    pub(super) clock: Option<ClockOffset>,
}

/// The counters of a link at a port, which one more producer feeds.
pub(super) fn index_of(all: &mut Vec<Counters>, link: &str, port: &str) -> usize {
    let found = all.iter().position(|c| c.link == link && c.port == port);
    let index = found.unwrap_or_else(|| {
        all.push(Counters {
            link: link.to_owned(),
            port: port.to_owned(),
            frames: 0,
            bytes: 0,
            dropped: Dropped::new(),
            missing: 0,
            hop: Histogram::default(),
            age: Histogram::default(),
            connected: 0,
            expected: 0,
            clock: None,
        });
        all.len() - 1
    });
    all[index].expected += 1;
    index
}

impl Counters {
    pub(super) fn count(&mut self, bytes: usize, hop: Option<Duration>, age: Duration) {
        self.frames += 1;
        self.bytes += bytes as u64;
        if let Some(hop) = hop {
            self.hop.record(hop);
        }
        self.age.record(age);
    }

    pub(super) fn count_dropped(&mut self, reason: DropReason) {
        *self.dropped.entry(reason).or_default() += 1;
    }

    pub(super) fn count_missing(&mut self, count: u64) {
        self.missing = self.missing.saturating_add(count);
    }

    pub(super) fn take(&mut self) -> InputStats {
        InputStats {
            link: self.link.clone(),
            port: self.port.clone(),
            frames: self.frames,
            bytes: self.bytes,
            dropped: self.dropped.clone(),
            missing: self.missing,
            hop: self.hop.take(),
            age: self.age.take(),
            connected: self.connected,
            expected: self.expected,
            clock: self.clock,
        }
    }
}
