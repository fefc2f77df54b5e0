//! Remembers which frames of a durable link went through the loop, so that a redelivery after a
//! lost acknowledgement is not processed twice.

use std::collections::{HashSet, VecDeque};

/// Frames remembered. A producer redelivers at most what it was not told of, which is bounded by
/// the credits of one connection, far below this.
const MAX_REMEMBERED: usize = 1024;

/// What names a frame: stream, epoch, number.
pub(super) type FrameId = (u32, u32, u64);

#[derive(Debug, Default)]
pub(super) struct Seen {
    order: VecDeque<FrameId>,
    ids: HashSet<FrameId>,
}

impl Seen {
    pub(super) fn contains(&self, id: &FrameId) -> bool {
        self.ids.contains(id)
    }

    pub(super) fn insert(&mut self, id: FrameId) {
        if !self.ids.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_are_remembered() {
        let mut seen = Seen::default();
        for seq in 0..=MAX_REMEMBERED as u64 {
            seen.insert((1, 1, seq));
            seen.insert((1, 1, seq));
        }
        assert!(!seen.contains(&(1, 1, 0)));
        assert!(seen.contains(&(1, 1, 1)));
        assert_eq!(seen.order.len(), seen.ids.len());
    }
}
