//! What publishers and subscribers count, as plain data for whoever reports it.

use std::collections::BTreeMap;

use edgeflow_spec::qos::QosMode;

use crate::histogram::Summary;
use crate::subscriber::ClockOffset;

/// Why a frame was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Realtime: a newer frame took its place.
    Superseded,
    /// Realtime: nobody of the group is connected.
    NoConsumer,
    /// Realtime: too old when it reached the loop.
    Expired,
    /// Realtime: its consumer was lost before the loop returned.
    ConsumerLost,
    /// Durable: the window is full and its `on_full` is `fail`, or the disk takes no more from a live
    /// source.
    Overflow,
    /// Balanced: the consumer lagged too far behind.
    Skipped,
    /// Durable and balanced: put aside, its consumer died with it too often.
    DeadLetter,
    /// Durable: damaged on disk.
    Corrupt,
    /// Over the consumer's size limit.
    TooLarge,
    /// The producer stopped first.
    Undelivered,
    /// At the consumer: a repetition of a frame that went through the loop.
    Duplicate,
    /// At the consumer of an ordered realtime link: newer frames have gone before it.
    Late,
    /// At the consumer of an ordered durable link: newer frames have gone before it. It is given
    /// to the loop all the same.
    OutOfTurn,
    /// At a fusion: nothing to match it came, or can still come.
    Unmatched,
    /// At a fusion: it came when the frames around it had been matched.
    UnmatchedLate,
    /// At a fusion: its time was up before something to match it came.
    UnmatchedTimeout,
    /// At a fusion: too many frames of its input waited.
    UnmatchedOverflow,
}

impl DropReason {
    /// The name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::NoConsumer => "no_consumer",
            Self::Expired => "expired",
            Self::ConsumerLost => "consumer_lost",
            Self::Overflow => "overflow",
            Self::Skipped => "skipped",
            Self::DeadLetter => "dead_letter",
            Self::Corrupt => "corrupt",
            Self::TooLarge => "too_large",
            Self::Undelivered => "undelivered",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
            Self::OutOfTurn => "out_of_turn",
            Self::Unmatched => "unmatched",
            Self::UnmatchedLate => "unmatched_late",
            Self::UnmatchedTimeout => "unmatched_timeout",
            Self::UnmatchedOverflow => "unmatched_overflow",
        }
    }
}

/// Dropped frames by reason.
pub type Dropped = BTreeMap<DropReason, u64>;

/// The producer's side of one consumer group. At every moment
/// `produced == delivered + sum(dropped) + in_flight`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStats {
    /// Link id.
    pub link: String,
    /// Group name.
    pub group: String,
    /// Quality of service.
    pub qos: QosMode,
    /// Transport name.
    pub transport: &'static str,
    /// Why this transport and not a faster one, if there is something to tell.
    pub transport_reason: String,
    /// Frames that were sent while the group existed.
    pub produced: u64,
    /// Frames that a consumer's loop is done with.
    pub delivered: u64,
    /// Frames that wait, travel, or are in a consumer's loop.
    pub in_flight: u64,
    /// Of these, frames that are on disk only.
    pub spilled: u64,
    /// Bytes on disk, with frames that are in memory as well or done with.
    pub spilled_bytes: u64,
    /// Frames that will not arrive.
    pub dropped: Dropped,
    /// Bytes of the delivered frames.
    pub bytes: u64,
    /// Connected members.
    pub consumers: u32,
    /// What a person has to do something about, in words.
    pub trouble: Option<String>,
}

impl GroupStats {
    /// Whether no frame is unaccounted for.
    pub fn is_conserved(&self) -> bool {
        let dropped: u64 = self.dropped.values().sum();
        self.produced == self.delivered + dropped + self.in_flight
    }
}

/// The consumer's side of one link. `hop` and `age` cover the time since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputStats {
    /// Link id.
    pub link: String,
    /// Input port.
    pub port: String,
    /// Frames given to the loop.
    pub frames: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Frames not given to the loop. `expired` is counted by the producer as well.
    pub dropped: Dropped,
    /// Frames that the producer said will never come. It counts them by reason.
    pub missing: u64,
    /// Producer's send to this loop.
    pub hop: Summary,
    /// Capture to this loop.
    pub age: Summary,
    /// Producers connected.
    pub connected: u32,
    /// Producers configured.
    pub expected: u32,
    /// How far the clocks of the producer that sent last are from ours, if it is on another machine.
    pub clock: Option<ClockOffset>,
}
