//! `motion`: marks what moves, without a model. Brightness is averaged over cells and compared
//! with a slowly following background; cells that differ are joined to boxes.

use edgeflow::{Context, Detection, Input, Node, NodeError, Outputs};
use edgeflow_infer::Coded;
use edgeflow_infer::image::{JpegReader, Luma};
use serde::Deserialize;

use crate::picture::coded;

/// Cells along the longer side of the picture.
const CELLS: usize = 160;
/// The background takes over this part of a change with every picture.
const FOLLOW: f32 = 0.25;
/// Boxes that a picture may have.
const MAX_BOXES: usize = 50;

/// Parameters of `motion`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(default = "default_threshold")]
    threshold: f32,
    #[serde(default = "default_min_area")]
    min_area: f32,
}

fn default_threshold() -> f32 {
    0.05
}

fn default_min_area() -> f32 {
    0.001
}

/// The node.
#[derive(Debug)]
pub(crate) struct Motion {
    threshold: f32,
    min_area: f32,
    reader: JpegReader,
    picture: Luma,
    grid: Grid,
}

/// The cells of the pictures so far.
#[derive(Debug, Default)]
struct Grid {
    /// Pixels a cell is wide and high.
    cell: usize,
    columns: usize,
    rows: usize,
    current: Vec<f32>,
    background: Vec<f32>,
    moving: Vec<bool>,
    stack: Vec<usize>,
}

impl Node for Motion {
    type Params = Params;

    fn setup(_: &mut Context, params: Params) -> Result<Self, NodeError> {
        check_shares(&[
            ("threshold", params.threshold),
            ("min_area", params.min_area),
        ])?;
        Ok(Self {
            threshold: params.threshold,
            min_area: params.min_area,
            reader: JpegReader::new(),
            picture: Luma::default(),
            grid: Grid::default(),
        })
    }

    fn process(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        let mut frame = input.frame;
        match coded("motion", &frame)? {
            Coded::Jpeg(jpeg) => self.reader.read_luma(jpeg, &mut self.picture)?,
            Coded::Raw(raw) => raw.read_luma(&mut self.picture)?,
        }
        let boxes = self
            .grid
            .step(&self.picture, self.threshold * 255.0, self.min_area);
        let mut meta = frame.read_meta()?;
        meta.set_detections(&boxes)?;
        frame.set_meta(&meta);
        out.send("out", frame)
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        check_shares(&[
            ("threshold", params.threshold),
            ("min_area", params.min_area),
        ])?;
        self.threshold = params.threshold;
        self.min_area = params.min_area;
        Ok(())
    }
}

/// Refuses a share that is not from 0 to 1.
pub(crate) fn check_shares(shares: &[(&str, f32)]) -> Result<(), NodeError> {
    match shares
        .iter()
        .find(|(_, share)| !(0.0..=1.0).contains(share))
    {
        None => Ok(()),
        Some((name, share)) => Err(NodeError::new(format!(
            "parameter `{name}`: {share} is not from 0 to 1"
        ))),
    }
}

impl Grid {
    fn step(&mut self, picture: &Luma, threshold: f32, min_area: f32) -> Vec<Detection> {
        self.average(picture);
        if self.background.len() != self.current.len() {
            self.background.clone_from(&self.current);
        }
        self.moving.clear();
        let pairs = self.current.iter().zip(&self.background);
        let differs = pairs.map(|(now, before)| (now - before).abs() > threshold);
        self.moving.extend(differs);
        let min_cells = (min_area * self.moving.len() as f32).max(1.0);
        let mut boxes = Vec::new();
        for start in 0..self.moving.len() {
            if self.moving[start] {
                let (area, found) = self.collect(start);
                if area as f32 >= min_cells {
                    boxes.push(clip(found, picture));
                }
            }
        }
        for (before, now) in self.background.iter_mut().zip(&self.current) {
            *before += (now - *before) * FOLLOW;
        }
        boxes.sort_by(|a, b| (b.w * b.h).total_cmp(&(a.w * a.h)));
        boxes.truncate(MAX_BOXES);
        boxes
    }

    /// Mean brightness of each cell; cells at the right and lower edge may be smaller.
    fn average(&mut self, picture: &Luma) {
        self.cell = picture.width.max(picture.height).div_ceil(CELLS).max(1);
        let columns = picture.width.div_ceil(self.cell);
        let rows = picture.height.div_ceil(self.cell);
        if (columns, rows) != (self.columns, self.rows) {
            self.background.clear();
            (self.columns, self.rows) = (columns, rows);
        }
        self.current.clear();
        let mut sums = vec![0_u32; columns];
        for band in picture.luma.chunks(picture.width.max(1) * self.cell) {
            sums.fill(0);
            let height = band.len().div_ceil(picture.width.max(1));
            for row in band.chunks(picture.width.max(1)) {
                for (sum, cell) in sums.iter_mut().zip(row.chunks(self.cell)) {
                    *sum += cell.iter().map(|value| u32::from(*value)).sum::<u32>();
                }
            }
            for (column, sum) in sums.iter().enumerate() {
                let width = self.cell.min(picture.width - column * self.cell);
                self.current.push(*sum as f32 / (width * height) as f32);
            }
        }
    }

    /// Takes a cell with all moving cells around it; returns their number and box.
    fn collect(&mut self, start: usize) -> (usize, Detection) {
        let (mut left, mut top) = (self.columns, self.rows);
        let (mut right, mut bottom, mut area) = (0, 0, 0);
        let mut strength = 0.0;
        self.moving[start] = false;
        self.stack.push(start);
        while let Some(index) = self.stack.pop() {
            let (x, y) = (index % self.columns, index / self.columns);
            (left, right) = (left.min(x), right.max(x));
            (top, bottom) = (top.min(y), bottom.max(y));
            area += 1;
            strength += (self.current[index] - self.background[index]).abs();
            // Cells two apart belong together: edges of one thing move with still areas between.
            for near_y in y.saturating_sub(2)..(y + 3).min(self.rows) {
                for near_x in x.saturating_sub(2)..(x + 3).min(self.columns) {
                    let near = near_y * self.columns + near_x;
                    if std::mem::take(&mut self.moving[near]) {
                        self.stack.push(near);
                    }
                }
            }
        }
        let pixels = |cells: usize| (cells * self.cell) as f32;
        let found = Detection {
            label: "motion".into(),
            score: (strength / area as f32 / 255.0).clamp(0.0, 1.0),
            x: pixels(left),
            y: pixels(top),
            w: pixels(right + 1 - left),
            h: pixels(bottom + 1 - top),
            outline: Vec::new(),
        };
        (area, found)
    }
}

fn clip(found: Detection, picture: &Luma) -> Detection {
    Detection {
        w: found.w.min(picture.width as f32 - found.x),
        h: found.h.min(picture.height as f32 - found.y),
        ..found
    }
}

#[cfg(test)]
mod tests {
    use edgeflow::testing::{Fixture, Setup, node};
    use edgeflow::{Codec, Frame};
    use serde_json::json;

    use super::*;

    /// A grey picture with a light rectangle.
    fn frame(x: usize, y: usize) -> Frame {
        let mut pixels = vec![40; 320 * 240];
        for row in y..y + 40 {
            pixels[row * 320 + x..][..60].fill(220);
        }
        let mut jpeg = Vec::new();
        jpeg_encoder::Encoder::new(&mut jpeg, 90)
            .encode(&pixels, 320, 240, jpeg_encoder::ColorType::Luma)
            .unwrap();
        Frame::jpeg(320, 240, jpeg)
    }

    fn boxes(fixture: &mut Fixture<Motion>, frame: Frame) -> Vec<Detection> {
        let payload = frame.payload.clone();
        let sent = fixture.process("in", frame).unwrap();
        assert_eq!(sent[0].1.payload, payload, "the payload is untouched");
        sent[0].1.read_meta().unwrap().detections().unwrap()
    }

    fn motion() -> Fixture<Motion> {
        node(&Setup::default(), json!({})).unwrap()
    }

    #[test]
    fn nothing_moves_in_a_still_picture() {
        let mut fixture = motion();
        for _ in 0..3 {
            assert_eq!(boxes(&mut fixture, frame(100, 100)), []);
        }
    }

    #[test]
    fn what_moved_is_inside_a_box() {
        let mut fixture = motion();
        boxes(&mut fixture, frame(100, 100));
        let found = boxes(&mut fixture, frame(130, 100));
        assert_eq!(found.len(), 2, "where it was and where it is: {found:?}");
        for found in &found {
            assert!(found.y >= 96.0 && found.y + found.h <= 144.0, "{found:?}");
            assert!(found.x >= 96.0 && found.x + found.w <= 194.0, "{found:?}");
            assert_eq!(&*found.label, "motion");
            assert!(found.score > 0.2);
        }
    }

    #[test]
    fn a_new_threshold_counts_from_the_next_picture() {
        let mut fixture = motion();
        boxes(&mut fixture, frame(100, 100));
        assert!(!boxes(&mut fixture, frame(130, 100)).is_empty());
        fixture.change_node(json!({"threshold": 1.0})).unwrap();
        assert_eq!(boxes(&mut fixture, frame(200, 100)), []);
        let error = fixture.change_node(json!({"threshold": 2.0})).unwrap_err();
        assert_eq!(error.chain(), "parameter `threshold`: 2 is not from 0 to 1");
        assert_eq!(
            boxes(&mut fixture, frame(20, 100)),
            [],
            "the old value stays"
        );
    }

    #[test]
    fn another_size_begins_anew() {
        let mut fixture = motion();
        boxes(&mut fixture, frame(100, 100));
        let mut jpeg = Vec::new();
        jpeg_encoder::Encoder::new(&mut jpeg, 90)
            .encode(&[200; 21 * 7], 21, 7, jpeg_encoder::ColorType::Luma)
            .unwrap();
        assert_eq!(boxes(&mut fixture, Frame::jpeg(21, 7, jpeg)), []);
    }

    #[test]
    fn other_codecs_and_broken_pictures_are_errors() {
        let mut fixture = motion();
        let error = fixture
            .process("in", Frame::new(Codec::H264, vec![1, 2]))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`motion` needs frames with codec jpeg, nv12, yuyv, rgb8 or grey8, these have codec h264"
        );
        assert!(
            fixture
                .process("in", Frame::jpeg(1, 1, vec![0xff, 0xd8, 0xff]))
                .is_err()
        );
    }
}
