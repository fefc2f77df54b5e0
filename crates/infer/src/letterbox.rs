//! Fits a picture into a model's input: scaled to fit, top-left, padded with grey, as float planes.
//! Owns the geometry both ways: what it did, and how boxes get back to the picture.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::detection::Detection;
use crate::image::Picture;

/// Grey value of the padding, as models of this family are trained with.
pub const PADDING: u8 = 114;

/// How large a model's input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputSize {
    /// Always this many pixels.
    Fixed {
        /// Pixels a row.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// The picture scaled down until its longer side has at most `longest` pixels, both sides
    /// padded to a multiple of `multiple`.
    Multiple {
        /// Both sides are a multiple of this.
        multiple: usize,
        /// Pixels of the longer side before padding.
        longest: usize,
    },
}

/// Order of a model's colour planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// Where a picture lies in a model's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
    /// Input pixels for one picture pixel.
    pub scale: f32,
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
    pub fn fit(width: usize, height: usize, size: InputSize) -> Self {
        // In double precision: 720 rows at 416/1280 are 234, not 233.
        let (width_f, height_f) = (width as f64, height as f64);
        let (scale, most_width, most_height) = match size {
            InputSize::Fixed {
                width: to_width,
                height: to_height,
            } => {
                let scale = (to_width as f64 / width_f).min(to_height as f64 / height_f);
                (scale, to_width, to_height)
            }
            InputSize::Multiple { longest, .. } => {
                let scale = (longest as f64 / width_f.max(height_f)).min(1.0);
                (scale, longest, longest)
            }
        };
        let inner_width = ((width_f * scale) as usize).clamp(1, most_width);
        let inner_height = ((height_f * scale) as usize).clamp(1, most_height);
        let (width, height) = match size {
            InputSize::Fixed { width, height } => (width, height),
            InputSize::Multiple { multiple, .. } => (
                inner_width.next_multiple_of(multiple),
                inner_height.next_multiple_of(multiple),
            ),
        };
        Self {
            scale: scale as f32,
            inner_width,
            inner_height,
            width,
            height,
        }
    }

    /// Brings a box from input pixels to picture pixels.
    pub fn undo(&self, detection: &mut Detection) {
        detection.x /= self.scale;
        detection.y /= self.scale;
        detection.w /= self.scale;
        detection.h /= self.scale;
    }
}

/// Fills model inputs. Buffers are kept, so that pictures of one size need no allocation.
#[derive(Debug)]
pub struct Preparer {
    resizer: Resizer,
    options: ResizeOptions,
    resized: Vec<u8>,
    planes: Vec<f32>,
    last: Option<Letterbox>,
}

impl Default for Preparer {
    fn default() -> Self {
        Self {
            resizer: Resizer::new(),
            options: ResizeOptions::new()
                .resize_alg(ResizeAlg::Interpolation(FilterType::Bilinear))
                .use_alpha(false),
            resized: Vec::new(),
            planes: Vec::new(),
            last: None,
        }
    }
}

/// Why a picture can't be fitted.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The pixel buffer is shorter than the size says.
    #[error("the picture's pixels don't match its size")]
    Buffer(#[source] fast_image_resize::ImageBufferError),
    /// The resizer refused.
    #[error("the picture can't be resized")]
    Resize(#[source] fast_image_resize::ResizeError),
}

impl Preparer {
    /// Fits `picture` and returns the planes, `[3, height, width]` with values 0 to 255.
    pub fn prepare(
        &mut self,
        picture: &Picture,
        letterbox: &Letterbox,
        order: ChannelOrder,
    ) -> Result<&[f32], PrepareError> {
        if self.last != Some(*letterbox) {
            self.planes.clear();
            self.planes
                .resize(3 * letterbox.width * letterbox.height, f32::from(PADDING));
            self.last = Some(*letterbox);
        }
        let (width, height) = (letterbox.inner_width, letterbox.inner_height);
        let pixels = if (picture.width, picture.height) == (width, height) {
            &picture.rgb
        } else {
            self.resize(picture, width, height)?;
            &self.resized
        };
        let plane = letterbox.width * letterbox.height;
        let (first, rest) = self.planes.split_at_mut(plane);
        let (second, third) = rest.split_at_mut(plane);
        let (red, blue) = match order {
            ChannelOrder::Rgb => (first, third),
            ChannelOrder::Bgr => (third, first),
        };
        for (row, rgb) in pixels.chunks_exact(width * 3).take(height).enumerate() {
            let span = row * letterbox.width..row * letterbox.width + width;
            let red = &mut red[span.clone()];
            let green = &mut second[span.clone()];
            let blue = &mut blue[span];
            let planes = red.iter_mut().zip(green).zip(blue);
            for (((red, green), blue), pixel) in planes.zip(rgb.chunks_exact(3)) {
                *red = f32::from(pixel[0]);
                *green = f32::from(pixel[1]);
                *blue = f32::from(pixel[2]);
            }
        }
        Ok(&self.planes)
    }

    /// The planes of the last picture.
    pub fn planes(&self) -> &[f32] {
        &self.planes
    }

    fn resize(
        &mut self,
        picture: &Picture,
        width: usize,
        height: usize,
    ) -> Result<(), PrepareError> {
        self.resized.resize(width * height * 3, 0);
        let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
        let source = ImageRef::new(
            side(picture.width),
            side(picture.height),
            &picture.rgb,
            PixelType::U8x3,
        )
        .map_err(PrepareError::Buffer)?;
        let mut target = Image::from_slice_u8(
            side(width),
            side(height),
            &mut self.resized,
            PixelType::U8x3,
        )
        .map_err(PrepareError::Buffer)?;
        self.resizer
            .resize(&source, &mut target, &self.options)
            .map_err(PrepareError::Resize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: InputSize = InputSize::Fixed {
        width: 416,
        height: 416,
    };

    fn flat(width: usize, height: usize, rgb: [u8; 3]) -> Picture {
        Picture {
            width,
            height,
            rgb: rgb.repeat(width * height),
        }
    }

    #[test]
    fn a_wide_picture_fills_the_width() {
        let fit = Letterbox::fit(1280, 720, FIXED);
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
        let fit = Letterbox::fit(1, 1, FIXED);
        assert_eq!((fit.inner_width, fit.inner_height), (416, 416));
        let fit = Letterbox::fit(10_000, 1, FIXED);
        assert_eq!((fit.inner_width, fit.inner_height), (416, 1));
    }

    #[test]
    fn multiples_are_padded_and_never_enlarged() {
        let size = InputSize::Multiple {
            multiple: 32,
            longest: 640,
        };
        let fit = Letterbox::fit(1280, 720, size);
        assert_eq!((fit.inner_width, fit.inner_height), (640, 360));
        assert_eq!((fit.width, fit.height), (640, 384));
        let fit = Letterbox::fit(20, 10, size);
        assert_eq!((fit.scale, fit.width, fit.height), (1.0, 32, 32));
    }

    #[test]
    fn planes_hold_the_picture_top_left_and_grey_elsewhere() {
        let size = InputSize::Fixed {
            width: 4,
            height: 4,
        };
        let fit = Letterbox::fit(2, 1, size);
        assert_eq!((fit.inner_width, fit.inner_height), (4, 2));
        let mut preparer = Preparer::default();
        let picture = flat(2, 1, [10, 20, 30]);
        for (order, first, last) in [
            (ChannelOrder::Rgb, 10.0, 30.0),
            (ChannelOrder::Bgr, 30.0, 10.0),
        ] {
            let planes = preparer.prepare(&picture, &fit, order).unwrap();
            let grey = f32::from(PADDING);
            let expect = |value: f32| [[value; 8], [grey; 8]].concat();
            assert_eq!(planes[..16], expect(first));
            assert_eq!(planes[16..32], expect(20.0));
            assert_eq!(planes[32..], expect(last));
        }
    }

    #[test]
    fn the_padding_is_renewed_when_the_shape_changes() {
        let size = InputSize::Fixed {
            width: 4,
            height: 4,
        };
        let mut preparer = Preparer::default();
        let tall = Letterbox::fit(1, 2, size);
        let wide = Letterbox::fit(2, 1, size);
        preparer
            .prepare(&flat(1, 2, [1; 3]), &tall, ChannelOrder::Rgb)
            .unwrap();
        let planes = preparer
            .prepare(&flat(2, 1, [2; 3]), &wide, ChannelOrder::Rgb)
            .unwrap();
        assert_eq!(planes[..16], [[2.0; 8], [f32::from(PADDING); 8]].concat());
    }

    #[test]
    fn a_buffer_that_is_too_short_is_an_error() {
        let mut picture = flat(8, 8, [0; 3]);
        picture.rgb.truncate(10);
        let fit = Letterbox::fit(8, 8, FIXED);
        let mut preparer = Preparer::default();
        let result = preparer.prepare(&picture, &fit, ChannelOrder::Rgb);
        assert!(result.is_err());
    }
}
