//! Fills a model's input: the picture scaled to where it lies, padded with grey, as float planes.

use edgeflow_model::{ChannelOrder, Colours};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::image::Picture;
use crate::letterbox::{Area, Letterbox, PADDING};

/// Fills model inputs. Buffers are kept, so that pictures of one size need no allocation.
#[derive(Debug)]
pub struct Preparer {
    resizer: Resizer,
    options: ResizeOptions,
    resized: Vec<u8>,
    planes: Vec<f32>,
    last: Option<(Letterbox, Colours)>,
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
    /// Fits the area of `picture` and returns the planes, `[3, height, width]`.
    pub fn prepare(
        &mut self,
        picture: &Picture,
        letterbox: &Letterbox,
        colours: &Colours,
    ) -> Result<&[f32], PrepareError> {
        let plane = letterbox.width * letterbox.height;
        let values = Values::new(colours);
        if self.last != Some((*letterbox, *colours)) {
            self.planes.clear();
            for channel in 0..3 {
                let padding = values.of(channel, PADDING);
                self.planes.resize((channel + 1) * plane, padding);
            }
            self.last = Some((*letterbox, *colours));
        }
        let (width, height) = (letterbox.inner_width, letterbox.inner_height);
        let source = &letterbox.source;
        let as_it_is = (picture.width, picture.height) == (width, height);
        let pixels = if as_it_is && *source == Area::of(picture) {
            &picture.rgb
        } else {
            self.scale(picture, source, width, height)?;
            &self.resized
        };
        let (first, rest) = self.planes.split_at_mut(plane);
        let (second, third) = rest.split_at_mut(plane);
        let ((red, blue), (red_at, blue_at)) = match colours.order {
            ChannelOrder::Rgb => ((first, third), (0, 2)),
            ChannelOrder::Bgr => ((third, first), (2, 0)),
        };
        for (row, rgb) in pixels.chunks_exact(width * 3).take(height).enumerate() {
            let start = (letterbox.top + row) * letterbox.width + letterbox.left;
            let span = start..start + width;
            let red = &mut red[span.clone()];
            let green = &mut second[span.clone()];
            let blue = &mut blue[span];
            let planes = red.iter_mut().zip(green).zip(blue);
            for (((red, green), blue), pixel) in planes.zip(rgb.chunks_exact(3)) {
                *red = values.of(red_at, pixel[0]);
                *green = values.of(1, pixel[1]);
                *blue = values.of(blue_at, pixel[2]);
            }
        }
        Ok(&self.planes)
    }

    /// The planes of the last picture.
    pub fn planes(&self) -> &[f32] {
        &self.planes
    }

    /// The picture in another size, RGB.
    pub fn resize(
        &mut self,
        picture: &Picture,
        width: usize,
        height: usize,
    ) -> Result<&[u8], PrepareError> {
        self.scale(picture, &Area::of(picture), width, height)?;
        Ok(&self.resized)
    }

    fn scale(
        &mut self,
        picture: &Picture,
        area: &Area,
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
        let cut = self
            .options
            .crop(area.left, area.top, area.width, area.height);
        self.resizer
            .resize(&source, &mut target, &cut)
            .map_err(PrepareError::Resize)
    }
}

/// Colours as a multiplication and an addition. Plain ones stay exactly what they are.
struct Values {
    factor: [f32; 3],
    offset: [f32; 3],
}

impl Values {
    fn new(colours: &Colours) -> Self {
        let factor = colours.deviation.map(|deviation| 1.0 / deviation);
        let offset = std::array::from_fn(|channel| -colours.mean[channel] * factor[channel]);
        Self { factor, offset }
    }

    fn of(&self, channel: usize, value: u8) -> f32 {
        f32::from(value) * self.factor[channel] + self.offset[channel]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeflow_model::{InputSize, Placement};

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
    fn planes_hold_the_picture_top_left_and_grey_elsewhere() {
        let size = InputSize::Fixed {
            width: 4,
            height: 4,
        };
        let fit = Letterbox::fit(&Area::whole(2, 1), size, Placement::TopLeft);
        assert_eq!((fit.inner_width, fit.inner_height), (4, 2));
        let mut preparer = Preparer::default();
        let picture = flat(2, 1, [10, 20, 30]);
        for (order, first, last) in [
            (ChannelOrder::Rgb, 10.0, 30.0),
            (ChannelOrder::Bgr, 30.0, 10.0),
        ] {
            let planes = preparer
                .prepare(&picture, &fit, &Colours::plain(order))
                .unwrap();
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
        let tall = Letterbox::fit(&Area::whole(1, 2), size, Placement::TopLeft);
        let wide = Letterbox::fit(&Area::whole(2, 1), size, Placement::TopLeft);
        preparer
            .prepare(
                &flat(1, 2, [1; 3]),
                &tall,
                &Colours::plain(ChannelOrder::Rgb),
            )
            .unwrap();
        let planes = preparer
            .prepare(
                &flat(2, 1, [2; 3]),
                &wide,
                &Colours::plain(ChannelOrder::Rgb),
            )
            .unwrap();
        assert_eq!(planes[..16], [[2.0; 8], [f32::from(PADDING); 8]].concat());
    }

    #[test]
    fn a_buffer_that_is_too_short_is_an_error() {
        let mut picture = flat(8, 8, [0; 3]);
        picture.rgb.truncate(10);
        let fit = Letterbox::fit(&Area::whole(8, 8), FIXED, Placement::TopLeft);
        let mut preparer = Preparer::default();
        let result = preparer.prepare(&picture, &fit, &Colours::plain(ChannelOrder::Rgb));
        assert!(result.is_err());
    }

    #[test]
    fn values_are_brought_to_what_the_model_takes() {
        let size = InputSize::Fixed {
            width: 2,
            height: 3,
        };
        let fit = Letterbox::fit(&Area::whole(2, 1), size, Placement::Center);
        assert_eq!((fit.left, fit.top), (0, 1));
        let mut preparer = Preparer::default();
        let colours = Colours {
            order: ChannelOrder::Bgr,
            mean: [30.0, 20.0, 10.0],
            deviation: [2.0, 4.0, 8.0],
        };
        let planes = preparer.prepare(&flat(2, 1, [18, 24, 32]), &fit, &colours);
        let planes = planes.unwrap();
        let grey = f32::from(PADDING);
        let paddings = [
            (grey - 30.0) / 2.0,
            (grey - 20.0) / 4.0,
            (grey - 10.0) / 8.0,
        ];
        for (plane, padding) in planes.chunks_exact(6).zip(paddings) {
            assert_eq!(plane[..2], [padding; 2]);
            assert_eq!(plane[2..4], [1.0; 2]);
            assert_eq!(plane[4..], [padding; 2]);
        }
        let unit = preparer.prepare(&flat(2, 1, [255, 0, 51]), &fit, &Colours::UNIT);
        assert_eq!(unit.unwrap()[2], 1.0);
    }

    #[test]
    fn an_area_alone_is_seen() {
        let size = InputSize::Fixed {
            width: 4,
            height: 4,
        };
        // Black, with a white square of 4 x 4 at (6, 2).
        let mut picture = flat(16, 8, [0; 3]);
        for y in 2..6 {
            picture.rgb[(y * 16 + 6) * 3..(y * 16 + 10) * 3].fill(255);
        }
        let area = Area {
            left: 6.0,
            top: 2.0,
            width: 4.0,
            height: 4.0,
        };
        let mut preparer = Preparer::default();
        let crop = Placement::Crop { share: 0.5 };
        for fit in [
            Letterbox::fit(&area, size, Placement::Stretch),
            Letterbox::fit(&Area::of(&picture), size, crop),
        ] {
            assert_eq!(fit.source, area);
            let planes = preparer.prepare(&picture, &fit, &Colours::UNIT).unwrap();
            assert_eq!(planes, [1.0; 48]);
        }
    }
}
