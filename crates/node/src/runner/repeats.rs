//! Keeps a loop that fails at every frame from filling the log.

use std::time::{Duration, Instant};

/// The same text is logged once in this time.
const INTERVAL: Duration = Duration::from_secs(5);
/// Different texts are logged this far apart.
const MIN_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(super) struct Repeats {
    last: Option<(String, Instant)>,
    suppressed: u64,
}

impl Repeats {
    /// Whether to log `text` now: how many were left out before it.
    pub(super) fn admit(&mut self, text: &str, now: Instant) -> Option<u64> {
        if let Some((last, at)) = &self.last {
            let interval = if last == text { INTERVAL } else { MIN_INTERVAL };
            if now.saturating_duration_since(*at) < interval {
                self.suppressed += 1;
                return None;
            }
        }
        self.last = Some((text.to_owned(), now));
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_counted_instead_of_logged() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        assert_eq!(repeats.admit("a", start), Some(0));
        assert_eq!(repeats.admit("a", start + INTERVAL / 2), None);
        assert_eq!(repeats.admit("b", start + INTERVAL / 2), Some(1));
        assert_eq!(repeats.admit("b", start + INTERVAL), None);
    }
}
