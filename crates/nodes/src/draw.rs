//! `draw`: burns boxes, labels, zones and lines into the picture, for recordings and for programs that
//! show pictures and know nothing of metadata. The metadata goes on as well.

use edgeflow::{Context, Input, Meta, Node, NodeError, Outputs};
use edgeflow_infer::image::Picture;
use embedded_graphics::mono_font::ascii::{FONT_6X10, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::prelude::{
    Dimensions, DrawTarget, Drawable, OriginDimensions, Pixel, Point, Primitive, Size,
};
use embedded_graphics::primitives::{Line, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use serde::Deserialize;

use crate::picture::{Pixels, Thing, things};

/// Things and shapes drawn on one picture.
const MAX_DRAWN: usize = 200;
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
}

impl<'a> Canvas<'a> {
    fn new(picture: &'a mut Picture, text: bool) -> Self {
        let wide = picture.width >= WIDE;
        Self {
            picture,
            font: if wide { &FONT_10X20 } else { &FONT_6X10 },
            stroke: if wide { 3 } else { 2 },
            text,
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
        let at = Rectangle::new(Point::new(x, y), Size::new(w, h));
        let style = PrimitiveStyle::with_stroke(colour, self.stroke);
        draw(&at.into_styled(style), self);
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

    fn line(&mut self, points: &[[f32; 2]], closed: bool, colour: Rgb888, text: &str) {
        let points: Vec<Point> = points
            .iter()
            .take(MAX_DRAWN)
            .map(|[x, y]| Point::new(whole(*x), whole(*y)))
            .collect();
        let style = PrimitiveStyle::with_stroke(colour, self.stroke);
        for pair in points.windows(2) {
            draw(&Line::new(pair[0], pair[1]).into_styled(style), self);
        }
        if let (Some(first), Some(last), true) = (points.first(), points.last(), closed) {
            draw(&Line::new(*last, *first).into_styled(style), self);
        }
        if let Some(first) = points.first() {
            self.label(text, *first, colour);
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
    fn boxes_beyond_the_picture_and_nonsense_never_panic() {
        let far = [
            found(-50.0, 500.0),
            found(1e30, 1e30),
            found(f32::NAN, f32::NEG_INFINITY),
            found(-1e9, 2e9),
        ];
        drawn(json!({}), &far);
        assert_eq!(short("caf\u{e9} \u{1f600}"), "caf? ?");
    }
}
