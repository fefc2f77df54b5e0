//! JPEG to pixels, within limits that are checked before anything large is allocated. Grey, CMYK
//! and progressive pictures are read as RGB; a picture that is cut off is an error.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// Bytes of a JPEG that are accepted.
pub const MAX_JPEG_BYTES: usize = 32 * 1024 * 1024;
/// Width and height that are accepted.
pub const MAX_SIDE: usize = 16_384;
/// Pixels that are accepted: a little more than 8K video.
pub const MAX_PIXELS: usize = 36_000_000;
/// Scans of a progressive picture that are accepted.
const MAX_SCANS: usize = 100;
/// Bytes after the end marker that cameras may leave.
const MAX_TRAILING: usize = 4096;

/// An 8-bit RGB picture, rows without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height * 3` bytes.
    pub rgb: Vec<u8>,
}

/// An 8-bit grey picture, rows without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Luma {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` bytes.
    pub luma: Vec<u8>,
}

/// Why bytes are not a picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No JPEG at all.
    #[error("not a JPEG picture")]
    NotJpeg,
    /// The end is missing.
    #[error("the JPEG is cut off: it has no end marker")]
    Truncated,
    /// More bytes than accepted.
    #[error("the JPEG has {0} bytes; the limit is {MAX_JPEG_BYTES}")]
    TooManyBytes(usize),
    /// More pixels than accepted.
    #[error("the picture has {width}x{height} pixels; the limit is {MAX_PIXELS} pixels in all")]
    TooManyPixels {
        /// Width in its header.
        width: usize,
        /// Height in its header.
        height: usize,
    },
    /// Raw pixels that are too few for their size.
    #[error("{width}x{height} pixels need {needed} bytes, there are {found}")]
    Short {
        /// Pixels a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes there are.
        found: usize,
        /// Bytes there have to be.
        needed: usize,
    },
    /// The decoder gave up.
    #[error("the JPEG is damaged or of an unsupported kind: {0}")]
    Damaged(String),
}

/// Decodes JPEGs into buffers that are used again.
#[derive(Clone, Debug, Default)]
pub struct JpegReader {
    scratch: Picture,
}

impl JpegReader {
    /// A reader without buffers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes into `picture`, whose buffer is used again.
    pub fn read(&mut self, jpeg: &[u8], picture: &mut Picture) -> Result<(), ImageError> {
        let (mut decoder, width, height) = open(jpeg)?;
        set_output(&mut decoder, ColorSpace::RGB);
        picture.rgb.resize(width * height * 3, 0);
        decoder
            .decode_into(&mut picture.rgb)
            .map_err(|error| damaged(&error))?;
        (picture.width, picture.height) = (width, height);
        Ok(())
    }

    /// Decodes the brightness only, which is cheaper than colour.
    pub fn read_luma(&mut self, jpeg: &[u8], out: &mut Luma) -> Result<(), ImageError> {
        let (mut decoder, width, height) = open(jpeg)?;
        out.luma.resize(width * height, 0);
        (out.width, out.height) = (width, height);
        let space = decoder.input_colorspace();
        if matches!(space, Some(ColorSpace::YCbCr | ColorSpace::Luma)) {
            set_output(&mut decoder, ColorSpace::Luma);
            return decoder
                .decode_into(&mut out.luma)
                .map_err(|error| damaged(&error));
        }
        let mut picture = std::mem::take(&mut self.scratch);
        let result = self.read(jpeg, &mut picture);
        for (luma, rgb) in out.luma.iter_mut().zip(picture.rgb.chunks_exact(3)) {
            *luma = brightness(rgb);
        }
        self.scratch = picture;
        result
    }
}

/// Of a pixel of three bytes, by ITU-R BT.601.
pub(crate) fn brightness(rgb: &[u8]) -> u8 {
    let sum = u32::from(rgb[0]) * 77 + u32::from(rgb[1]) * 150 + u32::from(rgb[2]) * 29;
    u8::try_from(sum >> 8).unwrap_or(u8::MAX)
}

type Decoder<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

/// Reads the headers and checks every limit.
fn open(jpeg: &[u8]) -> Result<(Decoder<'_>, usize, usize), ImageError> {
    if jpeg.len() > MAX_JPEG_BYTES {
        return Err(ImageError::TooManyBytes(jpeg.len()));
    }
    if !jpeg.starts_with(&[0xff, 0xd8, 0xff]) {
        return Err(ImageError::NotJpeg);
    }
    let options = DecoderOptions::default()
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_max_scans(MAX_SCANS);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    decoder.decode_headers().map_err(|error| damaged(&error))?;
    let (width, height) = decoder
        .dimensions()
        .ok_or_else(|| ImageError::Damaged("no size".to_owned()))?;
    if width.saturating_mul(height) > MAX_PIXELS {
        return Err(ImageError::TooManyPixels { width, height });
    }
    if width == 0 || height == 0 {
        return Err(ImageError::Damaged("no pixels".to_owned()));
    }
    let tail = &jpeg[jpeg.len().saturating_sub(MAX_TRAILING)..];
    if !tail.windows(2).any(|pair| pair == [0xff, 0xd9]) {
        return Err(ImageError::Truncated);
    }
    Ok((decoder, width, height))
}

fn set_output(decoder: &mut Decoder<'_>, space: ColorSpace) {
    let options = decoder.options().jpeg_set_out_colorspace(space);
    decoder.set_options(options);
}

fn damaged(error: &zune_jpeg::errors::DecodeErrors) -> ImageError {
    let text = error.to_string();
    ImageError::Damaged(text.trim().chars().take(200).collect())
}
