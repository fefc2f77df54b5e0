//! Events and log lines as `-o json` prints them, and as lines for people.

use edgeflow_proto::v1;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::output::{
    colour::{Paint, Style},
    time::{local, rfc3339},
};

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EventView {
    pub(crate) id: u64,
    pub(crate) at: Option<String>,
    /// info | warning | error
    pub(crate) severity: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) system: String,
    pub(crate) node: String,
    pub(crate) instance: String,
    pub(crate) device: String,
    pub(crate) device_id: String,
    pub(crate) details: Vec<String>,
    /// Path of its picture on the control plane; null: none.
    pub(crate) picture: Option<String>,
    #[serde(skip)]
    at_unix_ms: i64,
}

impl From<v1::Event> for EventView {
    fn from(event: v1::Event) -> Self {
        Self {
            id: event.id,
            at: rfc3339(event.at_unix_ms),
            severity: event.severity,
            reason: event.reason,
            message: event.message,
            system: event.system,
            node: event.node,
            instance: event.instance,
            device: event.device_name,
            device_id: event.device_id,
            details: event.details,
            picture: event
                .has_picture
                .then(|| format!("/events/{}/picture", event.id)),
            at_unix_ms: event.at_unix_ms,
        }
    }
}

impl EventView {
    /// One line, and the details indented below it.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let style = match self.severity.as_str() {
            "error" => Style::Bad,
            "warning" => Style::Warn,
            _ => Style::Accent,
        };
        let subject = if self.instance.is_empty() {
            &self.system
        } else {
            &self.instance
        };
        let place = [self.device.as_str(), subject.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        let mut text = format!(
            "{} {}",
            paint.dim(&local(self.at_unix_ms)),
            paint.style(style, &self.reason)
        );
        if !place.is_empty() {
            text.push_str(&format!(" {}", paint.bold(&place)));
        }
        text.push_str(&format!(": {}", self.message));
        for detail in &self.details {
            text.push_str(&format!("\n    {}", paint.dim(detail)));
        }
        text
    }
}

/// One line of a node's output.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LogView {
    pub(crate) at: Option<String>,
    pub(crate) system: String,
    pub(crate) node: String,
    pub(crate) instance: String,
    pub(crate) device: String,
    /// stdout | stderr | agent
    pub(crate) stream: String,
    pub(crate) text: String,
    #[serde(skip)]
    at_unix_ms: i64,
}

impl From<v1::LogLine> for LogView {
    fn from(line: v1::LogLine) -> Self {
        Self {
            at: rfc3339(line.at_unix_ms),
            system: line.system,
            node: line.node,
            instance: line.instance,
            device: line.device_name,
            stream: line.stream,
            text: line.text,
            at_unix_ms: line.at_unix_ms,
        }
    }
}

impl LogView {
    /// `time device instance | text`. A structured line is shown as text unless `raw`.
    pub(crate) fn line(&self, paint: Paint, raw: bool) -> String {
        let text = if raw {
            self.text.clone()
        } else {
            structured(&self.text, paint).unwrap_or_else(|| self.text.clone())
        };
        format!(
            "{} {} {} {text}",
            paint.dim(&local(self.at_unix_ms)),
            paint.accent(&format!("{} {}", self.device, self.instance)),
            paint.dim("|"),
        )
    }
}

/// Keys of a structured line that the prefix shows already, or that say nothing to a person.
const HIDDEN_KEYS: [&str; 6] = ["timestamp", "level", "message", "target", "span", "spans"];

/// `level message key=value …` of a JSON log line; nothing for other text.
pub(crate) fn structured(text: &str, paint: Paint) -> Option<String> {
    if !text.starts_with('{') {
        return None;
    }
    let fields: Map<String, Value> = serde_json::from_str(text).ok()?;
    let level = fields.get("level")?.as_str()?;
    let message = fields.get("message")?.as_str()?;
    let style = match level {
        "ERROR" => Style::Bad,
        "WARN" => Style::Warn,
        _ => Style::Dim,
    };
    let mut out = format!("{} {message}", paint.style(style, &level.to_lowercase()));
    for (key, value) in fields
        .iter()
        .filter(|(key, _)| !HIDDEN_KEYS.contains(&key.as_str()))
    {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        out.push_str(&format!(" {}{value}", paint.dim(&format!("{key}="))));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structured_lines_become_text_and_other_lines_stay() {
        let line =
            r#"{"timestamp":"x","level":"WARN","message":"no signal","source":"cam","tries":3}"#;
        assert_eq!(
            structured(line, Paint(false)).as_deref(),
            Some("warn no signal source=cam tries=3")
        );
        assert_eq!(structured("{not json", Paint(false)), None);
        assert_eq!(structured(r#"{"a":1}"#, Paint(false)), None);
    }
}
