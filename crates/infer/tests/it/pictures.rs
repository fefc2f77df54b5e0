//! Pictures of every kind and no kind: each is decoded or refused, none crashes.

use edgeflow_infer::image::{ImageError, JpegReader, Luma, MAX_JPEG_BYTES, Picture};
use jpeg_encoder::{ColorType, Encoder};
use proptest::prelude::*;

fn jpeg(pixels: &[u8], width: u16, height: u16, color: ColorType, progressive: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, 90);
    encoder.set_progressive(progressive);
    encoder.encode(pixels, width, height, color).unwrap();
    out
}

fn red(width: u16, height: u16) -> Vec<u8> {
    let pixels = [200, 30, 40].repeat(usize::from(width) * usize::from(height));
    jpeg(&pixels, width, height, ColorType::Rgb, false)
}

fn read(bytes: &[u8]) -> Result<Picture, ImageError> {
    let mut picture = Picture::default();
    JpegReader::new().read(bytes, &mut picture)?;
    Ok(picture)
}

fn near(a: u8, b: u8) -> bool {
    a.abs_diff(b) <= 6
}

/// Changes the size in the frame header.
fn with_size(mut bytes: Vec<u8>, width: u16, height: u16) -> Vec<u8> {
    let at = bytes
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    bytes[at + 5..at + 7].copy_from_slice(&height.to_be_bytes());
    bytes[at + 7..at + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

#[test]
fn colour_grey_cmyk_and_progressive_are_read_as_rgb() {
    let colour = read(&red(17, 9)).unwrap();
    assert_eq!(
        (colour.width, colour.height, colour.rgb.len()),
        (17, 9, 17 * 9 * 3)
    );
    assert!(near(colour.rgb[0], 200) && near(colour.rgb[1], 30) && near(colour.rgb[2], 40));

    let grey = read(&jpeg(&[77; 64], 8, 8, ColorType::Luma, false)).unwrap();
    assert!(grey.rgb.iter().all(|value| near(*value, 77)));

    let cmyk = read(&jpeg(
        &[0, 0, 0, 255].repeat(64),
        8,
        8,
        ColorType::Cmyk,
        false,
    ))
    .unwrap();
    assert!(
        cmyk.rgb.iter().all(|value| near(*value, cmyk.rgb[0])),
        "black, white or grey"
    );

    let progressive = read(&jpeg(&[9; 8 * 8 * 3], 8, 8, ColorType::Rgb, true)).unwrap();
    assert!(progressive.rgb.iter().all(|value| near(*value, 9)));
}

#[test]
fn a_single_pixel_is_a_picture() {
    let picture = read(&red(1, 1)).unwrap();
    assert_eq!(
        (picture.width, picture.height, picture.rgb.len()),
        (1, 1, 3)
    );
}

#[test]
fn text_and_nothing_are_no_jpeg() {
    assert_eq!(read(b""), Err(ImageError::NotJpeg));
    assert_eq!(read(b"GET / HTTP/1.1"), Err(ImageError::NotJpeg));
}

#[test]
fn a_cut_picture_is_an_error_at_every_length() {
    let whole = red(64, 48);
    for length in 0..whole.len() - 1 {
        assert!(read(&whole[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn sizes_beyond_the_limit_are_refused_before_allocation() {
    let claims = with_size(red(16, 16), 16_000, 16_000);
    assert!(matches!(
        read(&claims),
        Err(ImageError::TooManyPixels { .. })
    ));
    let beyond = with_size(red(16, 16), 65_000, 65_000);
    assert!(matches!(read(&beyond), Err(ImageError::Damaged(_))));
    let huge = vec![0xff; MAX_JPEG_BYTES + 1];
    assert!(matches!(read(&huge), Err(ImageError::TooManyBytes(_))));
}

#[test]
fn a_small_picture_that_claims_8k_does_not_crash() {
    // Within the limit: decoded as far as there is data, or refused.
    let _ = read(&with_size(red(16, 16), 7680, 4320));
}

#[test]
fn brightness_matches_the_colours() {
    let mut luma = Luma::default();
    let mut reader = JpegReader::new();
    reader.read_luma(&red(16, 8), &mut luma).unwrap();
    assert_eq!((luma.width, luma.height, luma.luma.len()), (16, 8, 128));
    assert!(near(luma.luma[0], 82), "{}", luma.luma[0]);
    let cmyk = jpeg(&[0, 0, 0, 255].repeat(64), 8, 8, ColorType::Cmyk, false);
    reader.read_luma(&cmyk, &mut luma).unwrap();
    assert_eq!(luma.luma.len(), 64);
}

#[test]
fn a_reader_works_on_after_a_bad_picture() {
    let mut reader = JpegReader::new();
    let mut picture = Picture::default();
    assert!(reader.read(&red(32, 32)[..100], &mut picture).is_err());
    reader.read(&red(8, 8), &mut picture).unwrap();
    assert_eq!(picture.rgb.len(), 192);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_pictures_never_crash(at in 0_usize..2000, bytes in proptest::collection::vec(any::<u8>(), 1..8)) {
        let mut picture = red(40, 24);
        // The size stays, so that a case takes no more than its share of time and memory.
        let header = picture.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        let at = at % picture.len();
        let end = (at + bytes.len()).min(picture.len());
        let size = picture[header..header + 9].to_vec();
        picture[at..end].copy_from_slice(&bytes[..end - at]);
        picture[header..header + 9].copy_from_slice(&size);
        let _ = read(&picture);
        let _ = JpegReader::new().read_luma(&picture, &mut Luma::default());
    }

    #[test]
    fn any_bytes_after_the_start_marker_never_crash(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&[&[0xff, 0xd8, 0xff][..], &bytes].concat());
    }
}
