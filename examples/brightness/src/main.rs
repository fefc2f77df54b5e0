//! A node as a user writes it. It looks at every picture and adds what it found to the frame's
//! metadata: the size of the JPEG, the frames a second, and a mean brightness, which it gets from
//! raw frames only (a JPEG would have to be decoded first; it is passed on without it).

use std::time::{Duration, Instant};

use edgeflow::{Codec, Context, Frame, Input, Node, NodeError, Outputs, Parameter};
use serde::{Deserialize, Serialize};

/// `with:` in system.yaml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Pictures with fewer bytes raise a condition: a covered lens makes small JPEGs.
    #[serde(default)]
    min_bytes: usize,
}

/// Written to every frame as meta key `brightness`.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
struct Measured {
    bytes: usize,
    fps: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<f32>,
}

struct Brightness {
    min_bytes: usize,
    window: Window,
}

impl Node for Brightness {
    type Params = Params;

    fn parameters() -> Vec<Parameter> {
        vec![
            Parameter::integer("min_bytes", 0, 100_000_000)
                .default(0)
                .live()
                .summary("Pictures with fewer bytes raise a condition."),
        ]
    }

    fn setup(_: &mut Context, params: Params) -> Result<Self, NodeError> {
        Ok(Self {
            min_bytes: params.min_bytes,
            window: Window::new(Instant::now()),
        })
    }

    fn process(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        let mut frame = input.frame;
        let bytes = frame.payload.len();
        if bytes < self.min_bytes {
            let text = format!("pictures of {bytes} bytes: is the lens covered?");
            out.condition().set(text);
        } else {
            out.condition().clear();
        }
        let measured = Measured {
            bytes,
            fps: self.window.tick(Instant::now()),
            mean: mean(&frame),
        };
        // Capture time, trace and everything other nodes wrote stay as they are.
        let mut meta = frame.read_meta()?;
        meta.set("brightness", &measured)?;
        frame.set_meta(&meta);
        out.send("out", frame)
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        self.min_bytes = params.min_bytes;
        Ok(())
    }
}

/// Mean of all bytes of a raw RGB picture, 0 to 1.
fn mean(frame: &Frame) -> Option<f32> {
    if frame.header.codec != Codec::Rgb8 || frame.payload.is_empty() {
        return None;
    }
    let sum: u64 = frame.payload.iter().map(|byte| u64::from(*byte)).sum();
    Some((sum as f64 / frame.payload.len() as f64 / 255.0) as f32)
}

/// Frames a second, over the last second.
struct Window {
    since: Instant,
    frames: u32,
    fps: f32,
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            frames: 0,
            fps: 0.0,
        }
    }

    fn tick(&mut self, now: Instant) -> f32 {
        self.frames += 1;
        let passed = now - self.since;
        if passed >= Duration::from_secs(1) {
            self.fps = self.frames as f32 / passed.as_secs_f32();
            self.since = now;
            self.frames = 0;
        }
        self.fps
    }
}

fn main() -> std::process::ExitCode {
    edgeflow::run_node::<Brightness>()
}

#[cfg(test)]
mod tests {
    use edgeflow::testing::{Setup, node};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_measured_is_in_the_meta_and_the_picture_is_untouched() {
        let mut fixture = node::<Brightness>(&Setup::default(), json!({"min_bytes": 100})).unwrap();
        let frame = Frame::new(Codec::Rgb8, vec![51; 30]);
        let sent = fixture.process("in", frame.clone()).unwrap();
        let [(port, result)] = sent.as_slice() else {
            panic!("one frame in, one frame out")
        };
        assert_eq!(port, "out");
        assert_eq!(result.payload, frame.payload);
        let measured: Measured = result
            .read_meta()
            .unwrap()
            .get("brightness")
            .unwrap()
            .unwrap();
        assert_eq!((measured.bytes, measured.mean), (30, Some(0.2)));
        assert_eq!(
            fixture.condition(),
            "pictures of 30 bytes: is the lens covered?"
        );
        fixture.change_node(json!({"min_bytes": 10})).unwrap();
        fixture.process("in", frame).unwrap();
        assert_eq!(fixture.condition(), "");
    }

    #[test]
    fn a_misspelt_parameter_is_named() {
        let error = node::<Brightness>(&Setup::default(), json!({"min_byte": 1})).err();
        assert_eq!(
            error.map(|error| error.to_string()).as_deref(),
            Some("unknown parameter `min_byte`; expected `min_bytes`")
        );
    }
}
