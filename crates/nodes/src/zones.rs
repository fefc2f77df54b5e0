//! `zones`: counts what is in areas of the picture and what crosses lines. Works on the tracks of
//! `track`. The frames go on as they came, with `zones` in their metadata.

mod counter;
mod geometry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use edgeflow::{Context, Input, Node, NodeError, Outputs};
use serde::Deserialize;

use counter::{Counter, Shapes};
use geometry::Point;

/// Zones and lines at most.
const MAX_SHAPES: usize = 32;
/// Corners of a zone at most.
const MAX_CORNERS: usize = 64;
/// Longest `settle_ms`.
const MAX_SETTLE_MS: u32 = 60_000;

/// Parameters of `zones`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(default)]
    zones: BTreeMap<String, Vec<Point>>,
    #[serde(default)]
    lines: BTreeMap<String, Vec<Point>>,
    #[serde(default)]
    labels: Option<Vec<String>>,
    #[serde(default = "default_settle_ms")]
    settle_ms: u32,
}

fn default_settle_ms() -> u32 {
    200
}

/// The node.
#[derive(Debug)]
pub(crate) struct Zones {
    shapes: Shapes,
    labels: Option<Vec<String>>,
    counter: Counter,
}

impl Params {
    fn shapes(&self) -> Result<Shapes, NodeError> {
        if self.zones.len() + self.lines.len() > MAX_SHAPES {
            return Err(NodeError::new(format!(
                "more than {MAX_SHAPES} zones and lines"
            )));
        }
        if self.zones.is_empty() && self.lines.is_empty() {
            return Err(NodeError::new("parameter `zones` or `lines` is needed"));
        }
        for (name, points) in self.zones.iter().chain(&self.lines) {
            if points.iter().flatten().any(|at| !(0.0..=1.0).contains(at)) {
                let text = format!("`{name}`: points are shares of the picture, from 0 to 1");
                return Err(NodeError::new(text));
            }
        }
        for (name, corners) in &self.zones {
            if !(3..=MAX_CORNERS).contains(&corners.len()) {
                let text = format!("zone `{name}` has to have 3 to {MAX_CORNERS} corners");
                return Err(NodeError::new(text));
            }
        }
        let mut lines = BTreeMap::new();
        for (name, points) in &self.lines {
            let line: Result<[Point; 2], _> = points.as_slice().try_into();
            let line =
                line.map_err(|_| NodeError::new(format!("line `{name}` has to have two points")))?;
            lines.insert(name.clone(), line);
        }
        if self.settle_ms > MAX_SETTLE_MS {
            let text = format!("parameter `settle_ms` is more than {MAX_SETTLE_MS}");
            return Err(NodeError::new(text));
        }
        Ok(Shapes {
            zones: self.zones.clone(),
            lines,
            settle_ns: i64::from(self.settle_ms) * 1_000_000,
        })
    }
}

impl Node for Zones {
    type Params = Params;

    fn setup(_: &mut Context, params: Params) -> Result<Self, NodeError> {
        Ok(Self {
            shapes: params.shapes()?,
            labels: params.labels,
            counter: Counter::default(),
        })
    }

    fn process(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        let mut frame = input.frame;
        let mut meta = frame.read_meta()?;
        let Some(mut tracks) = meta.get::<Vec<edgeflow::Track>>(edgeflow::TRACKS)? else {
            return Err(NodeError::new(
                "the frames have no tracks: put a `track` node in front of `zones`",
            ));
        };
        if let Some(labels) = &self.labels {
            tracks.retain(|track| labels.contains(&track.label));
        }
        let size = [
            f32::from(frame.header.width),
            f32::from(frame.header.height),
        ];
        let capture_ns = frame.header.capture_ns;
        let report = self.counter.step(&self.shapes, &tracks, size, capture_ns);
        meta.set("zones", &report)?;
        frame.set_meta(&meta);
        out.send("out", frame)
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        self.shapes = params.shapes()?;
        self.labels = params.labels;
        Ok(())
    }
}
