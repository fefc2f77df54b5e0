//! Which frames belong together. Pure: no links and no clock; the time is passed in.
//!
//! Every frame that is pushed gets a ticket, and every ticket is finished exactly once, with the
//! reason when the frame was of no use. Frames of one input are taken to be captured in order: the
//! newest capture time of an input is its watermark, and nothing older is waited for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use edgeflow_stream::Frame;
use edgeflow_stream::stats::DropReason;

use super::{Fusion, Policy};

/// A capture time that goes back by more than this is another timeline (a clock that was set, a
/// recording that starts again), and not a frame that is late.
const RESTART_NS: i64 = 2_000_000_000;
/// Index of the primary input.
const PRIMARY: usize = 0;

/// Names a frame that was pushed.
pub(crate) type Ticket = u64;

/// What comes of pushed frames.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// These belong together; the primary one with its ticket, then the others.
    Set(Ticket, Frame, Vec<Option<Frame>>),
    /// A frame is not needed any more: it was in the sets so far, or was of no use.
    Finished(Ticket, Option<DropReason>),
}

/// The frames that wait, and the decisions about them.
#[derive(Debug)]
pub(crate) struct Matcher {
    policy: Policy,
    timeout: Duration,
    partial: bool,
    max_frames: usize,
    max_bytes: usize,
    inputs: Vec<Buffer>,
    /// Capture time of the last primary frame that was decided.
    decided: Option<i64>,
    outcomes: VecDeque<Outcome>,
    next_ticket: Ticket,
}

/// Frames of one input that wait, by capture time.
#[derive(Debug)]
struct Buffer {
    tolerance: Option<i64>,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    watermark: Option<i64>,
    /// Capture time of the last frame that was in a set: older ones are too late.
    used: Option<i64>,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    capture: i64,
    deadline: Instant,
    bytes: usize,
    frame: Frame,
    /// [`Policy::Latest`]: it was in a set, and its ticket is finished.
    used: bool,
}

/// How one input stands towards a primary frame.
enum Choice {
    /// This one, and nothing better can come.
    Sure(usize),
    /// This one so far, if any.
    Open(Option<usize>),
    /// Nothing, and nothing can come.
    None,
}

impl Matcher {
    pub(crate) fn new(fusion: &Fusion) -> Self {
        let buffer = |input: &String| Buffer {
            tolerance: fusion.tolerance_ns(input),
            waiting: VecDeque::new(),
            bytes: 0,
            watermark: None,
            used: None,
        };
        Self {
            policy: fusion.policy,
            timeout: fusion.timeout,
            partial: fusion.partial,
            max_frames: fusion.max_frames.max(1),
            max_bytes: fusion.max_bytes,
            inputs: fusion.inputs().map(buffer).collect(),
            decided: None,
            outcomes: VecDeque::new(),
            next_ticket: 0,
        }
    }

    /// Takes a frame of an input. The outcomes are in [`Self::next`].
    pub(crate) fn push(&mut self, now: Instant, input: usize, frame: Frame) -> Ticket {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let capture = frame.header.capture_ns;
        if input >= self.inputs.len() {
            self.finish(ticket, Some(DropReason::Unmatched));
            return ticket;
        }
        self.advance(input, capture);
        let waiting = Waiting {
            ticket,
            capture,
            deadline: now + self.timeout,
            bytes: frame.encoded_len(),
            frame,
            used: false,
        };
        if self.policy == Policy::Latest {
            self.push_latest(input, waiting);
            return ticket;
        }
        if self.is_late(input, capture) {
            self.finish(ticket, Some(DropReason::UnmatchedLate));
        } else {
            self.make_room(input, waiting.bytes);
            self.inputs[input].insert(waiting);
        }
        self.settle();
        ticket
    }

    /// Nothing older than `capture` will come from an input. A frame says so by itself.
    pub(crate) fn advance(&mut self, input: usize, capture: i64) {
        let Some(buffer) = self.inputs.get_mut(input) else {
            return;
        };
        let before = buffer.watermark.unwrap_or(capture);
        if capture < before.saturating_sub(RESTART_NS) {
            self.restart(input, capture);
        } else {
            buffer.watermark = Some(before.max(capture));
        }
        self.settle();
    }

    /// Decides what the passing of time decides.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((input, index)) = self.overdue(now) {
            let head = self.inputs[PRIMARY].waiting.front();
            let wanted = head.is_some_and(|head| self.is_wanted(input, index, head.capture));
            if input == PRIMARY || wanted {
                self.decide(Some(DropReason::UnmatchedTimeout));
            } else if let Some(waiting) = self.inputs[input].remove(index) {
                self.finish(waiting.ticket, Some(DropReason::UnmatchedTimeout));
            }
            self.settle();
        }
    }

    /// When [`Self::expire`] has something to decide.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.policy == Policy::Latest {
            return None;
        }
        let waiting = self.inputs.iter().flat_map(|buffer| &buffer.waiting);
        waiting.map(|waiting| waiting.deadline).min()
    }

    /// The next outcome.
    pub(crate) fn next(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// Whether the oldest primary frame would take this one.
    fn is_wanted(&self, input: usize, index: usize, capture: i64) -> bool {
        match self.inputs[input].choose(capture) {
            Choice::Sure(chosen) | Choice::Open(Some(chosen)) => chosen == index,
            Choice::Open(None) | Choice::None => false,
        }
    }

    /// The newest of each input is kept, and every primary frame makes a set at once.
    fn push_latest(&mut self, input: usize, waiting: Waiting) {
        if input != PRIMARY {
            let newest = self.inputs[input].waiting.front();
            if newest.is_some_and(|newest| newest.capture > waiting.capture) {
                self.finish(waiting.ticket, Some(DropReason::Superseded));
                return;
            }
            if let Some(older) = self.inputs[input].remove(0)
                && !older.used
            {
                self.finish(older.ticket, Some(DropReason::Superseded));
            }
            self.inputs[input].insert(waiting);
            return;
        }
        let fits =
            |buffer: &Buffer, it: &Waiting| distance(it.capture, waiting.capture) <= buffer.reach();
        let newest = |buffer: &Buffer| {
            let newest = buffer.waiting.front().filter(|it| fits(buffer, it));
            newest.map(|it| it.frame.clone())
        };
        let others: Vec<Option<Frame>> = self.inputs.iter().skip(1).map(newest).collect();
        if !self.partial && others.iter().any(Option::is_none) {
            self.finish(waiting.ticket, Some(DropReason::Unmatched));
            return;
        }
        let mut done = vec![waiting.ticket];
        for (buffer, taken) in self.inputs.iter_mut().skip(1).zip(&others) {
            let newest = buffer.waiting.front_mut();
            if let Some(newest) = newest.filter(|it| taken.is_some() && !it.used) {
                newest.used = true;
                done.push(newest.ticket);
            }
        }
        let set = Outcome::Set(waiting.ticket, waiting.frame, others);
        self.outcomes.push_back(set);
        done.into_iter()
            .for_each(|ticket| self.finish(ticket, None));
    }

    /// Whether the chance of a frame that arrives now is over.
    fn is_late(&self, input: usize, capture: i64) -> bool {
        if input == PRIMARY {
            return self.decided.is_some_and(|decided| capture < decided);
        }
        let buffer = &self.inputs[input];
        buffer.used.is_some_and(|used| capture <= used) || self.is_passed(buffer, capture)
    }

    /// Whether no primary frame that waits or can still come would take a frame of this input.
    fn is_passed(&self, buffer: &Buffer, capture: i64) -> bool {
        let primary = &self.inputs[PRIMARY];
        let oldest = primary.waiting.front().map(|head| head.capture);
        let lowest = oldest.or(primary.watermark);
        // Far older: the primary input may follow to another timeline.
        lowest.is_some_and(|lowest| {
            capture.saturating_add(buffer.reach()) < lowest
                && capture >= lowest.saturating_sub(RESTART_NS)
        })
    }

    /// An input starts another timeline: what it had belongs to the old one.
    fn restart(&mut self, input: usize, capture: i64) {
        if input == PRIMARY {
            self.decided = None;
            self.inputs.iter_mut().for_each(|buffer| buffer.used = None);
        }
        let buffer = &mut self.inputs[input];
        buffer.watermark = Some(capture);
        buffer.used = None;
        buffer.bytes = 0;
        for waiting in std::mem::take(&mut buffer.waiting) {
            if !waiting.used {
                self.finish(waiting.ticket, Some(DropReason::Unmatched));
            }
        }
    }

    /// Frees a place for one more frame of an input.
    fn make_room(&mut self, input: usize, bytes: usize) {
        loop {
            let buffer = &self.inputs[input];
            let crowded = buffer.waiting.len() >= self.max_frames
                || buffer.bytes.saturating_add(bytes) > self.max_bytes;
            if buffer.waiting.is_empty() || !crowded {
                return;
            }
            if input == PRIMARY {
                self.decide(Some(DropReason::UnmatchedOverflow));
            } else if let Some(oldest) = self.inputs[input].remove(0) {
                self.finish(oldest.ticket, Some(DropReason::UnmatchedOverflow));
            }
        }
    }

    /// Decides whatever is sure, and lets go what can't be of use any more.
    fn settle(&mut self) {
        if self.policy == Policy::Latest {
            return;
        }
        while let Some(head) = self.inputs[PRIMARY].waiting.front() {
            let capture = head.capture;
            let others = &self.inputs[1..];
            let mut choices = others.iter().map(|buffer| buffer.choose(capture));
            let open = choices.any(|choice| matches!(choice, Choice::Open(_)));
            // A set that can't be complete any more need not wait for its other parts.
            let mut choices = others.iter().map(|buffer| buffer.choose(capture));
            let lost = !self.partial && choices.any(|choice| matches!(choice, Choice::None));
            if open && !lost {
                break;
            }
            self.decide(None);
        }
        for input in 1..self.inputs.len() {
            while let Some(oldest) = self.inputs[input].waiting.front()
                && self.is_passed(&self.inputs[input], oldest.capture)
            {
                if let Some(waiting) = self.inputs[input].remove(0) {
                    self.finish(waiting.ticket, Some(DropReason::Unmatched));
                }
            }
        }
    }

    /// Decides about the oldest primary frame with what is there. `forced`: why it is decided
    /// before everything is known.
    fn decide(&mut self, forced: Option<DropReason>) {
        let Some(head) = self.inputs[PRIMARY].remove(0) else {
            return;
        };
        self.decided = Some(head.capture);
        let chosen: Vec<Option<usize>> = self.inputs[1..]
            .iter()
            .map(|buffer| match buffer.choose(head.capture) {
                Choice::Sure(index) | Choice::Open(Some(index)) => Some(index),
                Choice::Open(None) | Choice::None => None,
            })
            .collect();
        if !self.partial && chosen.iter().any(Option::is_none) {
            let reason = forced.unwrap_or(DropReason::Unmatched);
            self.finish(head.ticket, Some(reason));
            return;
        }
        let mut others = Vec::with_capacity(chosen.len());
        let mut done = vec![(head.ticket, None)];
        for (buffer, chosen) in self.inputs[1..].iter_mut().zip(chosen) {
            // Older ones would be out of order in a later set.
            for _ in 0..chosen.unwrap_or(0) {
                let skipped = buffer.remove(0);
                done.extend(skipped.map(|it| (it.ticket, Some(DropReason::Unmatched))));
            }
            let taken = chosen.and_then(|_| buffer.remove(0));
            if let Some(taken) = &taken {
                buffer.used = Some(taken.capture);
                done.push((taken.ticket, None));
            }
            others.push(taken.map(|taken| taken.frame));
        }
        self.outcomes
            .push_back(Outcome::Set(head.ticket, head.frame, others));
        for (ticket, reason) in done {
            self.finish(ticket, reason);
        }
    }

    /// The frame that has waited longest, if its time is up.
    fn overdue(&self, now: Instant) -> Option<(usize, usize)> {
        if self.policy == Policy::Latest {
            return None;
        }
        let places = self.inputs.iter().enumerate().flat_map(|(input, buffer)| {
            let waiting = buffer.waiting.iter().enumerate();
            waiting.map(move |(index, waiting)| (waiting.deadline, input, index))
        });
        let (deadline, input, index) = places.min()?;
        (deadline <= now).then_some((input, index))
    }

    fn finish(&mut self, ticket: Ticket, reason: Option<DropReason>) {
        self.outcomes.push_back(Outcome::Finished(ticket, reason));
    }
}

impl Buffer {
    /// Largest distance that is matched.
    fn reach(&self) -> i64 {
        self.tolerance.unwrap_or(i64::MAX)
    }

    fn insert(&mut self, waiting: Waiting) {
        self.bytes += waiting.bytes;
        let after = |it: &Waiting| it.capture <= waiting.capture;
        let index = self.waiting.partition_point(after);
        self.waiting.insert(index, waiting);
    }

    fn remove(&mut self, index: usize) -> Option<Waiting> {
        let waiting = self.waiting.remove(index)?;
        self.bytes -= waiting.bytes;
        Some(waiting)
    }

    /// The nearest frame to a capture time, the older of two that are as near.
    fn choose(&self, capture: i64) -> Choice {
        let near = self.waiting.iter().enumerate();
        let near = near.map(|(index, it)| (distance(it.capture, capture), index));
        let nearest = near.filter(|(far, _)| *far <= self.reach()).min();
        // What still comes is not older than the watermark.
        let coming = self
            .watermark
            .map_or(0, |mark| mark.saturating_sub(capture));
        match nearest {
            Some((far, index)) if far == 0 || coming >= far => Choice::Sure(index),
            Some((_, index)) => Choice::Open(Some(index)),
            None if self.watermark.is_some() && coming > self.reach() => Choice::None,
            None => Choice::Open(None),
        }
    }
}

fn distance(a: i64, b: i64) -> i64 {
    i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;
