//! The picture in a frame and what was found in it: JPEG or raw pixels, to RGB or brightness and back.
//! Shared by the nodes that look at pictures or change them.

use edgeflow::{Codec, DETECTIONS, Frame, Meta, NodeError, TRACKS};
use edgeflow_capture::encode;
use edgeflow_infer::Coded;
use edgeflow_infer::image::{JpegReader, Picture};
use edgeflow_infer::prepare::Preparer;
use edgeflow_infer::raw::{Layout, Raw};

/// Key of metadata: raw pixels have brightness from 0 to 255.
pub(crate) const FULL_RANGE: &str = "full_range";

/// What a frame holds. Refuses frames that are no pictures.
pub(crate) fn coded<'a>(node: &str, frame: &'a Frame) -> Result<Coded<'a>, NodeError> {
    let header = &frame.header;
    let layout = match header.codec {
        Codec::Jpeg => return Ok(Coded::Jpeg(&frame.payload)),
        Codec::Rgb8 => Layout::Rgb,
        Codec::Yuyv => Layout::Yuyv,
        Codec::Nv12 => Layout::Nv12,
        Codec::Grey8 => Layout::Grey,
        other => {
            return Err(NodeError::new(format!(
                "`{node}` needs frames with codec jpeg, nv12, yuyv, rgb8 or grey8, these have codec {}",
                other.name()
            )));
        }
    };
    Ok(Coded::Raw(Raw {
        layout,
        width: header.width.into(),
        height: header.height.into(),
        stride: usize::try_from(header.stride).unwrap_or(usize::MAX),
        full_range: frame.read_meta()?.get(FULL_RANGE)?.unwrap_or(false),
        bytes: &frame.payload,
    }))
}

/// Pixels of the frame at hand, to change and to send on as JPEG. Buffers are used again.
#[derive(Debug, Default)]
pub(crate) struct Pixels {
    reader: JpegReader,
    pub(crate) picture: Picture,
    resizer: Preparer,
}

impl Pixels {
    /// Reads the picture of a frame.
    pub(crate) fn read(&mut self, node: &str, frame: &Frame) -> Result<(), NodeError> {
        Ok(coded(node, frame)?.read(&mut self.reader, &mut self.picture)?)
    }

    /// The picture of a frame as a JPEG whose sides have `longest` pixels at most.
    pub(crate) fn small_jpeg(
        &mut self,
        node: &str,
        frame: &Frame,
        longest: usize,
        quality: u8,
    ) -> Result<Vec<u8>, NodeError> {
        self.read(node, frame)?;
        let Picture { width, height, .. } = self.picture;
        let side = width.max(height).max(1);
        if side > longest {
            let scaled = |pixels: usize| (pixels * longest / side).max(1);
            let (width, height) = (scaled(width), scaled(height));
            let rgb = self.resizer.resize(&self.picture, width, height)?.to_vec();
            self.picture = Picture { width, height, rgb };
        }
        Ok(self.frame(frame, quality)?.payload.to_vec())
    }

    /// The frame with the changed picture, as JPEG.
    pub(crate) fn frame(&self, frame: &Frame, quality: u8) -> Result<Frame, NodeError> {
        let Picture { width, height, rgb } = &self.picture;
        let side = |side: usize| {
            u16::try_from(side).map_err(|_| NodeError::new(format!("a side of {side} pixels")))
        };
        let (width, height) = (side(*width)?, side(*height)?);
        let jpeg = encode::rgb(rgb, width, height, quality)?;
        let mut frame = frame.with_payload(Codec::Jpeg, jpeg);
        let header = &mut frame.header;
        (header.width, header.height, header.stride) = (width, height, 0);
        Ok(frame)
    }
}

/// Something that was found in a picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thing {
    pub(crate) label: String,
    /// Number of the track.
    pub(crate) track: Option<u64>,
    pub(crate) score: f32,
    /// Left, top, width, height in pixels.
    pub(crate) at: [f32; 4],
    pub(crate) outline: Vec<[f32; 2]>,
}

/// The tracks of a frame, else its detections; `None`: nobody has looked for any.
pub(crate) fn things(meta: &Meta) -> Result<Option<Vec<Thing>>, NodeError> {
    let has = |wanted: &str| meta.keys().any(|key| key == wanted);
    if has(TRACKS) {
        let tracks = meta.tracks()?.into_iter().map(|track| Thing {
            label: track.label,
            track: Some(track.id),
            score: track.score,
            at: [track.x, track.y, track.w, track.h],
            outline: track.outline,
        });
        return Ok(Some(tracks.collect()));
    }
    if !has(DETECTIONS) {
        return Ok(None);
    }
    let detections = meta.detections()?.into_iter().map(|found| Thing {
        label: found.label,
        track: None,
        score: found.score,
        at: [found.x, found.y, found.w, found.h],
        outline: found.outline,
    });
    Ok(Some(detections.collect()))
}

#[cfg(test)]
mod tests {
    use edgeflow_capture::camera::{PixelFormat, RawPicture};

    use super::*;

    /// A smooth picture of a camera, in its format.
    fn camera_picture(format: PixelFormat, width: usize, height: usize) -> (Layout, Vec<u8>) {
        let luma = |x: usize, y: usize| (40 + 120 * x / width + 40 * y / height) as u8;
        let blue = |x: usize| (100 + 50 * x / width) as u8;
        let red = |y: usize| (150 - 50 * y / height) as u8;
        let every = |f: &dyn Fn(usize, usize) -> Vec<u8>| -> Vec<u8> {
            let rows = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            rows.flat_map(|(x, y)| f(x, y)).collect()
        };
        match format {
            PixelFormat::Nv12 => {
                let mut bytes = every(&|x, y| vec![luma(x, y)]);
                let chroma = (0..height).step_by(2);
                bytes.extend(
                    chroma.flat_map(|y| (0..width).step_by(2).flat_map(move |x| [blue(x), red(y)])),
                );
                (Layout::Nv12, bytes)
            }
            PixelFormat::Yuyv => {
                let colour = |x: usize, y: usize| match x % 2 {
                    0 => blue(x),
                    _ => red(y),
                };
                (Layout::Yuyv, every(&|x, y| vec![luma(x, y), colour(x, y)]))
            }
            PixelFormat::Grey => (Layout::Grey, every(&|x, y| vec![luma(x, y)])),
            _ => (
                Layout::Rgb,
                every(&|x, y| vec![luma(x, y), blue(x), red(y)]),
            ),
        }
    }

    #[test]
    fn a_jpeg_of_a_cameras_pixels_shows_what_they_show() {
        println!("encoder: {}", encode::encoder());
        for format in [
            PixelFormat::Nv12,
            PixelFormat::Yuyv,
            PixelFormat::Grey,
            PixelFormat::Rgb24,
        ] {
            for (width, height) in [(160, 120), (162, 122)] {
                // Grey pixels in frames are read as they are, whatever the camera says of its range.
                for full_range in [format == PixelFormat::Grey, true] {
                    let (layout, bytes) = camera_picture(format, width, height);
                    let raw = Raw {
                        layout,
                        width,
                        height,
                        stride: format.row_bytes(width),
                        full_range,
                        bytes: &bytes,
                    };
                    let mut expected = Picture::default();
                    raw.read(&mut expected).unwrap();
                    let coded = RawPicture {
                        format,
                        width: width as u16,
                        height: height as u16,
                        full_range,
                        bytes: &bytes,
                    };
                    let mut seen = Picture::default();
                    let jpeg = coded.to_jpeg(95).unwrap();
                    JpegReader::new().read(&jpeg, &mut seen).unwrap();
                    assert_eq!((seen.width, seen.height), (width, height));
                    let pairs = seen.rgb.iter().zip(&expected.rgb);
                    let off: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
                    let mean = off as f64 / seen.rgb.len() as f64;
                    assert!(mean < 3.0, "{format:?} {full_range}: {mean} off");
                }
            }
        }
    }
}
