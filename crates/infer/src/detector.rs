//! A model ready to find things in pictures: load once, then JPEG or pixels in, boxes out, with
//! the time of each stage.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use edgeflow_model::onnx::{self, OnnxError};
use edgeflow_model::{COCO, Colours, Description, DescriptionError, Family, InputSize, Placement};

use crate::backend::{self, Backend, BackendError, LoadOptions};
use crate::decode::{Decode, DecodeError, shapes};
use crate::detection::{self, Detection};
use crate::engine::Engine;
use crate::image::{ImageError, JpegReader, Picture};
use crate::letterbox::{Letterbox, PADDING};
use crate::locate::{self, LocateError, ModelFile};
use crate::prepare::{PrepareError, Preparer};
use crate::raw::Raw;

/// Sides of a model's input that are accepted.
const MAX_INPUT_SIDE: u64 = 4096;
/// Of a model that takes any size.
const USUAL_SIDE: u64 = 640;

/// How a detector works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Boxes with a lower score are left out.
    pub threshold: f32,
    /// Boxes of a class that overlap by more are the same object.
    pub iou: f32,
    /// The runtime.
    pub runtime: LoadOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threshold: 0.4,
            iou: 0.45,
            runtime: LoadOptions::default(),
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
    /// What is told of the model.
    #[error(transparent)]
    Description(#[from] DescriptionError),
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
        "model {} is of no supported kind: {reason}; supported are outputs of YOLOX, YOLOv5 to 12, SSD and UltraFace, NanoDet-Plus, PicoDet and CenterFace (docs/models.md)",
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
    engine: Engine,
    passed_over: Vec<String>,
    shape: Shape,
    options: Options,
    reader: JpegReader,
    picture: Picture,
    preparer: Preparer,
    found: Vec<Detection>,
    timings: Timings,
}

/// How a model's input and outputs are to be understood.
#[derive(Clone, Debug)]
struct Shape {
    decoder: Family,
    input: InputSize,
    placement: Placement,
    colours: Colours,
    labels: Vec<String>,
}

impl Detector {
    /// Loads a model by catalogue name, file name or path, and runs it once, so that a model that
    /// can't work fails here.
    pub fn load(name: &str, dirs: &[PathBuf], options: Options) -> Result<Self, DetectorError> {
        let file = locate::read(name, dirs)?;
        let told = Description::beside(&file.path)?.unwrap_or_default();
        Self::build(name, file, &told, options)
    }

    /// The same for a file that is known, with what is told of it. `name` is for people.
    pub fn load_file(
        name: &str,
        path: PathBuf,
        told: &Description,
        options: Options,
    ) -> Result<Self, DetectorError> {
        Self::build(name, locate::read_file(path)?, told, options)
    }

    fn build(
        name: &str,
        file: ModelFile,
        told: &Description,
        options: Options,
    ) -> Result<Self, DetectorError> {
        let damaged = |source| DetectorError::Onnx {
            path: file.path.clone(),
            source,
        };
        let dims = onnx::input(&file.bytes).map_err(damaged)?.dims;
        let mut any_number = dims.first() == Some(&None);
        let input = file.entry.map(|entry| entry.input);
        let free = matches!(input, Some(InputSize::Multiple { .. }));
        let bytes = if free {
            any_number = true;
            Cow::Owned(onnx::with_free_size(&file.bytes).map_err(damaged)?)
        } else {
            Cow::Borrowed(&file.bytes)
        };
        let loaded = backend::load(&bytes, &options.runtime);
        let loaded = loaded.map_err(|source| DetectorError::Load {
            path: file.path.clone(),
            source,
        })?;
        let mut backend = loaded.backend;
        let shape = match file.entry {
            Some(entry) => {
                let (placement, colours) = entry.family.input();
                Shape {
                    decoder: entry.family,
                    input: entry.input,
                    placement,
                    colours,
                    labels: entry.labels.clone(),
                }
            }
            None => find_out(&file, told, &dims, backend.as_mut())?,
        };
        let mut detector = Self {
            name: file.entry.map_or(name, |entry| &entry.name).to_owned(),
            path: file.path,
            engine: Engine::new(backend, any_number),
            passed_over: loaded.passed_over,
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

    /// Another one of the same model, to work on another picture at the same time.
    pub fn fork(&self) -> Self {
        Self {
            name: self.name.clone(),
            path: self.path.clone(),
            engine: self.engine.fork(),
            passed_over: self.passed_over.clone(),
            shape: self.shape.clone(),
            options: self.options.clone(),
            reader: JpegReader::new(),
            picture: Picture::default(),
            preparer: Preparer::default(),
            found: Vec::new(),
            timings: Timings::default(),
        }
    }

    /// Catalogue name, or the name that it was loaded by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model's file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Family of the model.
    pub fn family(&self) -> &'static str {
        self.shape.decoder.name()
    }

    /// The runtime and what it runs on.
    pub fn runtime(&self) -> &str {
        self.engine.name()
    }

    /// The most pictures of this detector and its [forks](Self::fork) that the model took at a time.
    pub fn largest_batch(&self) -> usize {
        self.engine.largest_batch()
    }

    /// Why the model takes one picture at a time although its file says otherwise.
    pub fn no_batches(&self) -> Option<&str> {
        self.engine.no_batches()
    }

    /// Why no faster runtime was taken, if the choice was left to us.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// What the model is told to be.
    pub fn input(&self) -> (InputSize, Placement, Colours) {
        (self.shape.input, self.shape.placement, self.shape.colours)
    }

    /// The name of a class.
    pub fn label(&self, class: usize) -> Cow<'_, str> {
        match self.shape.labels.get(class) {
            Some(label) => Cow::Borrowed(label.as_str()),
            None => Cow::Owned(format!("class {class}")),
        }
    }

    /// The names of the classes; empty when they are not known.
    pub fn labels(&self) -> &[String] {
        &self.shape.labels
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
        let _busy = self.engine.begin();
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
        let _busy = self.engine.begin();
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
        Letterbox::fit(width, height, self.shape.input, self.shape.placement)
    }

    fn run(&mut self, picture: &Picture) -> Result<(), DetectorError> {
        let fit = self.fit(picture.width, picture.height);
        let start = Instant::now();
        let planes = self.preparer.prepare(picture, &fit, &self.shape.colours)?;
        let prepared = Instant::now();
        let (threshold, found) = (self.options.threshold, &mut self.found);
        found.clear();
        let decoder = self.shape.decoder;
        let (mut inferred, mut decoded) = (prepared, Ok(()));
        let shape = [1, 3, fit.height, fit.width];
        self.engine.run(shape, planes, &mut |outputs| {
            inferred = Instant::now();
            decoded = decoder.decode(outputs, fit.width, fit.height, threshold, found);
        })?;
        decoded?;
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

/// Finds out what a model that is not in the catalogue is: by what is told of it, by what its file says,
/// and by running it once.
fn find_out(
    file: &ModelFile,
    told: &Description,
    dims: &[Option<u64>],
    backend: &mut dyn Backend,
) -> Result<Shape, DetectorError> {
    let unsupported = |reason: String| DetectorError::Unsupported {
        path: file.path.clone(),
        reason,
    };
    let (width, height) = input_size(dims).map_err(unsupported)?;
    let told_family = told.told_family()?;
    let mut found = None;
    let mut have = String::new();
    let grey = vec![f32::from(PADDING) / 255.0; 3 * height * width];
    let ran = backend.run([1, 3, height, width], &grey, &mut |outputs| {
        have = shapes(outputs);
        let family = told_family.or_else(|| Family::guess(outputs, width, height));
        found = family.map(|family| (family, family.classes(outputs)));
    });
    ran.map_err(|source| DetectorError::Load {
        path: file.path.clone(),
        source,
    })?;
    let (decoder, classes) = found.ok_or_else(|| unsupported(format!("its outputs are {have}")))?;
    let (placement, colours) = decoder.input();
    let labels = match decoder {
        _ if !told.labels.is_empty() => told.labels.clone(),
        Family::CenterFace => vec!["face".to_owned()],
        _ => match onnx::labels(&file.bytes) {
            labels if !labels.is_empty() => labels,
            _ if classes == COCO.len() => owned(COCO),
            _ => Vec::new(),
        },
    };
    Ok(Shape {
        decoder,
        input: InputSize::Fixed { width, height },
        placement: told.placed(placement)?,
        colours: told.coloured(colours)?,
        labels,
    })
}

/// Width and height of an input of `dims`; the usual size where the model leaves it open.
fn input_size(dims: &[Option<u64>]) -> Result<(usize, usize), String> {
    let [None | Some(1), None | Some(3), height, width] = *dims else {
        return Err(format!("its input is {dims:?}, not [1, 3, height, width]"));
    };
    let side = |dim: Option<u64>| match dim.unwrap_or(USUAL_SIDE) {
        side @ 1..=MAX_INPUT_SIDE => usize::try_from(side).ok(),
        _ => None,
    };
    let size = side(width).zip(side(height));
    size.ok_or_else(|| format!("its input is {dims:?}, over {MAX_INPUT_SIDE} pixels a side"))
}

fn owned(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}
