//! How a picture lies in a model's input: size, scale and place, both ways. Pixels are not its
//! business, see `prepare`.

use edgeflow_model::{InputSize, Placement};

use crate::detection::Detection;

/// Grey value of the padding, as models of these families are trained with.
pub const PADDING: u8 = 114;

/// Where a picture lies in a model's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
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
    /// Fits a picture of `width` x `height` pixels, neither of them 0.
    pub fn fit(width: usize, height: usize, size: InputSize, placement: Placement) -> Self {
        // In double precision: 720 rows at 416/1280 are 234, not 233.
        let (width_f, height_f) = (width as f64, height as f64);
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
        };
        let whole = |pixels: f64| match placement {
            Placement::Center => pixels.round_ties_even(),
            Placement::TopLeft | Placement::Stretch => pixels,
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
            Placement::TopLeft | Placement::Stretch => (0, 0),
        };
        Self {
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
        detection.x = (detection.x - self.left as f32) / self.scale_x;
        detection.y = (detection.y - self.top as f32) / self.scale_y;
        detection.w /= self.scale_x;
        detection.h /= self.scale_y;
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
        let fit = Letterbox::fit(1280, 720, FIXED, Placement::TopLeft);
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
        let fit = Letterbox::fit(1, 1, FIXED, Placement::TopLeft);
        assert_eq!((fit.inner_width, fit.inner_height), (416, 416));
        let fit = Letterbox::fit(10_000, 1, FIXED, Placement::TopLeft);
        assert_eq!((fit.inner_width, fit.inner_height), (416, 1));
    }

    #[test]
    fn multiples_are_padded_and_never_enlarged() {
        let size = InputSize::Multiple {
            multiple: 32,
            longest: 640,
        };
        let fit = Letterbox::fit(1280, 720, size, Placement::TopLeft);
        assert_eq!((fit.inner_width, fit.inner_height), (640, 360));
        assert_eq!((fit.width, fit.height), (640, 384));
        let fit = Letterbox::fit(20, 10, size, Placement::TopLeft);
        assert_eq!((fit.scale_x, fit.width, fit.height), (1.0, 32, 32));
    }

    #[test]
    fn a_centred_picture_has_its_odd_pixel_of_padding_below() {
        let size = InputSize::Fixed {
            width: 640,
            height: 640,
        };
        let fit = Letterbox::fit(1280, 722, size, Placement::Center);
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
        let fit = Letterbox::fit(1280, 720, size, Placement::Stretch);
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
}
