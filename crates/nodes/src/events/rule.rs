//! When something is an event: what is seen has to hold for a while, and is over when it was not seen for
//! a while. Pure: time is passed in.

/// How a rule judges.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limits {
    /// Things at least.
    pub(super) at_least: u32,
    /// So long without a break, nanoseconds.
    pub(super) for_ns: i64,
    /// Over when it did not hold for so long.
    pub(super) pause_ns: i64,
}

/// What a frame changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It holds, since that time.
    Began,
    /// It is over; how long it held, nanoseconds.
    Ended(i64),
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Rule {
    /// Since when it holds without a break, before it counts.
    holds_since: Option<i64>,
    /// Since when it counts, and when it last held.
    counts: Option<(i64, i64)>,
}

impl Rule {
    /// Takes a frame with `count` things, captured at `now_ns`.
    pub(super) fn step(&mut self, limits: &Limits, count: u32, now_ns: i64) -> Option<Change> {
        let holds = count >= limits.at_least;
        if let Some((since, last)) = &mut self.counts {
            if holds {
                *last = (*last).max(now_ns);
                return None;
            }
            if now_ns - *last < limits.pause_ns {
                return None;
            }
            let lasted = *last - *since;
            self.counts = None;
            return Some(Change::Ended(lasted));
        }
        if !holds {
            self.holds_since = None;
            return None;
        }
        let since = *self.holds_since.get_or_insert(now_ns);
        if now_ns - since < limits.for_ns {
            return None;
        }
        self.holds_since = None;
        self.counts = Some((since, now_ns));
        Some(Change::Began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        at_least: 2,
        for_ns: 10,
        pause_ns: 20,
    };

    fn changes(counts: &[(i64, u32)]) -> Vec<(i64, Change)> {
        let mut rule = Rule::default();
        let step = |(now, count): &(i64, u32)| Some((*now, rule.step(&LIMITS, *count, *now)?));
        counts.iter().filter_map(step).collect()
    }

    #[test]
    fn what_holds_long_enough_begins_once_and_ends_after_the_pause() {
        let seen = [
            (0, 1),
            (5, 2),
            (10, 3),
            (15, 2),
            (20, 0),
            (30, 2),
            (45, 1),
            (50, 1),
            (90, 0),
        ];
        assert_eq!(
            changes(&seen),
            [(15, Change::Began), (50, Change::Ended(25))]
        );
    }

    #[test]
    fn a_flicker_is_nothing() {
        assert_eq!(changes(&[(0, 2), (5, 0), (9, 2), (15, 0), (40, 2)]), []);
    }
}
