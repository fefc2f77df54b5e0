//! What a node's counters say that a person should hear of as an event: frames put aside as dead
//! letters. Pure.

use crate::session::node::Stats;

/// Name of the counter, as links count it.
const DEAD_LETTER: &str = "dead_letter";

/// Frames that were put aside between two reports of one process, by link.
pub(super) fn dead_letters(before: Option<&Stats>, after: Option<&Stats>) -> Vec<(String, u64)> {
    let count = |stats: &Stats, link: &str| -> u64 {
        let outputs = stats.outputs.iter().filter(|output| output.link == link);
        outputs.filter_map(|it| it.dropped.get(DEAD_LETTER)).sum()
    };
    let outputs = after.iter().flat_map(|stats| &stats.outputs);
    outputs
        .filter_map(|output| {
            let now = *output.dropped.get(DEAD_LETTER)?;
            let then = before.map_or(0, |stats| count(stats, &output.link));
            Some((output.link.clone(), now.checked_sub(then)?))
        })
        .filter(|(_, more)| *more > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use edgeflow_proto::v1::OutputStats;

    use super::*;

    fn stats(letters: u64) -> Stats {
        Stats {
            outputs: vec![OutputStats {
                link: "a->b".to_owned(),
                dropped: [(DEAD_LETTER.to_owned(), letters)].into(),
                ..OutputStats::default()
            }],
            ..Stats::default()
        }
    }

    #[test]
    fn only_what_is_new_is_told() {
        let more = |before: Option<u64>, after: u64| {
            dead_letters(before.map(stats).as_ref(), Some(&stats(after)))
        };
        assert_eq!(more(None, 0), []);
        assert_eq!(more(Some(2), 2), []);
        assert_eq!(more(Some(1), 3), [("a->b".to_owned(), 2)]);
        assert_eq!(more(None, 1), [("a->b".to_owned(), 1)]);
        // Counters of another process.
        assert_eq!(more(Some(5), 1), []);
        assert_eq!(dead_letters(Some(&stats(1)), None), []);
    }
}
