//! How a picture lies in a model's input: size, scale and place, both ways. Pixels are not its
//! business, see `prepare`.

use edgeflow_model::{InputSize, Placement};

use crate::detection::Detection;
use crate::image::Picture;

/// Grey value of the padding, as models of these families are trained with.
pub const PADDING: u8 = 114;

/// A part of a picture, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Left edge.
    pub left: f64,
    /// Top edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Area {
    /// All of a picture.
    pub fn of(picture: &Picture) -> Self {
        Self::whole(picture.width, picture.height)
    }

    /// All of a picture of that size.
    pub fn whole(width: usize, height: usize) -> Self {
        Self {
            left: 0.0,
            top: 0.0,
            width: width as f64,
            height: height as f64,
        }
    }

    /// Cut at the edges of a picture; a pixel of it at least.
    pub fn inside(&self, picture: &Picture) -> Self {
        let along = |from: f64, length: f64, pixels: usize| {
            let pixels = pixels as f64;
            // `max` and `min` leave out what is no number.
            let start = from.max(0.0).min((pixels - 1.0).max(0.0));
            let end = (from + length).min(pixels).max(start + 1.0);
            (start, end - start)
        };
        let (left, width) = along(self.left, self.width, picture.width);
        let (top, height) = along(self.top, self.height, picture.height);
        Self {
            left,
            top,
            width,
            height,
        }
    }

    /// Its middle of that size, or what there is of it.
    fn middle(&self, width: f64, height: f64) -> Self {
        let (width, height) = (width.min(self.width), height.min(self.height));
        Self {
            left: self.left + (self.width - width) / 2.0,
            top: self.top + (self.height - height) / 2.0,
            width,
            height,
        }
    }
}

/// Where an area of a picture lies in a model's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
    /// What the model is shown of the picture.
    pub source: Area,
    /// Input pixels for one picture pixel, along a row.
    pub scale_x: f32,
    /// The same along a column.
    pub scale_y: f32,
    /// Input pixels left of the picture.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Pixels a row that the picture covers.
    pub inner_width: usize,
    /// Rows that the picture covers.
    pub inner_height: usize,
    /// Pixels a row of the input.
    pub width: usize,
    /// Rows of the input.
    pub height: usize,
}

impl Letterbox {
    /// Fits an area that is not empty.
    pub fn fit(area: &Area, size: InputSize, placement: Placement) -> Self {
        // In double precision: 720 rows at 416/1280 are 234, not 233.
        let (width_f, height_f) = (area.width, area.height);
        let (most_width, most_height, most_scale) = match size {
            InputSize::Fixed { width, height } => (width, height, f64::INFINITY),
            InputSize::Multiple { longest, .. } => (longest, longest, 1.0),
        };
        let (fit_x, fit_y) = (most_width as f64 / width_f, most_height as f64 / height_f);
        let (scale_x, scale_y) = match placement {
            Placement::Stretch => (fit_x.min(most_scale), fit_y.min(most_scale)),
            Placement::TopLeft | Placement::Center => {
                let scale = fit_x.min(fit_y).min(most_scale);
                (scale, scale)
            }
            Placement::Crop { share } => {
                let scale = fit_x.max(fit_y) / f64::from(share);
                (scale, scale)
            }
        };
        let whole = |pixels: f64| match placement {
            Placement::Center => pixels.round_ties_even(),
            Placement::TopLeft | Placement::Stretch | Placement::Crop { .. } => pixels,
        };
        let inner_width = (whole(width_f * scale_x) as usize).clamp(1, most_width);
        let inner_height = (whole(height_f * scale_y) as usize).clamp(1, most_height);
        let (width, height) = match size {
            InputSize::Fixed { width, height } => (width, height),
            InputSize::Multiple { multiple, .. } => (
                inner_width.next_multiple_of(multiple),
                inner_height.next_multiple_of(multiple),
            ),
        };
        let (left, top) = match placement {
            Placement::Center => ((width - inner_width) / 2, (height - inner_height) / 2),
            Placement::TopLeft | Placement::Stretch | Placement::Crop { .. } => (0, 0),
        };
        let source = match placement {
            Placement::Crop { .. } => area.middle(width as f64 / scale_x, height as f64 / scale_y),
            _ => *area,
        };
        Self {
            source,
            scale_x: scale_x as f32,
            scale_y: scale_y as f32,
            left,
            top,
            inner_width,
            inner_height,
            width,
            height,
        }
    }

    /// Brings a box from input pixels to picture pixels.
    pub fn undo(&self, detection: &mut Detection) {
        [detection.x, detection.y] = self.undo_point([detection.x, detection.y]);
        detection.w /= self.scale_x;
        detection.h /= self.scale_y;
    }

    /// The same for a point.
    pub fn undo_point(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [
            (x - self.left as f32) / self.scale_x + self.source.left as f32,
            (y - self.top as f32) / self.scale_y + self.source.top as f32,
        ]
    }

    /// A box of the picture in input pixels.
    pub fn apply(&self, detection: &Detection) -> Detection {
        let (left, top) = (self.source.left as f32, self.source.top as f32);
        Detection {
            x: (detection.x - left) * self.scale_x + self.left as f32,
            y: (detection.y - top) * self.scale_y + self.top as f32,
            w: detection.w * self.scale_x,
            h: detection.h * self.scale_y,
            ..*detection
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: InputSize = InputSize::Fixed {
        width: 416,
        height: 416,
    };

    #[test]
    fn a_wide_picture_fills_the_width() {
        let fit = Letterbox::fit(&Area::whole(1280, 720), FIXED, Placement::TopLeft);
        assert_eq!((fit.inner_width, fit.inner_height), (416, 234));
        assert_eq!((fit.width, fit.height), (416, 416));
        let mut detection = Detection {
            x: 208.0,
            y: 117.0,
            w: 104.0,
            h: 117.0,
            ..Detection::default()
        };
        fit.undo(&mut detection);
        let near = |a: f32, b: f32| (a - b).abs() < 0.01;
        assert!(near(detection.x, 640.0) && near(detection.y, 360.0));
        assert!(near(detection.w, 320.0) && near(detection.h, 360.0));
    }

    #[test]
    fn small_and_thin_pictures_keep_a_pixel() {
        let fit = Letterbox::fit(&Area::whole(1, 1), FIXED, Placement::TopLeft);
        assert_eq!((fit.inner_width, fit.inner_height), (416, 416));
        let fit = Letterbox::fit(&Area::whole(10_000, 1), FIXED, Placement::TopLeft);
        assert_eq!((fit.inner_width, fit.inner_height), (416, 1));
    }

    #[test]
    fn multiples_are_padded_and_never_enlarged() {
        let size = InputSize::Multiple {
            multiple: 32,
            longest: 640,
        };
        let fit = Letterbox::fit(&Area::whole(1280, 720), size, Placement::TopLeft);
        assert_eq!((fit.inner_width, fit.inner_height), (640, 360));
        assert_eq!((fit.width, fit.height), (640, 384));
        let fit = Letterbox::fit(&Area::whole(20, 10), size, Placement::TopLeft);
        assert_eq!((fit.scale_x, fit.width, fit.height), (1.0, 32, 32));
    }

    #[test]
    fn a_centred_picture_has_its_odd_pixel_of_padding_below() {
        let size = InputSize::Fixed {
            width: 640,
            height: 640,
        };
        let fit = Letterbox::fit(&Area::whole(1280, 722), size, Placement::Center);
        // 279 rows are left.
        assert_eq!((fit.inner_width, fit.inner_height), (640, 361));
        assert_eq!((fit.left, fit.top), (0, 139));
        let mut detection = Detection {
            x: 320.0,
            y: 139.0,
            w: 10.0,
            h: 20.0,
            ..Detection::default()
        };
        fit.undo(&mut detection);
        assert_eq!((detection.x, detection.y), (640.0, 0.0));
        assert_eq!((detection.w, detection.h), (20.0, 40.0));
    }

    #[test]
    fn a_stretched_picture_covers_the_input() {
        let size = InputSize::Fixed {
            width: 320,
            height: 240,
        };
        let fit = Letterbox::fit(&Area::whole(1280, 720), size, Placement::Stretch);
        assert_eq!((fit.inner_width, fit.inner_height), (320, 240));
        let mut detection = Detection {
            x: 80.0,
            y: 60.0,
            w: 160.0,
            h: 120.0,
            ..Detection::default()
        };
        fit.undo(&mut detection);
        assert_eq!((detection.x, detection.y), (320.0, 180.0));
        assert_eq!((detection.w, detection.h), (640.0, 360.0));
    }

    #[test]
    fn a_crop_is_the_middle_and_boxes_come_back_to_the_whole_picture() {
        let size = InputSize::Fixed {
            width: 224,
            height: 224,
        };
        let crop = Placement::Crop { share: 0.875 };
        let fit = Letterbox::fit(&Area::whole(1280, 720), size, crop);
        assert_eq!((fit.inner_width, fit.inner_height), (224, 224));
        let source = Area {
            left: 325.0,
            top: 45.0,
            width: 630.0,
            height: 630.0,
        };
        let near = |a: f64, b: f64| (a - b).abs() < 1e-3;
        for (have, expected) in [
            (fit.source.left, source.left),
            (fit.source.top, source.top),
            (fit.source.width, source.width),
            (fit.source.height, source.height),
        ] {
            assert!(near(have, expected), "{:?}", fit.source);
        }
        let mut detection = Detection {
            x: 112.0,
            y: 0.0,
            w: 112.0,
            h: 224.0,
            ..Detection::default()
        };
        fit.undo(&mut detection);
        assert!(near(detection.x.into(), 640.0) && near(detection.y.into(), 45.0));
        assert!(near(detection.w.into(), 315.0) && near(detection.h.into(), 630.0));
        let back = fit.apply(&detection);
        assert!(near(back.x.into(), 112.0) && near(back.y.into(), 0.0));
        assert!(near(back.w.into(), 112.0) && near(back.h.into(), 224.0));
    }

    #[test]
    fn areas_end_at_the_edges_of_the_picture() {
        let picture = Picture {
            width: 100,
            height: 50,
            rgb: Vec::new(),
        };
        let area = |left, top, width, height| Area {
            left,
            top,
            width,
            height,
        };
        for (given, expected) in [
            (area(10.0, 10.0, 20.0, 20.0), area(10.0, 10.0, 20.0, 20.0)),
            (area(-10.0, 40.0, 20.0, 20.0), area(0.0, 40.0, 10.0, 10.0)),
            (area(200.0, -90.0, 5.0, 5.0), area(99.0, 0.0, 1.0, 1.0)),
            (
                area(f64::NAN, 5.0, f64::NAN, 0.0),
                area(0.0, 5.0, 100.0, 1.0),
            ),
            (
                area(0.0, 0.0, f64::INFINITY, 9.0),
                area(0.0, 0.0, 100.0, 9.0),
            ),
        ] {
            assert_eq!(given.inside(&picture), expected, "{given:?}");
        }
    }
}
