//! Raw pixels as cameras deliver them to RGB or brightness. Colours by ITU-R BT.601, as V4L2 defines
//! them for these formats unless it says otherwise. Sizes are checked against the bytes first.

use crate::image::{ImageError, Luma, MAX_PIXELS, MAX_SIDE, Picture};

/// How raw pixels lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Three bytes a pixel.
    Rgb,
    /// Two pixels in four bytes that share their colour: Y U Y V.
    Yuyv,
    /// A plane of brightness, then one of colour (U V), half as wide and half as high.
    Nv12,
    /// One byte a pixel.
    Grey,
}

/// A raw picture.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// How the pixels lie.
    pub layout: Layout,
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes from row to row; 0: rows without gaps.
    pub stride: usize,
    /// Whether brightness goes from 0 to 255 and not from 16 to 235.
    pub full_range: bool,
    /// The planes, one after the other.
    pub bytes: &'a [u8],
}

/// Fixed-point factors, 256 is one: brightness, red of V, green of U, green of V, blue of U.
struct Factors {
    black: i32,
    luma: i32,
    red: i32,
    green_u: i32,
    green_v: i32,
    blue: i32,
}

const LIMITED: Factors = Factors {
    black: 16,
    luma: 298,
    red: 409,
    green_u: 100,
    green_v: 208,
    blue: 516,
};
const FULL: Factors = Factors {
    black: 0,
    luma: 256,
    red: 359,
    green_u: 88,
    green_v: 183,
    blue: 454,
};

impl Raw<'_> {
    /// Writes RGB into `picture`, whose buffer is used again.
    pub fn read(&self, picture: &mut Picture) -> Result<(), ImageError> {
        let stride = self.check()?;
        (picture.width, picture.height) = (self.width, self.height);
        picture.rgb.resize(self.width * self.height * 3, 0);
        let rows = picture.rgb.chunks_exact_mut(self.width * 3);
        for (y, out) in rows.enumerate() {
            let row = &self.bytes[y * stride..];
            match self.layout {
                Layout::Rgb => out.copy_from_slice(&row[..self.width * 3]),
                Layout::Grey => {
                    for (pixel, grey) in out.chunks_exact_mut(3).zip(row) {
                        pixel.fill(*grey);
                    }
                }
                Layout::Yuyv => {
                    let colours = row.chunks_exact(4).map(|four| (four[1], four[3]));
                    let luma = row.iter().step_by(2);
                    self.row(out, luma, colours);
                }
                Layout::Nv12 => {
                    let colour = &self.bytes[stride * self.height + (y / 2) * stride..];
                    let colours = colour.chunks_exact(2).map(|two| (two[0], two[1]));
                    self.row(out, row.iter(), colours);
                }
            }
        }
        Ok(())
    }

    /// Writes the brightness only, from 0 to 255.
    pub fn read_luma(&self, out: &mut Luma) -> Result<(), ImageError> {
        let stride = self.check()?;
        (out.width, out.height) = (self.width, self.height);
        out.luma.resize(self.width * self.height, 0);
        let table = self.luma_table();
        for (y, luma) in out.luma.chunks_exact_mut(self.width).enumerate() {
            let row = &self.bytes[y * stride..];
            let step = if self.layout == Layout::Yuyv { 2 } else { 1 };
            if self.layout == Layout::Rgb {
                for (out, rgb) in luma.iter_mut().zip(row.chunks_exact(3)) {
                    *out = crate::image::brightness(rgb);
                }
                continue;
            }
            for (out, value) in luma.iter_mut().zip(row.iter().step_by(step)) {
                *out = table[usize::from(*value)];
            }
        }
        Ok(())
    }

    /// Bytes from row to row, if there are enough of them.
    fn check(&self) -> Result<usize, ImageError> {
        let (width, height) = (self.width, self.height);
        if width > MAX_SIDE || height > MAX_SIDE || width.saturating_mul(height) > MAX_PIXELS {
            return Err(ImageError::TooManyPixels { width, height });
        }
        let even = width.next_multiple_of(2);
        let row = match self.layout {
            Layout::Rgb => width * 3,
            Layout::Yuyv => even * 2,
            Layout::Nv12 => even,
            Layout::Grey => width,
        };
        let stride = self.stride.max(row);
        let rows = match self.layout {
            Layout::Nv12 => height + height.div_ceil(2),
            _ => height,
        };
        let needed = stride
            .saturating_mul(rows.saturating_sub(1))
            .saturating_add(row);
        if width == 0 || height == 0 || self.bytes.len() < needed {
            return Err(ImageError::Short {
                width,
                height,
                found: self.bytes.len(),
                needed,
            });
        }
        Ok(stride)
    }

    fn luma_table(&self) -> [u8; 256] {
        let factors = self.factors();
        let is_yuv = matches!(self.layout, Layout::Yuyv | Layout::Nv12);
        let mut table = [0; 256];
        for (value, out) in (0..).zip(&mut table) {
            *out = if is_yuv {
                clamp((value - factors.black) * factors.luma)
            } else {
                clamp(value << 8)
            };
        }
        table
    }

    fn factors(&self) -> &'static Factors {
        if self.full_range { &FULL } else { &LIMITED }
    }

    /// A row of pixels; each pair shares a colour.
    fn row<'a>(
        &self,
        out: &mut [u8],
        luma: impl Iterator<Item = &'a u8>,
        colours: impl Iterator<Item = (u8, u8)>,
    ) {
        let factors = self.factors();
        let mut luma = luma;
        for (pair, (u, v)) in out.chunks_mut(6).zip(colours) {
            let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
            let red = factors.red * v;
            let green = factors.green_u * u + factors.green_v * v;
            let blue = factors.blue * u;
            for (pixel, y) in pair.chunks_exact_mut(3).zip(&mut luma) {
                let y = (i32::from(*y) - factors.black) * factors.luma;
                pixel[0] = clamp(y + red);
                pixel[1] = clamp(y - green);
                pixel[2] = clamp(y + blue);
            }
        }
    }
}

/// From fixed point, rounded.
fn clamp(value: i32) -> u8 {
    u8::try_from(((value + 128) >> 8).clamp(0, 255)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(layout: Layout, width: usize, height: usize, bytes: &[u8]) -> Raw<'_> {
        Raw {
            layout,
            width,
            height,
            stride: 0,
            full_range: false,
            bytes,
        }
    }

    fn rgb(raw: &Raw<'_>) -> Vec<u8> {
        let mut picture = Picture::default();
        raw.read(&mut picture).unwrap();
        picture.rgb
    }

    /// The corners of the colour cube in BT.601, limited range.
    #[test]
    fn colours_are_those_of_the_standard() {
        for ((y, u, v), wanted) in [
            ((16, 128, 128), [0, 0, 0]),
            ((235, 128, 128), [255, 255, 255]),
            ((81, 90, 240), [255, 0, 0]),
            ((145, 54, 34), [0, 255, 0]),
            ((41, 240, 110), [0, 0, 255]),
        ] {
            let yuyv = rgb(&raw(Layout::Yuyv, 2, 1, &[y, u, y, v]));
            let nv12 = rgb(&raw(Layout::Nv12, 2, 2, &[y, y, y, y, u, v]));
            assert_eq!(yuyv[..3], nv12[..3]);
            assert_eq!(nv12[..3], nv12[9..]);
            for (got, wanted) in yuyv.iter().zip(wanted) {
                assert!(got.abs_diff(wanted) <= 2, "{y} {u} {v}: {yuyv:?}");
            }
        }
        let full = Raw {
            full_range: true,
            ..raw(Layout::Yuyv, 2, 1, &[16, 128, 235, 128])
        };
        assert_eq!(rgb(&full), [16, 16, 16, 235, 235, 235]);
    }

    #[test]
    fn gaps_between_rows_and_odd_sizes_are_read() {
        let grey = Raw {
            stride: 4,
            ..raw(Layout::Grey, 3, 2, &[1, 2, 3, 99, 4, 5, 6])
        };
        assert_eq!(
            rgb(&grey),
            [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6]
        );
        let odd = raw(Layout::Yuyv, 3, 1, &[235, 128, 16, 128, 235, 128, 0, 128]);
        assert_eq!(rgb(&odd), [255, 255, 255, 0, 0, 0, 255, 255, 255]);
        assert_eq!(rgb(&raw(Layout::Rgb, 1, 1, &[7, 8, 9])), [7, 8, 9]);
    }

    #[test]
    fn brightness_is_that_of_the_picture() {
        let mut luma = Luma::default();
        raw(Layout::Yuyv, 2, 1, &[16, 0, 235, 255])
            .read_luma(&mut luma)
            .unwrap();
        assert_eq!(luma.luma, [0, 255]);
        raw(Layout::Nv12, 2, 2, &[16, 126, 235, 16, 0, 0])
            .read_luma(&mut luma)
            .unwrap();
        assert_eq!(luma.luma, [0, 128, 255, 0]);
        raw(Layout::Rgb, 1, 1, &[255, 255, 255])
            .read_luma(&mut luma)
            .unwrap();
        assert_eq!(luma.luma, [255]);
        raw(Layout::Grey, 2, 1, &[0, 255])
            .read_luma(&mut luma)
            .unwrap();
        assert_eq!(luma.luma, [0, 255]);
    }

    #[test]
    fn too_few_bytes_are_an_error() {
        for layout in [Layout::Rgb, Layout::Yuyv, Layout::Nv12, Layout::Grey] {
            for (width, height, bytes) in [(64, 48, 100), (0, 5, 100), (5, 0, 100), (1, 1, 0)] {
                let bytes = vec![0; bytes];
                let error = raw(layout, width, height, &bytes).read(&mut Picture::default());
                assert!(matches!(error, Err(ImageError::Short { .. })), "{layout:?}");
            }
            let huge = Raw {
                stride: usize::MAX,
                ..raw(layout, 4, 4, &[0; 64])
            };
            assert!(huge.read_luma(&mut Luma::default()).is_err());
            let error = raw(layout, usize::MAX, 2, &[0; 64]).read(&mut Picture::default());
            assert!(matches!(error, Err(ImageError::TooManyPixels { .. })));
        }
    }
}
