//! `tracing:` of a system: which frames tell of their way.

use super::Decoder;
use super::fields::{Fields, Shape};
use crate::system::{DEFAULT_TRACE_EVERY, MAX_TRACE_EVERY};

/// Fields of `spec.tracing`.
const TRACING: Shape = Shape {
    what: "`tracing`",
    known: &["sample"],
    unsupported: &[],
    elsewhere: &[],
};

impl Decoder<'_> {
    /// One in so many; 0: none.
    pub(super) fn tracing(&mut self, spec: &Fields<'_>) -> u32 {
        let Some(fields) = spec
            .get("tracing")
            .and_then(|node| self.fields(node, &TRACING))
        else {
            return DEFAULT_TRACE_EVERY;
        };
        let Some(node) = self.required(&fields, "sample") else {
            return DEFAULT_TRACE_EVERY;
        };
        let Some(text) = self.plain(node, "sample") else {
            return DEFAULT_TRACE_EVERY;
        };
        parse(text).unwrap_or_else(|| {
            self.error(
                "invalid-value",
                node.mark,
                format!("`sample` can't be `{text}`"),
                format!("write `1/100` for one frame in a hundred (up to `1/{MAX_TRACE_EVERY}`), `1` for all, `0` for none"),
            );
            DEFAULT_TRACE_EVERY
        })
    }
}

fn parse(text: &str) -> Option<u32> {
    match text.split_once('/') {
        None if text == "0" => Some(0),
        None if text == "1" => Some(1),
        Some((share, every)) if share.trim() == "1" => {
            let every = every.trim().parse().ok()?;
            (1..=MAX_TRACE_EVERY).contains(&every).then_some(every)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_in_so_many_all_or_none() {
        for (text, every) in [("1/100", 100), ("1 / 3", 3), ("1", 1), ("0", 0), ("1/1", 1)] {
            assert_eq!(parse(text), Some(every), "{text}");
        }
        for bad in ["1/0", "2/3", "-1", "0.01", "1/1000001", "often", "1/x", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
