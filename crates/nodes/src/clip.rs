//! Makes a clip of still pictures: each one drifts and breathes on a plain ground, so that the
//! whole picture stays in view and the end meets the start. For the demo and for tests.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use edgeflow_capture::avi::AviWriter;
use edgeflow_infer::image::{JpegReader, MAX_PIXELS, Picture};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

/// Colour around the picture.
const GROUND: [u8; 3] = [30, 34, 40];
/// Pictures that one clip takes.
const MAX_PICTURES: usize = 100;
/// Smallest size of a picture, as a share of the largest that fits.
const SMALLEST: f64 = 0.72;
const QUALITY: u8 = 85;

/// What to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File to write.
    #[arg(long)]
    out: PathBuf,
    /// Pictures a second.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=60))]
    fps: u32,
    /// Size of the clip.
    #[arg(long, default_value = "1280x720")]
    size: String,
    /// Length in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=120))]
    seconds: u32,
    /// PNG or JPEG files.
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (width, height) = crate::pattern::parse_size(&args.size)
        .filter(|(width, height)| (16..=3840).contains(width) && (16..=2160).contains(height))
        .with_context(|| format!("`{}` is not a size from 16x16 to 3840x2160", args.size))?;
    ensure!(
        args.pictures.len() <= MAX_PICTURES,
        "more than {MAX_PICTURES} pictures"
    );
    let partial = args.out.with_extension("avi.partial");
    let file = File::create(&partial)
        .with_context(|| format!("{} can't be written", partial.display()))?;
    let mut writer = AviWriter::new(BufWriter::new(file), width, height, args.fps)?;
    let count = u32::try_from(args.pictures.len()).unwrap_or(u32::MAX);
    let frames = (args.fps * args.seconds / count).max(1);
    let mut stage = Stage::new(usize::from(width), usize::from(height));
    for path in &args.pictures {
        let picture = read_picture(path)?;
        for frame in 0..frames {
            stage.show(&picture, f64::from(frame) / f64::from(frames))?;
            let mut jpeg = Vec::new();
            jpeg_encoder::Encoder::new(&mut jpeg, QUALITY).encode(
                &stage.pixels,
                width,
                height,
                jpeg_encoder::ColorType::Rgb,
            )?;
            writer.write(&jpeg)?;
        }
    }
    writer.finish()?;
    std::fs::rename(&partial, &args.out)
        .with_context(|| format!("{} can't be written", args.out.display()))
}

/// The picture area of the clip.
struct Stage {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    scaled: Vec<u8>,
    resizer: Resizer,
}

impl Stage {
    fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: Vec::new(),
            scaled: Vec::new(),
            resizer: Resizer::new(),
        }
    }

    /// Draws a picture at a point of its way; 0 and 1 are the same place.
    fn show(&mut self, picture: &Picture, time: f64) -> anyhow::Result<()> {
        let angle = time * std::f64::consts::TAU;
        let fit = (self.width as f64 / picture.width as f64)
            .min(self.height as f64 / picture.height as f64);
        let zoom = fit * (1.0 - (1.0 - SMALLEST) * (1.0 - angle.cos()) / 2.0);
        let width = ((picture.width as f64 * zoom) as usize).clamp(1, self.width);
        let height = ((picture.height as f64 * zoom) as usize).clamp(1, self.height);
        self.scale(picture, width, height)?;
        let place = |free: usize, share: f64| (free as f64 * (0.5 + 0.5 * share)) as usize;
        let left = place(self.width - width, angle.sin());
        let top = place(self.height - height, (2.0 * angle).sin() * 0.8);
        self.pixels.clear();
        self.pixels.extend(GROUND.repeat(self.width * self.height));
        for (row, pixels) in self.scaled.chunks_exact(width * 3).enumerate() {
            let at = ((top + row) * self.width + left) * 3;
            self.pixels[at..at + pixels.len()].copy_from_slice(pixels);
        }
        Ok(())
    }

    fn scale(&mut self, picture: &Picture, width: usize, height: usize) -> anyhow::Result<()> {
        self.scaled.resize(width * height * 3, 0);
        let source = ImageRef::new(
            u32::try_from(picture.width)?,
            u32::try_from(picture.height)?,
            &picture.rgb,
            PixelType::U8x3,
        )?;
        let mut target = Image::from_slice_u8(
            u32::try_from(width)?,
            u32::try_from(height)?,
            &mut self.scaled,
            PixelType::U8x3,
        )?;
        let options =
            ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
        self.resizer.resize(&source, &mut target, &options)?;
        Ok(())
    }
}

/// Reads a PNG or JPEG file.
pub(crate) fn read_picture(path: &Path) -> anyhow::Result<Picture> {
    let bytes = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    let picture = if bytes.starts_with(b"\x89PNG") {
        read_png(&bytes)
    } else {
        let mut picture = Picture::default();
        let read = JpegReader::new().read(&bytes, &mut picture);
        read.map(|()| picture).map_err(Into::into)
    };
    picture.with_context(|| format!("{} is not a usable PNG or JPEG picture", path.display()))
}

fn read_png(bytes: &[u8]) -> anyhow::Result<Picture> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    ensure!(
        width.saturating_mul(height) <= MAX_PIXELS,
        "{width}x{height} is too large"
    );
    let size = reader
        .output_buffer_size()
        .context("the picture is too large")?;
    let mut pixels = vec![0; size];
    let info = reader.next_frame(&mut pixels)?;
    pixels.truncate(info.buffer_size());
    let rgb = match info.color_type {
        png::ColorType::Rgb => pixels,
        png::ColorType::Rgba => pixels
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect(),
        png::ColorType::Grayscale => pixels.iter().flat_map(|v| [*v; 3]).collect(),
        png::ColorType::GrayscaleAlpha => pixels.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        png::ColorType::Indexed => bail!("the palette was not expanded"),
    };
    Ok(Picture { width, height, rgb })
}

#[cfg(test)]
mod tests {
    use edgeflow_capture::avi::AviReader;
    use edgeflow_capture::jpeg;

    use super::*;

    fn write_png(path: &Path, color: png::ColorType, pixels: &[u8]) {
        let mut encoder = png::Encoder::new(File::create(path).unwrap(), 4, 2);
        encoder.set_color(color);
        encoder
            .write_header()
            .unwrap()
            .write_image_data(pixels)
            .unwrap();
    }

    #[test]
    fn png_kinds_are_read_as_rgb() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        for (color, pixel, expected) in [
            (png::ColorType::Rgb, vec![1, 2, 3], [1, 2, 3]),
            (png::ColorType::Rgba, vec![1, 2, 3, 255], [1, 2, 3]),
            (png::ColorType::Grayscale, vec![9], [9, 9, 9]),
            (png::ColorType::GrayscaleAlpha, vec![9, 255], [9, 9, 9]),
        ] {
            write_png(&path, color, &pixel.repeat(8));
            let picture = read_picture(&path).unwrap();
            assert_eq!((picture.width, picture.height), (4, 2));
            assert_eq!(picture.rgb, expected.repeat(8));
        }
        std::fs::write(&path, "text").unwrap();
        assert!(read_picture(&path).is_err());
    }

    #[test]
    fn a_clip_has_the_length_and_size_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let picture = dir.path().join("a.png");
        write_png(&picture, png::ColorType::Rgb, &[200; 24]);
        let args = Args {
            out: dir.path().join("clip.avi"),
            fps: 5,
            size: "64x48".to_owned(),
            seconds: 2,
            pictures: vec![picture.clone(), picture],
        };
        run(&args).unwrap();
        let mut reader = AviReader::new(File::open(&args.out).unwrap()).unwrap();
        assert_eq!(reader.fps(), Some(5.0));
        let mut frames = 0;
        while let Some(bytes) = reader.next_picture().unwrap() {
            let size = jpeg::inspect(&bytes).unwrap();
            assert_eq!((size.width, size.height), (64, 48));
            frames += 1;
        }
        assert_eq!(frames, 10);
        assert!(!dir.path().join("clip.avi.partial").exists());
    }
}
