//! `redact`: makes what was found in a picture unrecognisable. A frame that nobody has looked at, or
//! whose metadata can't be read, is refused and not passed on as it is.

use edgeflow::{Context, Input, Node, NodeError, Outputs};
use edgeflow_infer::image::Picture;
use serde::Deserialize;

use crate::picture::{Pixels, Thing, things};

/// Blocks of a mosaic along the shorter side of a box.
const BLOCKS: usize = 6;
/// Smallest block, pixels: a small face has few pixels as it is.
const MIN_BLOCK: usize = 8;
const FILL: [u8; 3] = [24, 26, 30];

/// Parameters of `redact`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(default)]
    labels: Option<Vec<String>>,
    #[serde(default)]
    mode: Mode,
    #[serde(default = "default_margin")]
    margin: f32,
    #[serde(default = "default_quality")]
    quality: u8,
}

/// How a box is covered.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Mosaic,
    Fill,
}

fn default_margin() -> f32 {
    0.15
}

fn default_quality() -> u8 {
    80
}

/// The node.
#[derive(Debug)]
pub(crate) struct Redact {
    params: Params,
    pixels: Pixels,
}

impl Node for Redact {
    type Params = Params;

    fn setup(_: &mut Context, params: Params) -> Result<Self, NodeError> {
        check(&params)?;
        Ok(Self {
            params,
            pixels: Pixels::default(),
        })
    }

    fn process(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        let frame = input.frame;
        let found = things(&frame.read_meta()?)?.ok_or_else(|| {
            NodeError::new(
                "the frame has neither detections nor tracks: link `detect` or `track` before `redact`",
            )
        })?;
        let wanted = |thing: &&Thing| match &self.params.labels {
            Some(labels) => labels.contains(&thing.label),
            None => true,
        };
        self.pixels.read("redact", &frame)?;
        for thing in found.iter().filter(wanted) {
            let picture = &mut self.pixels.picture;
            if let Some(area) = Area::of(thing, self.params.margin, picture) {
                match self.params.mode {
                    Mode::Mosaic => area.mosaic(picture),
                    Mode::Fill => area.fill(picture, FILL),
                }
            }
        }
        // The picture is coded anew even if nothing was covered: a JPEG of a camera may hold a
        // thumbnail of the whole.
        out.send("out", self.pixels.frame(&frame, self.params.quality)?)
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        check(&params)?;
        self.params = params;
        Ok(())
    }
}

fn check(params: &Params) -> Result<(), NodeError> {
    if (0.0..=2.0).contains(&params.margin) {
        return Ok(());
    }
    Err(NodeError::new(format!(
        "parameter `margin`: {} is not from 0 to 2",
        params.margin
    )))
}

/// A part of a picture, within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Area {
    /// The box of a thing with a margin, which is a share of its sides; `None`: outside.
    fn of(thing: &Thing, margin: f32, picture: &Picture) -> Option<Self> {
        let [x, y, w, h] = thing.at;
        if !(x.is_finite() && y.is_finite() && w.is_finite() && h.is_finite()) {
            // It is somewhere: better too much than too little.
            return Some(Self {
                left: 0,
                top: 0,
                right: picture.width,
                bottom: picture.height,
            });
        }
        // A cast to an integer keeps within its range.
        let edge = |value: f32, most: usize| (value.max(0.0) as usize).min(most);
        let (dx, dy) = (w.abs() * margin, h.abs() * margin);
        let area = Self {
            left: edge((x - dx).floor(), picture.width),
            top: edge((y - dy).floor(), picture.height),
            right: edge((x + w + dx).ceil(), picture.width),
            bottom: edge((y + h + dy).ceil(), picture.height),
        };
        (area.left < area.right && area.top < area.bottom).then_some(area)
    }

    fn row(self, picture: &mut Picture, y: usize) -> &mut [u8] {
        let start = (y * picture.width + self.left) * 3;
        &mut picture.rgb[start..start + (self.right - self.left) * 3]
    }

    fn fill(self, picture: &mut Picture, colour: [u8; 3]) {
        for y in self.top..self.bottom {
            for pixel in self.row(picture, y).chunks_exact_mut(3) {
                pixel.copy_from_slice(&colour);
            }
        }
    }

    /// Blocks of one colour each, the mean of theirs.
    fn mosaic(self, picture: &mut Picture) {
        let shorter = (self.right - self.left).min(self.bottom - self.top);
        let block = (shorter / BLOCKS).max(MIN_BLOCK);
        for top in (self.top..self.bottom).step_by(block) {
            for left in (self.left..self.right).step_by(block) {
                let part = Self {
                    left,
                    top,
                    right: (left + block).min(self.right),
                    bottom: (top + block).min(self.bottom),
                };
                let colour = part.mean(picture);
                part.fill(picture, colour);
            }
        }
    }

    fn mean(self, picture: &mut Picture) -> [u8; 3] {
        let mut sums = [0_u64; 3];
        for y in self.top..self.bottom {
            for pixel in self.row(picture, y).chunks_exact(3) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += u64::from(*value);
                }
            }
        }
        let count = ((self.right - self.left) * (self.bottom - self.top)).max(1) as u64;
        sums.map(|sum| u8::try_from(sum / count).unwrap_or(u8::MAX))
    }
}

#[cfg(test)]
mod tests {
    use edgeflow::testing::{Fixture, Setup, node};
    use edgeflow::{Codec, Detection, Frame};
    use edgeflow_infer::image::JpegReader;
    use serde_json::{Value, json};

    use super::*;

    /// 64x64 pixels in black and white stripes of 1 pixel.
    fn striped(boxes: Option<&[Detection]>) -> Frame {
        let rgb: Vec<u8> = (0..64 * 64)
            .flat_map(|at| [if at % 2 == 0 { 0 } else { 255 }; 3])
            .collect();
        let mut frame = Frame::new(Codec::Rgb8, rgb);
        (frame.header.width, frame.header.height) = (64, 64);
        if let Some(boxes) = boxes {
            let mut meta = frame.read_meta().unwrap();
            meta.set_detections(boxes).unwrap();
            frame.set_meta(&meta);
        }
        frame
    }

    fn found(label: &str, x: f32, w: f32) -> Detection {
        Detection {
            label: label.to_owned(),
            score: 0.9,
            x,
            y: 16.0,
            w,
            h: 32.0,
            outline: Vec::new(),
        }
    }

    fn run(fixture: &mut Fixture<Redact>, frame: Frame) -> Picture {
        let sent = fixture.process("in", frame).unwrap();
        assert_eq!(sent[0].1.header.codec, Codec::Jpeg);
        let mut picture = Picture::default();
        JpegReader::new()
            .read(&sent[0].1.payload, &mut picture)
            .unwrap();
        picture
    }

    /// Largest difference between neighbours in a row: stripes have much, a covered area little.
    fn detail(picture: &Picture, y: usize, from: usize, to: usize) -> u8 {
        let value = |x: usize| picture.rgb[(y * picture.width + x) * 3];
        let pairs = (from + 1..to).map(|x| value(x).abs_diff(value(x - 1)));
        pairs.max().unwrap_or(0)
    }

    fn redact(params: Value) -> Fixture<Redact> {
        node(&Setup::default(), params).unwrap()
    }

    #[test]
    fn what_was_found_is_covered_and_the_rest_is_not() {
        for mode in ["mosaic", "fill"] {
            let params = json!({"mode": mode, "quality": 100, "margin": 0});
            let mut fixture = redact(params);
            let picture = run(&mut fixture, striped(Some(&[found("face", 16.0, 32.0)])));
            assert!(detail(&picture, 32, 20, 44) < 40, "{mode}");
            assert!(detail(&picture, 32, 0, 14) > 150, "{mode}");
            assert!(detail(&picture, 8, 20, 44) > 150, "{mode}");
        }
    }

    #[test]
    fn only_the_labels_asked_for_are_covered() {
        let mut fixture = redact(json!({"labels": ["face"], "quality": 100}));
        let boxes = [found("cup", 0.0, 20.0), found("face", 40.0, 20.0)];
        let picture = run(&mut fixture, striped(Some(&boxes)));
        assert!(detail(&picture, 32, 2, 18) > 150);
        assert!(detail(&picture, 32, 42, 58) < 40);
    }

    #[test]
    fn a_frame_that_nobody_looked_at_does_not_pass() {
        let mut fixture = redact(json!({}));
        let error = fixture.process("in", striped(None)).unwrap_err();
        assert!(error.chain().contains("neither detections nor tracks"));
        // Looked at, and nothing was there.
        let picture = run(&mut fixture, striped(Some(&[])));
        assert!(detail(&picture, 32, 0, 64) > 100);
    }

    #[test]
    fn boxes_beyond_the_picture_and_nonsense_cover_and_never_panic() {
        let mut fixture = redact(json!({"mode": "fill", "quality": 100}));
        for (x, w) in [
            (-1e9, 2e9),
            (f32::NAN, 1.0),
            (0.0, f32::INFINITY),
            (-20.0, 100.0),
        ] {
            let picture = run(&mut fixture, striped(Some(&[found("face", x, w)])));
            assert!(detail(&picture, 32, 2, 62) < 40, "{x} {w}");
        }
        for (x, w) in [(500.0, 10.0), (10.0, -5.0), (5.0, 0.0)] {
            run(&mut fixture, striped(Some(&[found("face", x, w)])));
        }
        let error = node::<Redact>(&Setup::default(), json!({"margin": 9})).unwrap_err();
        assert_eq!(error.chain(), "parameter `margin`: 9 is not from 0 to 2");
    }
}
