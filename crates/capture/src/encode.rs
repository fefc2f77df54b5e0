//! Pixels to JPEG: by libjpeg-turbo where it is on the machine, which is four times as fast, else by
//! the encoder that is built in.

mod turbo;

use jpeg_encoder::{ColorType, Encoder, EncodingError, SamplingFactor};

use turbo::Sampling;

/// Why pixels do not become a JPEG.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Too few bytes for its size.
    #[error("the picture has {found} bytes, its size needs {expected}")]
    Short {
        /// Bytes there are.
        found: usize,
        /// Bytes there have to be.
        expected: usize,
    },
    /// The encoder gave up.
    #[error("the picture can't be coded as JPEG")]
    Encode(#[source] EncodingError),
}

/// What encodes on this machine.
pub fn encoder() -> &'static str {
    match turbo::get() {
        Some(_) => "libjpeg-turbo",
        None => "jpeg-encoder",
    }
}

/// RGB, rows without gaps, of `quality` 1 to 100; colours at half the resolution.
pub fn rgb(pixels: &[u8], width: u16, height: u16, quality: u8) -> Result<Vec<u8>, EncodeError> {
    let quality = quality.clamp(1, 100);
    let turbo = turbo::get().and_then(|turbo| turbo.rgb(pixels, (width, height), quality));
    match turbo {
        Some(jpeg) => Ok(jpeg),
        None => built_in_rgb(pixels, width, height, quality),
    }
}

/// The same by the encoder that is built in.
pub fn built_in_rgb(
    pixels: &[u8],
    width: u16,
    height: u16,
    quality: u8,
) -> Result<Vec<u8>, EncodeError> {
    let expected = usize::from(width) * usize::from(height) * 3;
    let pixels = pixels.get(..expected).ok_or(EncodeError::Short {
        found: pixels.len(),
        expected,
    })?;
    let mut out = Vec::with_capacity(expected / 8);
    let mut encoder = Encoder::new(&mut out, quality.clamp(1, 100));
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder
        .encode(pixels, width, height, ColorType::Rgb)
        .map_err(EncodeError::Encode)?;
    Ok(out)
}

/// Where planes of colour have values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    /// For every second pixel of each row.
    HalfColumns,
    /// For every second pixel of every second row.
    Half,
    /// Nowhere.
    Grey,
}

/// Planes of brightness and colour, by libjpeg-turbo only: `None` where it is not, or for odd sides.
pub(crate) fn planes(
    planes: [&[u8]; 3],
    size: (u16, u16),
    layout: Layout,
    quality: u8,
) -> Option<Vec<u8>> {
    let sampling = match layout {
        Layout::HalfColumns => Sampling::Yuv422,
        Layout::Half => Sampling::Yuv420,
        Layout::Grey => Sampling::Grey,
    };
    turbo::get()?.planes(planes, size, sampling, quality.clamp(1, 100))
}

/// Whether [`planes`] can do anything.
pub(crate) fn takes_planes() -> bool {
    turbo::get().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jpeg;

    #[test]
    fn both_encoders_give_a_picture_of_the_size_and_refuse_too_few_bytes() {
        println!("encoder: {}", encoder());
        for (width, height) in [(64, 48), (63, 47), (1, 1), (640, 3)] {
            let pixels = vec![120; usize::from(width) * usize::from(height) * 3];
            for encode in [rgb, built_in_rgb] {
                let coded = encode(&pixels, width, height, 80).unwrap();
                let size = jpeg::inspect(&coded).unwrap();
                assert_eq!((size.width, size.height), (width, height));
                let short = encode(&pixels[1..], width, height, 80);
                assert!(matches!(short, Err(EncodeError::Short { .. })));
            }
        }
        assert!(rgb(&[], 0, 0, 80).is_err());
    }
}
