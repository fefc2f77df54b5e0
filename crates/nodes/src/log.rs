//! `log`: a sink that writes one line about the newest frame at an interval.

use std::time::{Duration, Instant};

use edgeflow::{Context, Detection, Frame, Input, Node, NodeError, Outputs, clock, tracing};
use serde::Deserialize;

/// Labels named in a line.
const MAX_LABELS: usize = 10;

/// Parameters of `log`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(default = "default_every_ms")]
    every_ms: u64,
}

fn default_every_ms() -> u64 {
    1000
}

impl Params {
    fn every(&self) -> Result<Duration, NodeError> {
        if self.every_ms == 0 {
            return Err(NodeError::new(
                "parameter `every_ms`: it has to be at least 1",
            ));
        }
        Ok(Duration::from_millis(self.every_ms))
    }
}

/// The node.
#[derive(Debug)]
pub(crate) struct Log {
    every: Duration,
    last_line: Option<Instant>,
    frames: u64,
    lines: u64,
}

impl Node for Log {
    type Params = Params;

    fn setup(_: &mut Context, params: Params) -> Result<Self, NodeError> {
        Ok(Self {
            every: params.every()?,
            last_line: None,
            frames: 0,
            lines: 0,
        })
    }

    fn process(&mut self, input: Input, _: &mut Outputs) -> Result<(), NodeError> {
        self.frames += 1;
        if !self.is_due() {
            return Ok(());
        }
        let frame = input.frame;
        let header = &frame.header;
        let detections = frame.read_meta()?.detections()?;
        tracing::info!(
            frames = self.frames,
            seq = header.seq,
            codec = header.codec.name(),
            width = header.width,
            height = header.height,
            bytes = frame.payload.len(),
            age_ms = age_ms(&frame),
            detections = summary(&detections),
            "frame"
        );
        self.frames = 0;
        Ok(())
    }

    fn process_error(&mut self, input: Input, _: &mut Outputs) -> Result<(), NodeError> {
        if self.is_due() {
            let error = input.frame.read_meta()?.error().unwrap_or_default();
            tracing::info!(error, "no frame");
        }
        Ok(())
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        self.every = params.every()?;
        Ok(())
    }
}

impl Log {
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        if self.last_line.is_some_and(|last| now - last < self.every) {
            return false;
        }
        self.last_line = Some(now);
        self.lines += 1;
        true
    }
}

fn age_ms(frame: &Frame) -> i64 {
    (clock::unix_ns() - frame.header.capture_ns) / 1_000_000
}

/// `2 person, 1 cup`, in order of first appearance.
fn summary(detections: &[Detection]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for detection in detections {
        let known = counts
            .iter_mut()
            .find(|(label, _)| *label == detection.label);
        if let Some((_, count)) = known {
            *count += 1;
        } else if counts.len() < MAX_LABELS {
            counts.push((&detection.label, 1));
        }
    }
    let words: Vec<String> = counts
        .iter()
        .map(|(label, n)| format!("{n} {label}"))
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use edgeflow::testing::{Setup, node};
    use serde_json::json;

    use super::*;

    #[test]
    fn detections_are_counted_by_label() {
        let at = |label: &str| Detection {
            label: label.into(),
            ..Detection::default()
        };
        let found = [at("person"), at("cup"), at("person")];
        assert_eq!(summary(&found), "2 person, 1 cup");
        assert_eq!(summary(&[]), "");
    }

    #[test]
    fn one_line_in_an_interval_whatever_comes() {
        let setup = Setup {
            outputs: Vec::new(),
            ..Setup::default()
        };
        let mut fixture = node::<Log>(&setup, json!({"every_ms": 3_600_000})).unwrap();
        for _ in 0..3 {
            fixture.process("in", Frame::jpeg(1, 1, vec![])).unwrap();
            fixture.process("in", Frame::error("no signal")).unwrap();
        }
        assert_eq!((fixture.node.lines, fixture.node.frames), (1, 2));
        assert!(fixture.change_node(json!({"every_ms": 0})).is_err());
        fixture.process("in", Frame::jpeg(1, 1, vec![])).unwrap();
        assert_eq!(fixture.node.lines, 1, "the old interval stays");
        fixture.node.last_line = Instant::now().checked_sub(Duration::from_secs(1));
        fixture.change_node(json!({"every_ms": 1})).unwrap();
        fixture.process("in", Frame::jpeg(1, 1, vec![])).unwrap();
        assert_eq!(fixture.node.lines, 2);
    }
}
