//! A model ready to find things in pictures: load once, then JPEG or pixels in, boxes out, with
//! the time of each stage.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::backend::{Backend, BackendError, RtenBackend};
use crate::catalogue::COCO;
use crate::decode::{DecodeError, DecoderKind, shapes};
use crate::detection::{self, Detection};
use crate::image::{ImageError, JpegReader, Picture};
use crate::letterbox::{ChannelOrder, InputSize, Letterbox, PrepareError, Preparer};
use crate::locate::{self, LocateError, ModelFile};
use crate::onnx::{self, OnnxError};
use crate::raw::Raw;

/// Sides of a model's input that are accepted.
const MAX_INPUT_SIDE: u64 = 4096;

/// How a detector works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Boxes with a lower score are left out.
    pub threshold: f32,
    /// Boxes of a class that overlap by more are the same object.
    pub iou: f32,
    /// Threads; 0: one for each core that the process may use.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threshold: 0.4,
            iou: 0.45,
            threads: 0,
        }
    }
}

/// Where the time of the last picture went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// JPEG to pixels.
    pub decode: Duration,
    /// Pixels to the model's input.
    pub prepare: Duration,
    /// The model itself.
    pub infer: Duration,
    /// The model's outputs to boxes.
    pub boxes: Duration,
}

impl Timings {
    /// All stages together.
    pub fn total(&self) -> Duration {
        self.decode + self.prepare + self.infer + self.boxes
    }
}

/// Why a detector can't be made or can't work on a picture.
#[derive(Debug, thiserror::Error)]
pub enum DetectorError {
    /// The file is missing, unreadable or another one.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// The file is not a model.
    #[error("{}", .path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: OnnxError,
    },
    /// The runtime refuses the model.
    #[error("model {}", .path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BackendError,
    },
    /// A model of no known family.
    #[error(
        "model {} is of no supported kind: {reason}; supported are YOLOX ([1, anchors, 5 + classes]) and CenterFace outputs",
        .path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The picture can't be decoded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The picture can't be fitted to the input.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The model failed on the picture.
    #[error(transparent)]
    Run(#[from] BackendError),
    /// The outputs are not what they were when the model was loaded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// A loaded model with its buffers.
#[derive(Debug)]
pub struct Detector {
    name: String,
    path: PathBuf,
    backend: Box<dyn Backend>,
    shape: Shape,
    options: Options,
    reader: JpegReader,
    picture: Picture,
    preparer: Preparer,
    found: Vec<Detection>,
    timings: Timings,
}

/// How a model's input and outputs are to be understood.
#[derive(Clone, Copy, Debug)]
struct Shape {
    decoder: DecoderKind,
    input: InputSize,
    order: ChannelOrder,
    labels: &'static [&'static str],
}

impl Detector {
    /// Loads a model by catalogue name, file name or path, and runs it once, so that a model that
    /// can't work fails here.
    pub fn load(name: &str, dirs: &[PathBuf], options: Options) -> Result<Self, DetectorError> {
        let file = locate::read(name, dirs)?;
        let input = onnx::input(&file.bytes).map_err(|source| DetectorError::Onnx {
            path: file.path.clone(),
            source,
        })?;
        let (shape, free) = match file.entry {
            Some(entry) => {
                let shape = Shape {
                    decoder: entry.decoder,
                    input: entry.input,
                    order: entry.order,
                    labels: entry.labels,
                };
                (
                    Some(shape),
                    matches!(entry.input, InputSize::Multiple { .. }),
                )
            }
            None => (None, false),
        };
        let mut backend = open(&file, free, options.threads)?;
        let shape = match shape {
            Some(shape) => shape,
            None => guess(&file, &input.dims, backend.as_mut())?,
        };
        let mut detector = Self {
            name: file.entry.map_or(name, |entry| entry.name).to_owned(),
            path: file.path,
            backend,
            shape,
            options,
            reader: JpegReader::new(),
            picture: Picture::default(),
            preparer: Preparer::default(),
            found: Vec::new(),
            timings: Timings::default(),
        };
        detector.warm_up()?;
        Ok(detector)
    }

    /// Catalogue name, or the name that it was loaded by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model's file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Family of the model, and the runtime.
    pub fn kind(&self) -> (&'static str, &'static str) {
        (self.shape.decoder.name(), self.backend.name())
    }

    /// The name of a class.
    pub fn label(&self, class: usize) -> Cow<'static, str> {
        match self.shape.labels.get(class) {
            Some(label) => Cow::Borrowed(label),
            None => Cow::Owned(format!("class {class}")),
        }
    }

    /// The names of the classes; empty when they are not known.
    pub fn labels(&self) -> &'static [&'static str] {
        self.shape.labels
    }

    /// Lowest score and largest overlap from the next picture on, as in [`Options`].
    pub fn set_limits(&mut self, threshold: f32, iou: f32) {
        self.options.threshold = threshold;
        self.options.iou = iou;
    }

    /// Finds objects in a JPEG.
    pub fn detect_jpeg(&mut self, jpeg: &[u8]) -> Result<&[Detection], DetectorError> {
        self.detect_read(|reader, picture| reader.read(jpeg, picture))
    }

    /// Finds objects in raw pixels.
    pub fn detect_raw(&mut self, raw: &Raw<'_>) -> Result<&[Detection], DetectorError> {
        self.detect_read(|_, picture| raw.read(picture))
    }

    fn detect_read(
        &mut self,
        read: impl FnOnce(&mut JpegReader, &mut Picture) -> Result<(), ImageError>,
    ) -> Result<&[Detection], DetectorError> {
        let start = Instant::now();
        let mut picture = std::mem::take(&mut self.picture);
        let read = read(&mut self.reader, &mut picture);
        self.timings.decode = start.elapsed();
        let result = match read {
            Ok(()) => self.run(&picture),
            Err(error) => Err(error.into()),
        };
        self.picture = picture;
        result.map(|()| &self.found[..])
    }

    /// Finds objects in pixels.
    pub fn detect(&mut self, picture: &Picture) -> Result<&[Detection], DetectorError> {
        self.timings.decode = Duration::ZERO;
        self.run(picture)?;
        Ok(&self.found)
    }

    /// Where the time of the last picture went.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// The model's input made of the last picture: shape and values.
    pub fn last_input(&self) -> ([usize; 4], &[f32]) {
        let fit = self.fit(self.picture.width.max(1), self.picture.height.max(1));
        ([1, 3, fit.height, fit.width], self.preparer.planes())
    }

    fn fit(&self, width: usize, height: usize) -> Letterbox {
        Letterbox::fit(width, height, self.shape.input)
    }

    fn run(&mut self, picture: &Picture) -> Result<(), DetectorError> {
        let fit = self.fit(picture.width, picture.height);
        let start = Instant::now();
        let planes = self.preparer.prepare(picture, &fit, self.shape.order)?;
        let prepared = Instant::now();
        let outputs = self.backend.run([1, 3, fit.height, fit.width], planes)?;
        let inferred = Instant::now();
        let (threshold, found) = (self.options.threshold, &mut self.found);
        found.clear();
        self.shape
            .decoder
            .decode(&outputs, fit.width, fit.height, threshold, found)?;
        detection::suppress(found, self.options.iou);
        found.iter_mut().for_each(|detection| fit.undo(detection));
        detection::clamp(found, picture.width as f32, picture.height as f32);
        self.timings.prepare = prepared - start;
        self.timings.infer = inferred - prepared;
        self.timings.boxes = inferred.elapsed();
        Ok(())
    }

    fn warm_up(&mut self) -> Result<(), DetectorError> {
        let grey = Picture {
            width: 64,
            height: 64,
            rgb: vec![127; 64 * 64 * 3],
        };
        match self.run(&grey) {
            Err(DetectorError::Decode(error)) => Err(DetectorError::Unsupported {
                path: self.path.clone(),
                reason: error.to_string(),
            }),
            other => other,
        }
    }
}

fn open(file: &ModelFile, free: bool, threads: usize) -> Result<Box<dyn Backend>, DetectorError> {
    let bytes = if free {
        onnx::with_free_size(&file.bytes).map_err(|source| DetectorError::Onnx {
            path: file.path.clone(),
            source,
        })?
    } else {
        file.bytes.clone()
    };
    match RtenBackend::load(bytes, threads) {
        Ok(backend) => Ok(Box::new(backend)),
        Err(source) => Err(DetectorError::Load {
            path: file.path.clone(),
            source,
        }),
    }
}

/// Finds out what a model that is not in the catalogue is, by running it once.
fn guess(
    file: &ModelFile,
    dims: &[Option<u64>],
    backend: &mut dyn Backend,
) -> Result<Shape, DetectorError> {
    let unsupported = |reason: String| DetectorError::Unsupported {
        path: file.path.clone(),
        reason,
    };
    let side = |dim: Option<u64>| usize::try_from(dim.unwrap_or(640).min(MAX_INPUT_SIDE));
    let (height, width) = match *dims {
        [None | Some(1), None | Some(3), height, width] => match (side(height), side(width)) {
            (Ok(height), Ok(width)) => (height, width),
            _ => return Err(unsupported("its input is too large".to_owned())),
        },
        _ => {
            return Err(unsupported(format!(
                "its input is {dims:?}, not [1, 3, height, width]"
            )));
        }
    };
    let shape = [1, 3, height, width];
    let outputs = backend
        .run(shape, &vec![114.0; 3 * height * width])
        .map_err(|source| DetectorError::Load {
            path: file.path.clone(),
            source,
        })?;
    let decoder = DecoderKind::guess(&outputs, width, height)
        .ok_or_else(|| unsupported(format!("its outputs are {}", shapes(&outputs))))?;
    let classes = outputs[0]
        .shape
        .last()
        .map_or(0, |values| values.saturating_sub(5));
    let (order, labels): (_, &'static [&'static str]) = match decoder {
        DecoderKind::Yolox if classes == COCO.len() => (ChannelOrder::Bgr, COCO),
        DecoderKind::Yolox => (ChannelOrder::Bgr, &[]),
        DecoderKind::CenterFace => (ChannelOrder::Rgb, &["face"]),
    };
    Ok(Shape {
        decoder,
        input: InputSize::Fixed { width, height },
        order,
        labels,
    })
}
