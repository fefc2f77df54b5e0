//! `pattern`: a moving test card. The clock in the picture is the frame's capture time.

use edgeflow::{Context, Frame, NodeError, Outputs, Source, Step, clock};
use edgeflow_capture::pattern::TestCard;
use serde::Deserialize;

/// Parameters of `pattern`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(default = "default_size")]
    size: String,
    #[serde(default = "default_fps")]
    fps: f64,
    #[serde(default = "default_quality")]
    quality: u8,
}

fn default_size() -> String {
    "640x480".to_owned()
}

fn default_fps() -> f64 {
    30.0
}

fn default_quality() -> u8 {
    80
}

/// The node.
#[derive(Debug)]
pub(crate) struct Pattern {
    card: TestCard,
    size: (u16, u16),
    fps: f64,
    number: u64,
}

impl Source for Pattern {
    type Params = Params;

    fn setup(_: &mut Context, params: Params) -> Result<Self, NodeError> {
        check_rate(params.fps)?;
        let size = parse_size(&params.size).ok_or_else(|| {
            NodeError::new(format!(
                "parameter `size`: `{}` is not a picture size like 640x480",
                params.size
            ))
        })?;
        Ok(Self {
            card: TestCard::new(size.0, size.1, params.quality)?,
            size,
            fps: params.fps,
            number: 0,
        })
    }

    fn fps(&self) -> Option<f64> {
        Some(self.fps)
    }

    fn produce(&mut self, out: &mut Outputs) -> Result<Step, NodeError> {
        self.number += 1;
        let (now, monotonic) = (clock::unix_ns(), clock::monotonic_ns());
        let jpeg = self.card.jpeg(self.number, now / 1_000_000)?;
        let mut frame = Frame::jpeg(self.size.0, self.size.1, jpeg);
        frame.header.capture_ns = now;
        frame.header.capture_mono_ns = monotonic;
        out.send("out", frame)?;
        Ok(Step::Continue)
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        check_rate(params.fps)?;
        self.fps = params.fps;
        self.card.set_quality(params.quality);
        Ok(())
    }
}

fn check_rate(fps: f64) -> Result<(), NodeError> {
    if (1.0..=240.0).contains(&fps) {
        return Ok(());
    }
    Err(NodeError::new(format!(
        "parameter `fps`: {fps} is not from 1 to 240"
    )))
}

/// `WIDTHxHEIGHT`.
pub(crate) fn parse_size(text: &str) -> Option<(u16, u16)> {
    let (width, height) = text.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use edgeflow::testing::{Setup, source};
    use edgeflow_capture::jpeg;
    use serde_json::json;

    use super::*;

    #[test]
    fn frames_have_the_size_and_the_rate_asked_for() {
        let params = json!({"size": "320x200", "fps": 12});
        let mut fixture = source::<Pattern>(&Setup::default(), params).unwrap();
        assert_eq!(fixture.node.fps(), Some(12.0));
        let (step, sent) = fixture.produce().unwrap();
        assert_eq!((step, sent.len()), (Step::Continue, 1));
        let frame = &sent[0].1;
        assert_eq!((frame.header.width, frame.header.height), (320, 200));
        let size = jpeg::inspect(&frame.payload).unwrap();
        assert_eq!((size.width, size.height), (320, 200));
    }

    #[test]
    fn rate_and_quality_change_while_it_runs_and_a_bad_rate_does_not() {
        let params = json!({"size": "320x200", "fps": 12, "quality": 90});
        let mut fixture = source::<Pattern>(&Setup::default(), params).unwrap();
        let (_, fine) = fixture.produce().unwrap();
        let changed = json!({"size": "320x200", "fps": 5, "quality": 10});
        fixture.change_source(changed).unwrap();
        assert_eq!(fixture.node.fps(), Some(5.0));
        let (_, coarse) = fixture.produce().unwrap();
        assert!(coarse[0].1.payload.len() < fine[0].1.payload.len());
        let error = fixture.change_source(json!({"fps": 0})).unwrap_err();
        assert_eq!(error.chain(), "parameter `fps`: 0 is not from 1 to 240");
        assert_eq!(fixture.node.fps(), Some(5.0));
    }

    #[test]
    fn bad_parameters_are_named() {
        for (params, part) in [
            (json!({"size": "large"}), "`size`: `large`"),
            (json!({"size": "0x5"}), "0x5 is not supported"),
            (json!({"fps": 0}), "`fps`: 0 is not"),
            (json!({"fsp": 1}), "unknown parameter `fsp`"),
        ] {
            let error = source::<Pattern>(&Setup::default(), params).unwrap_err();
            assert!(error.chain().contains(part), "{}", error.chain());
        }
    }
}
