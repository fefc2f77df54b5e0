//! `draw`: burns boxes, labels, zones and lines into the picture, for recordings and for programs that
//! show pictures and know nothing of metadata. The metadata goes on as well.

use edgeflow::{Context, Input, Meta, Node, NodeError, Outputs};
use edgeflow_infer::image::Picture;
use embedded_graphics::mono_font::ascii::{FONT_6X10, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::prelude::{
    Dimensions, DrawTarget, Drawable, OriginDimensions, Pixel, Point, PointsIter, Primitive, Size,
};
use embedded_graphics::primitives::{Line, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use serde::Deserialize;

use crate::picture::{Pixels, Thing, things};

/// Things and shapes drawn on one picture.
const MAX_DRAWN: usize = 200;
/// Lines of all shapes and outlines on one picture.
const MAX_LINES: usize = 10_000;
/// Characters of a label.
const MAX_LABEL: usize = 40;
/// Pictures at least this wide get the large font.
const WIDE: usize = 960;
/// Told apart on dark and light pictures, as in the dashboard; a label keeps its colour.
const COLOURS: [Rgb888; 8] = [
    Rgb888::new(0x4a, 0xde, 0x80),
    Rgb888::new(0x38, 0xbd, 0xf8),
    Rgb888::new(0xfb, 0xbf, 0x24),
    Rgb888::new(0xf4, 0x72, 0xb6),
    Rgb888::new(0xa7, 0x8b, 0xfa),
    Rgb888::new(0xfb, 0x92, 0x3c),
    Rgb888::new(0x2d, 0xd4, 0xbf),
    Rgb888::new(0xf8, 0x71, 0x71),
];

/// Parameters of `draw`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(default = "yes")]
    boxes: bool,
    #[serde(default = "yes")]
    text: bool,
    #[serde(default = "yes")]
    zones: bool,
    #[serde(default = "default_quality")]
    quality: u8,
}

fn yes() -> bool {
    true
}

fn default_quality() -> u8 {
    80
}

/// What `zones` writes, as far as it is drawn.
#[derive(Debug, Default, Deserialize)]
struct Shapes {
    #[serde(default)]
    zones: Vec<Zone>,
    #[serde(default)]
    lines: Vec<Crossed>,
}

#[derive(Debug, Deserialize)]
struct Zone {
    name: String,
    points: Vec<[f32; 2]>,
    #[serde(default)]
    count: u64,
}

#[derive(Debug, Deserialize)]
struct Crossed {
    name: String,
    points: Vec<[f32; 2]>,
    #[serde(default)]
    forward: u64,
    #[serde(default)]
    backward: u64,
}

/// The node.
#[derive(Debug)]
pub(crate) struct Draw {
    params: Params,
    pixels: Pixels,
}

impl Node for Draw {
    type Params = Params;

    fn setup(_: &mut Context, params: Params) -> Result<Self, NodeError> {
        Ok(Self {
            params,
            pixels: Pixels::default(),
        })
    }

    fn process(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        let frame = input.frame;
        let meta = frame.read_meta()?;
        self.pixels.read("draw", &frame)?;
        let mut canvas = Canvas::new(&mut self.pixels.picture, self.params.text);
        if self.params.zones {
            canvas.shapes(&read_shapes(&meta)?);
        }
        if self.params.boxes {
            let found = things(&meta)?.unwrap_or_default();
            found
                .iter()
                .take(MAX_DRAWN)
                .for_each(|thing| canvas.thing(thing));
        }
        out.send("out", self.pixels.frame(&frame, self.params.quality)?)
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        self.params = params;
        Ok(())
    }
}

fn read_shapes(meta: &Meta) -> Result<Shapes, NodeError> {
    Ok(meta.get("zones")?.unwrap_or_default())
}

/// A picture to draw on.
struct Canvas<'a> {
    picture: &'a mut Picture,
    font: &'static MonoFont<'static>,
    stroke: u32,
    text: bool,
    lines_left: usize,
}

impl<'a> Canvas<'a> {
    fn new(picture: &'a mut Picture, text: bool) -> Self {
        let wide = picture.width >= WIDE;
        Self {
            picture,
            font: if wide { &FONT_10X20 } else { &FONT_6X10 },
            stroke: if wide { 3 } else { 2 },
            text,
            lines_left: MAX_LINES,
        }
    }

    fn thing(&mut self, thing: &Thing) {
        let [x, y, w, h] = thing.at.map(whole);
        let (Ok(w), Ok(h)) = (u32::try_from(w), u32::try_from(h)) else {
            return;
        };
        let (colour, text) = match thing.track {
            Some(id) => (
                colour_of(&format!("track {id}")),
                format!("{} #{id}", short(&thing.label)),
            ),
            None => (
                colour_of(&thing.label),
                format!("{} {:.0}%", short(&thing.label), thing.score * 100.0),
            ),
        };
        if thing.outline.is_empty() {
            let at = Rectangle::new(Point::new(x, y), Size::new(w, h));
            let style = PrimitiveStyle::with_stroke(colour, self.stroke);
            draw(&at.into_styled(style), self);
        } else {
            self.lines(&points(&thing.outline), true, colour);
        }
        self.label(&text, Point::new(x, y), colour);
    }

    fn shapes(&mut self, shapes: &Shapes) {
        for zone in shapes.zones.iter().take(MAX_DRAWN) {
            let text = format!("{} {}", short(&zone.name), zone.count);
            self.line(&zone.points, true, colour_of(&zone.name), &text);
        }
        for line in shapes.lines.iter().take(MAX_DRAWN) {
            let (name, forward, backward) = (short(&line.name), line.forward, line.backward);
            let text = format!("{name} {forward} fwd, {backward} back");
            self.line(&line.points, false, colour_of(&line.name), &text);
        }
    }

    fn line(&mut self, shape: &[[f32; 2]], closed: bool, colour: Rgb888, text: &str) {
        let points = points(shape);
        self.lines(&points, closed, colour);
        if let Some(first) = points.first() {
            self.label(text, *first, colour);
        }
    }

    fn lines(&mut self, points: &[Point], closed: bool, colour: Rgb888) {
        for pair in points.windows(2) {
            self.segment(pair[0], pair[1], colour);
        }
        if let (Some(first), Some(last), true) = (points.first(), points.last(), closed) {
            self.segment(*last, *first, colour);
        }
    }

    /// The library's own thick lines overflow beyond a few thousand pixels.
    fn segment(&mut self, from: Point, to: Point, colour: Rgb888) {
        let stroke = i32_of(self.stroke);
        let Some(line) = clip(from, to, self.size(), stroke) else {
            return;
        };
        let Some(left) = self.lines_left.checked_sub(1) else {
            return;
        };
        self.lines_left = left;
        for point in line.points() {
            let corner = point - Point::new_equal(stroke / 2);
            let square = Rectangle::new(corner, Size::new_equal(self.stroke));
            let pixels = square.points().map(|point| Pixel(point, colour));
            let Ok(()) = self.draw_iter(pixels);
        }
    }

    /// A text on its colour, above a point if there is room, within the picture.
    fn label(&mut self, text: &str, at: Point, colour: Rgb888) {
        if !self.text {
            return;
        }
        let style = MonoTextStyle::new(self.font, Rgb888::BLACK);
        let text = Text::with_baseline(text, Point::zero(), style, Baseline::Top);
        let size = text.bounding_box().size + Size::new(6, 2);
        let (width, height) = (i32_of(size.width), i32_of(size.height));
        let most = i32::try_from(self.picture.width).unwrap_or(i32::MAX) - width;
        let y = if at.y >= height { at.y - height } else { at.y };
        let corner = Point::new(at.x.min(most).max(0), y.max(0));
        let ground = Rectangle::new(corner, size);
        draw(&ground.into_styled(PrimitiveStyle::with_fill(colour)), self);
        let text = Text {
            position: corner + Point::new(3, 1),
            ..text
        };
        draw(&text, self);
    }
}

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
        Size::new(side(self.picture.width), side(self.picture.height))
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Self::Error> {
        for Pixel(point, colour) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(point.x), usize::try_from(point.y)) else {
                continue;
            };
            if x < self.picture.width && y < self.picture.height {
                let at = (y * self.picture.width + x) * 3;
                self.picture.rgb[at..at + 3].copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

/// Drawing on memory does not fail.
fn draw<T>(shape: &impl Drawable<Color = Rgb888, Output = T>, canvas: &mut Canvas<'_>) {
    match shape.draw(canvas) {
        Ok(_) => {}
        Err(never) => match never {},
    }
}

/// The part of a line within a picture with a margin around it (Liang and Barsky 1984).
fn clip(from: Point, to: Point, size: Size, margin: i32) -> Option<Line> {
    let along = to - from;
    let (mut start, mut end) = (0.0_f64, 1.0_f64);
    for (at, by, pixels) in [
        (from.x, along.x, size.width),
        (from.y, along.y, size.height),
    ] {
        let room = (
            f64::from(-margin - at),
            f64::from(i32_of(pixels) + margin - at),
        );
        if by == 0 {
            if room.0 > 0.0 || room.1 < 0.0 {
                return None;
            }
            continue;
        }
        let ends = (room.0 / f64::from(by), room.1 / f64::from(by));
        start = start.max(ends.0.min(ends.1));
        end = end.min(ends.0.max(ends.1));
    }
    let at = |share: f64| {
        let pixels = |by: i32| (f64::from(by) * share).round() as i32;
        from + Point::new(pixels(along.x), pixels(along.y))
    };
    (start <= end).then(|| Line::new(at(start), at(end)))
}

/// Of a shape or an outline, as many as are drawn.
fn points(shape: &[[f32; 2]]) -> Vec<Point> {
    let near = |[x, y]: &[f32; 2]| Point::new(whole(*x), whole(*y));
    shape.iter().take(MAX_DRAWN).map(near).collect()
}

/// A coordinate that is near the picture: what is far away costs time for pixels nobody sees.
fn whole(value: f32) -> i32 {
    const FAR: f32 = 40_000.0;
    // The cast keeps within its range, and makes 0 of what is no number.
    value.clamp(-FAR, FAR).round() as i32
}

fn i32_of(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// The fonts have ASCII only.
fn short(label: &str) -> String {
    let ascii = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    label.chars().take(MAX_LABEL).map(ascii).collect()
}

fn colour_of(label: &str) -> Rgb888 {
    let hash = label.encode_utf16().fold(0_u32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(u32::from(unit))
    });
    COLOURS[hash as usize % COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use edgeflow::testing::{Setup, node};
    use edgeflow::{Codec, Detection, Frame};
    use edgeflow_infer::image::JpegReader;
    use serde_json::{Value, json};

    use super::*;

    fn grey(boxes: &[Detection]) -> Frame {
        let mut frame = Frame::new(Codec::Grey8, vec![60; 200 * 100]);
        (frame.header.width, frame.header.height) = (200, 100);
        let mut meta = frame.read_meta().unwrap();
        meta.set_detections(boxes).unwrap();
        let zone = BTreeMap::from([
            ("name", json!("door")),
            (
                "points",
                json!([[150.0, 10.0], [190.0, 10.0], [190.0, 90.0]]),
            ),
            ("count", json!(3)),
        ]);
        let shapes = BTreeMap::from([("zones", vec![zone])]);
        meta.set("zones", &shapes).unwrap();
        frame.set_meta(&meta);
        frame
    }

    fn drawn(params: Value, boxes: &[Detection]) -> Picture {
        let mut fixture = node::<Draw>(&Setup::default(), params).unwrap();
        let sent = fixture.process("in", grey(boxes)).unwrap();
        let frame = &sent[0].1;
        assert_eq!(
            frame.read_meta().unwrap().detections().unwrap().len(),
            boxes.len()
        );
        let mut picture = Picture::default();
        JpegReader::new()
            .read(&frame.payload, &mut picture)
            .unwrap();
        picture
    }

    fn found(x: f32, w: f32) -> Detection {
        Detection {
            label: "person".to_owned(),
            score: 0.87,
            x,
            y: 40.0,
            w,
            h: 40.0,
            outline: Vec::new(),
        }
    }

    /// How far a pixel is from the grey ground.
    fn changed(picture: &Picture, x: usize, y: usize) -> u8 {
        let at = (y * picture.width + x) * 3;
        let pixel = &picture.rgb[at..at + 3];
        pixel
            .iter()
            .map(|value| value.abs_diff(60))
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn boxes_labels_and_zones_are_in_the_picture() {
        let picture = drawn(json!({"quality": 100}), &[found(20.0, 60.0)]);
        assert!(changed(&picture, 20, 60) > 60, "left edge");
        assert!(changed(&picture, 50, 60) < 20, "inside");
        assert!(changed(&picture, 24, 31) > 60, "label above the box");
        assert!(changed(&picture, 190, 50) > 60, "zone");
        let picture = drawn(
            json!({"quality": 100, "boxes": false, "zones": false}),
            &[found(20.0, 60.0)],
        );
        assert!((0..200).all(|x| changed(&picture, x, 60) < 20), "nothing");
    }

    #[test]
    fn an_outline_takes_the_place_of_its_box() {
        let thing = Detection {
            outline: vec![[50.0, 40.0], [80.0, 60.0], [50.0, 80.0], [20.0, 60.0]],
            ..found(20.0, 60.0)
        };
        let picture = drawn(json!({"quality": 100}), &[thing]);
        assert!(changed(&picture, 20, 60) > 60, "left corner");
        assert!(changed(&picture, 65, 70) > 60, "between two corners");
        assert!(changed(&picture, 79, 78) < 20, "corner of the box");
        assert!(changed(&picture, 50, 60) < 20, "inside");
    }

    #[test]
    fn lines_end_a_little_beyond_the_picture() {
        let size = Size::new(100, 50);
        let clip = |from: [i32; 2], to: [i32; 2]| {
            let line = clip(Point::from(from), Point::from(to), size, 2)?;
            Some([line.start, line.end].map(|point| [point.x, point.y]))
        };
        assert_eq!(clip([10, 10], [20, 30]), Some([[10, 10], [20, 30]]));
        assert_eq!(
            clip([-40_000, 20], [40_000, 20]),
            Some([[-2, 20], [102, 20]])
        );
        assert_eq!(clip([50, 40_000], [50, 10]), Some([[50, 52], [50, 10]]));
        assert_eq!(clip([-100, -100], [200, 200]), Some([[-2, -2], [52, 52]]));
        for (from, to) in [
            ([-10, 0], [-10, 50]),
            ([0, 90], [100, 90]),
            ([-40_000, 100], [100, 40_000]),
        ] {
            assert_eq!(clip(from, to), None);
        }
        assert_eq!(clip([5, 5], [5, 5]), Some([[5, 5], [5, 5]]));
    }

    #[test]
    fn boxes_beyond_the_picture_and_nonsense_never_panic() {
        let far = [
            found(-50.0, 500.0),
            found(1e30, 1e30),
            found(f32::NAN, f32::NEG_INFINITY),
            found(-1e9, 2e9),
            Detection {
                outline: vec![[f32::NAN, 1e30], [-1e30, f32::INFINITY]],
                ..found(1.0, 2.0)
            },
        ];
        drawn(json!({}), &far);
        assert_eq!(short("caf\u{e9} \u{1f600}"), "caf? ?");
    }
}
