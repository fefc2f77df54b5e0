//! Medians, percentiles and the JSON line that every benchmark ends with.

use serde_json::{Value, json};

/// Prints the figures.
pub(crate) fn print(bench: &str, rows: &[Value]) {
    for row in rows {
        println!("{row}");
    }
    println!("{}", json!({"bench": bench, "rows": rows}));
}

/// The value below which `percent` of the values lie; 0 of none.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * percent / 100.0).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// The middle value.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

#[cfg(test)]
mod tests {
    use super::{median, percentile};

    #[test]
    fn percentiles_of_a_shuffled_list() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert!((median(&values) - 3.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 100.0) - 5.0).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }
}
