//! Reads what a link says about the order of frames that went through replicas.

use super::Decoder;
use crate::{
    qos::{DEFAULT_ORDER_TIMEOUT_MS, LinkQos},
    source::Mark,
};

/// The options, in brackets or as fields.
pub(super) const OPTIONS: [&str; 2] = ["ordered", "order_timeout"];

/// Longest wait of a frame for those before it.
const TIMEOUT_MAX_MS: u64 = 60_000;

impl Decoder<'_> {
    /// Reads the options that are about order; leaves the others alone.
    pub(super) fn order(&mut self, qos: &mut LinkQos, values: &[(&str, &str, Mark)]) {
        let find = |wanted: &str| values.iter().find(|(name, ..)| *name == wanted);
        let mut ordered = None;
        if let Some((_, text, mark)) = find("ordered") {
            match *text {
                "" | "true" => ordered = Some(true),
                "false" => ordered = Some(false),
                other => self.error(
                    "invalid-value",
                    *mark,
                    format!("`ordered` can't be `{other}`"),
                    "write `ordered` or `ordered=true`",
                ),
            }
        }
        let mut timeout_ms = DEFAULT_ORDER_TIMEOUT_MS;
        if let Some((name, text, mark)) = find("order_timeout") {
            match self.duration_text(text, *mark, name) {
                Some(value) if (1..=TIMEOUT_MAX_MS).contains(&value) => {
                    timeout_ms = u32::try_from(value).unwrap_or(timeout_ms);
                    if ordered == Some(false) {
                        self.error(
                            "qos-option",
                            *mark,
                            "`order_timeout` has no meaning on a link that is not ordered",
                            "remove it, or say `ordered`",
                        );
                    }
                    ordered = ordered.or(Some(true));
                }
                Some(_) => self.error(
                    "out-of-range",
                    *mark,
                    "`order_timeout` is out of range",
                    "from `1ms` to `1m`",
                ),
                None => {}
            }
        }
        qos.order_timeout_ms = (ordered == Some(true)).then_some(timeout_ms);
    }
}
