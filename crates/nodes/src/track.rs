//! `track`: gives detections numbers that stay with a thing from picture to picture. The frames go on
//! as they came, with `tracks` in their metadata.

mod assignment;
mod kalman;
#[cfg(test)]
mod tests;
mod tracker;

use edgeflow::{Context, Input, Node, NodeError, Outputs};
use serde::Deserialize;

use crate::motion::check_shares;
use tracker::{Settings, Tracker};

/// Longest time that a lost track may be remembered, milliseconds.
const MAX_REMEMBER_MS: u32 = 60_000;

/// Parameters of `track`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(default = "default_threshold")]
    threshold: f32,
    #[serde(default = "default_remember_ms")]
    remember_ms: u32,
}

fn default_threshold() -> f32 {
    0.5
}

fn default_remember_ms() -> u32 {
    1000
}

impl Params {
    fn settings(&self) -> Result<Settings, NodeError> {
        check_shares(&[("threshold", self.threshold)])?;
        if self.remember_ms > MAX_REMEMBER_MS {
            return Err(NodeError::new(format!(
                "parameter `remember_ms`: {} is more than {MAX_REMEMBER_MS}",
                self.remember_ms
            )));
        }
        Ok(Settings {
            sure: self.threshold,
            remember_ns: i64::from(self.remember_ms) * 1_000_000,
        })
    }
}

/// The node.
#[derive(Debug)]
pub(crate) struct TrackNode {
    tracker: Tracker,
}

impl Node for TrackNode {
    type Params = Params;

    fn setup(_: &mut Context, params: Params) -> Result<Self, NodeError> {
        Ok(Self {
            tracker: Tracker::new(params.settings()?),
        })
    }

    fn process(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        let mut frame = input.frame;
        let mut meta = frame.read_meta()?;
        let tracks = self
            .tracker
            .step(meta.detections()?, frame.header.capture_ns);
        meta.set_tracks(&tracks)?;
        frame.set_meta(&meta);
        out.send("out", frame)
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        self.tracker.set(params.settings()?);
        Ok(())
    }
}
