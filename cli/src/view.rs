//! The shapes that `-o json` prints: own structs with stable field names, so that a change of the
//! protocol does not change scripts. Times are RFC 3339 or null. Conversions only; no printing.

pub(crate) mod camera;
pub(crate) mod dead_letter;
pub(crate) mod device;
pub(crate) mod event;
pub(crate) mod frame;
pub(crate) mod instance;
pub(crate) mod model;
pub(crate) mod params;
pub(crate) mod plan;
pub(crate) mod revision;
pub(crate) mod system;
pub(crate) mod token;

use std::collections::BTreeMap;

/// `a=1,b=2`; `-` for none.
pub(crate) fn labels_text(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return "-".to_owned();
    }
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

fn sorted<V>(map: std::collections::HashMap<String, V>) -> BTreeMap<String, V> {
    map.into_iter().collect()
}
