//! The formats of pictures that cameras deliver, rows without gaps, and raw pictures to JPEG. Knows
//! no device.

use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType, SamplingFactor};

use crate::encode::{self, EncodeError, Layout};

/// How a camera codes its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PixelFormat {
    /// A JPEG for each picture.
    Mjpg,
    /// A plane of brightness, then one of colour, half as large.
    Nv12,
    /// Two pixels in four bytes that share their colour.
    Yuyv,
    /// Three bytes a pixel.
    Rgb24,
    /// Brightness only.
    Grey,
}

impl PixelFormat {
    /// All, in the order of preference for pictures that become JPEG.
    pub const ALL: [Self; 5] = [Self::Mjpg, Self::Nv12, Self::Yuyv, Self::Rgb24, Self::Grey];

    /// Lower-case name, as in system.yaml.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mjpg => "mjpeg",
            Self::Nv12 => "nv12",
            Self::Yuyv => "yuyv",
            Self::Rgb24 => "rgb24",
            Self::Grey => "grey",
        }
    }

    /// By name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// By the driver's code.
    pub(super) fn from_fourcc(code: [u8; 4]) -> Option<Self> {
        Some(match &code {
            b"MJPG" | b"JPEG" => Self::Mjpg,
            b"NV12" | b"NM12" => Self::Nv12,
            b"YUYV" => Self::Yuyv,
            b"RGB3" => Self::Rgb24,
            b"GREY" => Self::Grey,
            _ => return None,
        })
    }

    /// Bytes a row of the first plane; 0 for a compressed format.
    pub fn row_bytes(self, width: usize) -> usize {
        self.planes(width, 1).first().map_or(0, |(row, _)| *row)
    }

    /// Bytes a row, and rows, of each plane. Nothing for a compressed format.
    pub(super) fn planes(self, width: usize, height: usize) -> Vec<(usize, usize)> {
        let even = width.next_multiple_of(2);
        match self {
            Self::Mjpg => Vec::new(),
            Self::Nv12 => vec![(even, height), (even, height.div_ceil(2))],
            Self::Yuyv => vec![(even * 2, height)],
            Self::Rgb24 => vec![(width * 3, height)],
            Self::Grey => vec![(width, height)],
        }
    }
}

/// A raw picture, rows without gaps.
#[derive(Clone, Copy, Debug)]
pub struct RawPicture<'a> {
    /// How it is coded.
    pub format: PixelFormat,
    /// Pixels a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// Whether brightness goes from 0 to 255 and not from 16 to 235.
    pub full_range: bool,
    /// The planes, one after the other.
    pub bytes: &'a [u8],
}

impl RawPicture<'_> {
    /// The picture as JPEG.
    pub fn to_jpeg(&self, quality: u8) -> Result<Vec<u8>, EncodeError> {
        if self.format == PixelFormat::Mjpg {
            return Ok(self.bytes.to_vec());
        }
        let planes = self.format.planes(self.width.into(), self.height.into());
        let expected = planes.iter().map(|(row, rows)| row * rows).sum();
        if self.bytes.len() < expected || expected == 0 {
            return Err(EncodeError::Short {
                found: self.bytes.len(),
                expected,
            });
        }
        if self.format == PixelFormat::Rgb24 {
            return encode::rgb(self.bytes, self.width, self.height, quality);
        }
        let image = Image {
            picture: *self,
            luma: if self.full_range { &SAME } else { &EXPAND_LUMA },
            chroma: if self.full_range {
                &SAME
            } else {
                &EXPAND_CHROMA
            },
        };
        if encode::takes_planes()
            && let Some(coded) = image.coded_planes(quality)
        {
            return Ok(coded);
        }
        image.coded(quality, expected / 8)
    }
}

impl Image<'_> {
    /// By the encoder that is built in.
    fn coded(self, quality: u8, room: usize) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::with_capacity(room);
        let mut encoder = Encoder::new(&mut out, quality.clamp(1, 100));
        encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
        encoder.encode_image(self).map_err(EncodeError::Encode)?;
        Ok(out)
    }

    /// By an encoder that takes planes; `None`: not these.
    fn coded_planes(&self, quality: u8) -> Option<Vec<u8>> {
        let RawPicture { width, height, .. } = self.picture;
        let (columns, rows) = (usize::from(width), usize::from(height));
        let even = columns.next_multiple_of(2);
        let brightness = |value: &u8| self.luma[usize::from(*value)];
        let colour = |value: &u8| self.chroma[usize::from(*value)];
        let bytes = self.picture.bytes;
        let (mut luma, mut blue, mut red) = (Vec::new(), Vec::new(), Vec::new());
        let layout = match self.picture.format {
            PixelFormat::Mjpg | PixelFormat::Rgb24 => return None,
            PixelFormat::Grey => {
                luma.extend(bytes.iter().take(columns * rows).map(brightness));
                Layout::Grey
            }
            PixelFormat::Nv12 => {
                let (first, second) = bytes.split_at_checked(even * rows)?;
                luma.extend(first.iter().map(brightness));
                let pairs = second.chunks_exact(2).take(even / 2 * (rows / 2));
                blue.extend(pairs.clone().map(|two| colour(&two[0])));
                red.extend(pairs.map(|two| colour(&two[1])));
                Layout::Half
            }
            PixelFormat::Yuyv => {
                let fours = bytes.chunks_exact(4).take(even / 2 * rows);
                let both = fours.clone().flat_map(|four| [four[0], four[2]]);
                luma.extend(both.map(|value| brightness(&value)));
                blue.extend(fours.clone().map(|four| colour(&four[1])));
                red.extend(fours.map(|four| colour(&four[3])));
                Layout::HalfColumns
            }
        };
        encode::planes([&luma, &blue, &red], (width, height), layout, quality)
    }
}

/// JPEG has full-range values; cameras mostly have those of television.
static EXPAND_LUMA: [u8; 256] = table(16, 0, 219);
static EXPAND_CHROMA: [u8; 256] = table(128, 128, 224);
static SAME: [u8; 256] = table(0, 0, 255);

/// `(value - from) * 255 / span + to` within 0 to 255.
const fn table(from: i32, to: i32, span: i32) -> [u8; 256] {
    let mut out = [0; 256];
    let mut value = 0;
    while value < 256 {
        let scaled = (value as i32 - from) * 255;
        let half = if scaled < 0 { -span / 2 } else { span / 2 };
        let mut result = (scaled + half) / span + to;
        if result < 0 {
            result = 0;
        }
        if result > 255 {
            result = 255;
        }
        out[value] = result as u8;
        value += 1;
    }
    out
}

struct Image<'a> {
    picture: RawPicture<'a>,
    luma: &'static [u8; 256],
    chroma: &'static [u8; 256],
}

impl ImageBuffer for Image<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        match self.picture.format {
            PixelFormat::Grey => JpegColorType::Luma,
            _ => JpegColorType::Ycbcr,
        }
    }

    fn width(&self) -> u16 {
        self.picture.width
    }

    fn height(&self) -> u16 {
        self.picture.height
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let (width, height) = (
            usize::from(self.picture.width),
            usize::from(self.picture.height),
        );
        let y = usize::from(y);
        let [luma, blue, red, _] = buffers;
        let brightness = |value: &u8| self.luma[usize::from(*value)];
        let colour = |value: u8| self.chroma[usize::from(value)];
        match self.picture.format {
            // The one is coded already, the other in another way.
            PixelFormat::Mjpg | PixelFormat::Rgb24 => {}
            PixelFormat::Grey => luma.extend(self.row(0, width, y).iter().map(brightness)),
            PixelFormat::Yuyv => {
                let row = self.row(0, width.next_multiple_of(2) * 2, y);
                luma.extend(row.iter().step_by(2).take(width).map(brightness));
                let pairs = row.chunks_exact(4);
                blue.extend(
                    pairs
                        .clone()
                        .flat_map(|four| [colour(four[1]); 2])
                        .take(width),
                );
                red.extend(pairs.flat_map(|four| [colour(four[3]); 2]).take(width));
            }
            PixelFormat::Nv12 => {
                let even = width.next_multiple_of(2);
                luma.extend(self.row(0, even, y).iter().take(width).map(brightness));
                let pairs = self.row(even * height, even, y / 2).chunks_exact(2);
                blue.extend(
                    pairs
                        .clone()
                        .flat_map(|two| [colour(two[0]); 2])
                        .take(width),
                );
                red.extend(pairs.flat_map(|two| [colour(two[1]); 2]).take(width));
            }
        }
    }
}

impl Image<'_> {
    /// A row of a plane that begins at `plane`. `to_jpeg` has checked that it is there.
    fn row(&self, plane: usize, bytes: usize, y: usize) -> &[u8] {
        let start = plane + bytes * y;
        self.picture
            .bytes
            .get(start..start + bytes)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jpeg;

    fn encode(format: PixelFormat, width: u16, height: u16, bytes: &[u8]) -> Vec<u8> {
        let picture = RawPicture {
            format,
            width,
            height,
            full_range: false,
            bytes,
        };
        picture.to_jpeg(90).unwrap()
    }

    #[test]
    fn every_raw_format_becomes_a_picture_of_its_size() {
        for (width, height) in [(64, 48), (63, 47), (1, 1), (640, 3)] {
            for format in PixelFormat::ALL {
                let planes = format.planes(width.into(), height.into());
                let count: usize = planes.iter().map(|(row, rows)| row * rows).sum();
                if format == PixelFormat::Mjpg {
                    continue;
                }
                let jpeg = encode(format, width, height, &vec![100; count]);
                let size = jpeg::inspect(&jpeg).unwrap();
                assert_eq!((size.width, size.height), (width, height), "{format:?}");
            }
        }
    }

    #[test]
    fn too_few_bytes_are_an_error_and_no_panic() {
        for format in [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Grey] {
            let picture = RawPicture {
                format,
                width: 64,
                height: 48,
                full_range: true,
                bytes: &[0; 100],
            };
            assert!(matches!(
                picture.to_jpeg(80),
                Err(EncodeError::Short { found: 100, .. })
            ));
        }
    }

    #[test]
    fn the_range_of_television_is_made_full() {
        assert_eq!([EXPAND_LUMA[16], EXPAND_LUMA[235]], [0, 255]);
        assert_eq!([EXPAND_LUMA[0], EXPAND_LUMA[255]], [0, 255]);
        assert_eq!(
            [EXPAND_CHROMA[16], EXPAND_CHROMA[128], EXPAND_CHROMA[240]],
            [0, 128, 255]
        );
        assert_eq!([SAME[0], SAME[77], SAME[255]], [0, 77, 255]);
    }

    #[test]
    fn names_and_codes_are_found() {
        for format in PixelFormat::ALL {
            assert_eq!(PixelFormat::from_name(format.name()), Some(format));
        }
        assert_eq!(PixelFormat::from_fourcc(*b"NM12"), Some(PixelFormat::Nv12));
        assert_eq!(PixelFormat::from_fourcc(*b"H264"), None);
    }
}
