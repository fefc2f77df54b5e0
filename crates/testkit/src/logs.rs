//! Reads the JSON log lines of the daemons: a warning or an error means that a person may have to
//! act, so one that a test does not expect is a failure.

use serde_json::Value;

/// WARN and ERROR lines, panics included, that hold none of the `expected` texts.
pub fn unexpected(output: &str, expected: &[String]) -> Vec<String> {
    output
        .lines()
        .filter(|line| is_alarm(line))
        .filter(|line| !expected.iter().any(|text| line.contains(text.as_str())))
        .map(str::to_owned)
        .collect()
}

fn is_alarm(line: &str) -> bool {
    if line.contains("panicked at") {
        return true;
    }
    let level = serde_json::from_str::<Value>(line)
        .ok()
        .and_then(|value| value["level"].as_str().map(str::to_owned));
    matches!(level.as_deref(), Some("WARN" | "ERROR"))
}

#[cfg(test)]
mod tests {
    use super::unexpected;

    #[test]
    fn a_warning_is_unexpected_unless_named() {
        let output = "{\"level\":\"INFO\",\"message\":\"up\"}\n\
            {\"level\":\"WARN\",\"message\":\"disk is full\"}\n\
            thread 'main' panicked at src/main.rs:1\n";
        assert_eq!(unexpected(output, &[]).len(), 2);
        let expected = ["disk is full".to_owned()];
        let left = unexpected(output, &expected);
        assert_eq!(left, ["thread 'main' panicked at src/main.rs:1"]);
    }
}
