//! A tapped frame as a line and as JSON.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use edgeflow_proto::v1;
use serde::Serialize;
use serde_json::Value;

use crate::output::{
    colour::Paint,
    time::{local, rfc3339},
};

/// Time over which a rate is taken.
const RATE_WINDOW: Duration = Duration::from_secs(3);
/// Frames remembered for a rate.
const RATE_FRAMES: usize = 1000;
/// Labels named in a line.
const MAX_LABELS: usize = 6;

/// The producer's frames a second, from the numbers of the frames that were seen.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    epoch: u32,
    seen: VecDeque<(u64, Instant)>,
}

impl Rate {
    /// The rate with this frame; nothing for the first.
    pub(crate) fn count(&mut self, epoch: u32, seq: u64, now: Instant) -> Option<f64> {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.seen.clear();
        }
        self.seen.push_back((seq, now));
        while self.seen.len() > RATE_FRAMES
            || self.seen.len() > 2
                && self
                    .seen
                    .front()
                    .is_some_and(|(_, at)| now - *at > RATE_WINDOW)
        {
            self.seen.pop_front();
        }
        let (first, since) = self.seen.front()?;
        let seconds = now.saturating_duration_since(*since).as_secs_f64();
        // Numbers of frames stay far below 2^53.
        (seconds > 0.0).then(|| seq.saturating_sub(*first) as f64 / seconds)
    }
}

/// `tap --json`.
#[derive(Debug, Serialize)]
pub(crate) struct FrameView {
    pub(crate) seq: u64,
    pub(crate) epoch: u32,
    pub(crate) stream_id: u32,
    pub(crate) captured_at: Option<String>,
    pub(crate) capture_ns: i64,
    /// From capture to the control plane, on their clocks.
    pub(crate) age_ms: f64,
    pub(crate) clock_error_us: u32,
    pub(crate) ttl_ms: u32,
    pub(crate) codec: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) stride: u32,
    pub(crate) bytes: u32,
    pub(crate) trace_id: String,
    /// Frames a second that the node makes.
    pub(crate) fps: Option<f64>,
    pub(crate) meta: Value,
}

impl FrameView {
    pub(crate) fn new(frame: v1::TappedFrame, fps: Option<f64>) -> Self {
        let age_ns = frame.received_unix_ns.saturating_sub(frame.capture_unix_ns);
        Self {
            seq: frame.seq,
            epoch: frame.epoch,
            stream_id: frame.stream_id,
            captured_at: rfc3339(frame.capture_unix_ns / 1_000_000),
            capture_ns: frame.capture_unix_ns,
            age_ms: (age_ns / 1000) as f64 / 1000.0,
            clock_error_us: frame.clock_error_us,
            ttl_ms: frame.ttl_ms,
            codec: frame.codec,
            width: frame.width,
            height: frame.height,
            stride: frame.stride,
            bytes: frame.payload_bytes,
            trace_id: frame.trace_id,
            fps: fps.map(|fps| (fps * 10.0).round() / 10.0),
            meta: serde_json::from_str(&frame.meta_json).unwrap_or_default(),
        }
    }

    /// `time  seq  codec size  age  fps  detections`.
    pub(crate) fn line(&self, paint: Paint) -> String {
        let size = match (self.width, self.height) {
            (0, _) | (_, 0) => String::new(),
            (width, height) => format!(" {width}x{height}"),
        };
        let fps = self.fps.map_or("-".to_owned(), |fps| format!("{fps:.1}"));
        format!(
            "{} {:>8} {}{size} {:>8} {:>9} {:>6} {}",
            paint.dim(&local(self.capture_ns / 1_000_000)),
            self.seq,
            self.codec,
            bytes(self.bytes),
            format!("{:.1} ms", self.age_ms),
            format!("{fps} fps"),
            paint.accent(&self.detections()),
        )
        .trim_end()
        .to_owned()
    }

    /// `3 detections: 2 person, 1 cup`.
    fn detections(&self) -> String {
        let Some(found) = self.meta.get("detections").and_then(Value::as_array) else {
            return String::new();
        };
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for label in found.iter().filter_map(|it| it.get("label")?.as_str()) {
            let known = counts.iter_mut().find(|(known, _)| *known == label);
            if let Some((_, count)) = known {
                *count += 1;
            } else if counts.len() < MAX_LABELS {
                counts.push((label, 1));
            }
        }
        let labels: Vec<String> = counts
            .iter()
            .map(|(label, count)| format!("{count} {label}"))
            .collect();
        match found.len() {
            0 => "no detections".to_owned(),
            1 => format!("1 detection: {}", labels.join(", ")),
            count => format!("{count} detections: {}", labels.join(", ")),
        }
    }
}

fn bytes(count: u32) -> String {
    match f64::from(count) {
        count if count < 1000.0 => format!("{count} B"),
        count if count < 1_000_000.0 => format!("{:.1} kB", count / 1e3),
        count => format!("{:.1} MB", count / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_producers_even_when_frames_are_skipped() {
        let start = Instant::now();
        let mut rate = Rate::default();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(rate.count(1, 10, at(0)), None);
        assert_eq!(rate.count(1, 20, at(500)), Some(20.0));
        assert_eq!(rate.count(1, 40, at(1000)), Some(30.0));
        assert_eq!(
            rate.count(2, 1, at(1100)),
            None,
            "a new life of the producer"
        );
    }

    #[test]
    fn a_line_has_what_a_person_looks_for() {
        let frame = v1::TappedFrame {
            seq: 7,
            codec: "jpeg".to_owned(),
            width: 640,
            height: 480,
            capture_unix_ns: 1_700_000_000_000_000_000,
            received_unix_ns: 1_700_000_000_012_300_000,
            payload_bytes: 45_678,
            meta_json: r#"{"detections":[{"label":"cup"},{"label":"cup"},{"label":"cat"}]}"#
                .to_owned(),
            ..Default::default()
        };
        let view = FrameView::new(frame, Some(29.97));
        let line = view.line(Paint(false));
        for part in [
            "7 jpeg 640x480",
            "45.7 kB",
            "12.3 ms",
            "30.0 fps",
            "3 detections: 2 cup, 1 cat",
        ] {
            assert!(line.contains(part), "{line}");
        }
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(json["meta"]["detections"][2]["label"], "cat");
        assert_eq!(json["captured_at"], "2023-11-14T22:13:20Z");
    }
}
