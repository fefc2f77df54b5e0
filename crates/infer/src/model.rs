//! A model, loaded: its runtime, how a picture becomes its input, and what its classes are called.
//! What its outputs mean is for `detector` and `classifier`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edgeflow_model::onnx::{self, OnnxError};
use edgeflow_model::{COCO, Colours, Description, DescriptionError, Family, InputSize, Placement};

use crate::backend::{self, Backend, BackendError, LoadOptions, TensorView};
use crate::decode::{Decode, DecodeError, shapes};
use crate::engine::{Busy, Engine};
use crate::image::{ImageError, Picture};
use crate::letterbox::{Area, Letterbox, PADDING};
use crate::locate::{self, LocateError, ModelFile};
use crate::prepare::{PrepareError, Preparer};

/// Sides of a model's input that are accepted.
const MAX_INPUT_SIDE: u64 = 4096;
/// Of a model that takes any size.
const USUAL_SIDE: u64 = 640;
/// What Ultralytics' tools write a model's purpose under.
const TASK: &str = "task";
/// Purposes that outputs are understood for. Those of others, `pose` and `obb`, look like them.
const TASKS: [&str; 3] = ["detect", "segment", "classify"];

/// Where the time of the last picture went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// JPEG to pixels.
    pub decode: Duration,
    /// Pixels to the model's input.
    pub prepare: Duration,
    /// The model itself.
    pub infer: Duration,
    /// The model's outputs to boxes or classes.
    pub boxes: Duration,
}

impl Timings {
    /// All stages together.
    pub fn total(&self) -> Duration {
        self.decode + self.prepare + self.infer + self.boxes
    }
}

impl std::ops::AddAssign for Timings {
    fn add_assign(&mut self, more: Self) {
        self.decode += more.decode;
        self.prepare += more.prepare;
        self.infer += more.infer;
        self.boxes += more.boxes;
    }
}

/// Takes a model's outputs, with where the picture lies in its input.
pub(crate) type Take<'a> =
    &'a mut dyn FnMut(&[TensorView<'_>], &Letterbox) -> Result<(), DecodeError>;

/// Why a model can't be loaded or can't work on a picture.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
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
        "model {} is of no supported kind: {reason}; supported are outputs of YOLOX, YOLOv5 to 12, SSD and UltraFace, NanoDet-Plus, PicoDet and CenterFace, and of classifiers (docs/models.md)",
        .path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A model for another purpose.
    #[error("model {} {does}", .path.display())]
    Purpose {
        /// The file.
        path: PathBuf,
        /// What it does, and what takes it.
        does: &'static str,
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
pub struct Model {
    name: String,
    path: PathBuf,
    engine: Engine,
    passed_over: Vec<String>,
    shape: Shape,
    preparer: Preparer,
    last: Option<Letterbox>,
}

/// How a model's input and outputs are to be understood.
#[derive(Clone, Debug)]
struct Shape {
    family: Family,
    input: InputSize,
    placement: Placement,
    colours: Colours,
    labels: Vec<String>,
}

impl Model {
    /// Loads a model by catalogue name, file name or path.
    pub fn load(name: &str, dirs: &[PathBuf], options: &LoadOptions) -> Result<Self, ModelError> {
        let file = locate::read(name, dirs)?;
        let told = Description::beside(&file.path)?.unwrap_or_default();
        Self::build(name, &file, &told, options)
    }

    /// The same for a file that is known, with what is told of it. `name` is for people.
    pub fn load_file(
        name: &str,
        path: PathBuf,
        told: &Description,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        Self::build(name, &locate::read_file(path)?, told, options)
    }

    fn build(
        name: &str,
        file: &ModelFile,
        told: &Description,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        let damaged = |source| ModelError::Onnx {
            path: file.path.clone(),
            source,
        };
        let dims = onnx::input(&file.bytes).map_err(damaged)?.dims;
        let mut any_number = dims.first() == Some(&None);
        let input = file.entry.map(|entry| entry.input);
        let bytes = if matches!(input, Some(InputSize::Multiple { .. })) {
            any_number = true;
            Cow::Owned(onnx::with_free_size(&file.bytes).map_err(damaged)?)
        } else {
            Cow::Borrowed(&file.bytes)
        };
        let loaded = backend::load(&bytes, options);
        let loaded = loaded.map_err(|source| ModelError::Load {
            path: file.path.clone(),
            source,
        })?;
        let mut backend = loaded.backend;
        let shape = match file.entry {
            Some(entry) => {
                let (placement, colours) = entry.family.input();
                Shape {
                    family: entry.family,
                    input: entry.input,
                    placement,
                    colours,
                    labels: entry.labels.clone(),
                }
            }
            None => find_out(file, told, &dims, backend.as_mut())?,
        };
        Ok(Self {
            name: file.entry.map_or(name, |entry| &entry.name).to_owned(),
            path: file.path.clone(),
            engine: Engine::new(backend, any_number),
            passed_over: loaded.passed_over,
            shape,
            preparer: Preparer::default(),
            last: None,
        })
    }

    /// Another one of the same model, to work on another picture at the same time.
    pub fn fork(&self) -> Self {
        Self {
            name: self.name.clone(),
            path: self.path.clone(),
            engine: self.engine.fork(),
            passed_over: self.passed_over.clone(),
            shape: self.shape.clone(),
            preparer: Preparer::default(),
            last: None,
        }
    }

    /// Catalogue name, or the name that it was loaded by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its outputs are.
    pub fn family(&self) -> Family {
        self.shape.family
    }

    /// The runtime and what it runs on.
    pub fn runtime(&self) -> &str {
        self.engine.name()
    }

    /// The most pictures of this model and its [forks](Self::fork) that went through the runtime at a
    /// time.
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

    /// The model's input made of the last picture: shape and values.
    pub fn last_input(&self) -> ([usize; 4], &[f32]) {
        let (width, height) = self.last.map_or((0, 0), |fit| (fit.width, fit.height));
        ([1, 3, height, width], self.preparer.planes())
    }

    /// A picture's work begins, which ends when this is dropped.
    pub(crate) fn begin(&self) -> Busy {
        self.engine.begin()
    }

    /// Runs the model on an area of a picture and shows the outputs to `take`. The time is told without
    /// decoding.
    pub(crate) fn run(
        &mut self,
        picture: &Picture,
        area: &Area,
        take: Take<'_>,
    ) -> Result<Timings, ModelError> {
        let start = Instant::now();
        let fit = Letterbox::fit(area, self.shape.input, self.shape.placement);
        self.last = Some(fit);
        let planes = self.preparer.prepare(picture, &fit, &self.shape.colours)?;
        let prepared = Instant::now();
        let (mut inferred, mut taken) = (prepared, Ok(()));
        let shape = [1, 3, fit.height, fit.width];
        self.engine.run(shape, planes, &mut |outputs| {
            inferred = Instant::now();
            taken = take(outputs, &fit);
        })?;
        taken?;
        Ok(Timings {
            decode: Duration::ZERO,
            prepare: prepared - start,
            infer: inferred - prepared,
            boxes: inferred.elapsed(),
        })
    }

    /// Runs the model once on grey, so that what can't work is told at the start.
    pub(crate) fn warm_up(&mut self, take: Take<'_>) -> Result<(), ModelError> {
        let grey = Picture {
            width: 64,
            height: 64,
            rgb: vec![127; 64 * 64 * 3],
        };
        match self.run(&grey, &Area::of(&grey), take) {
            Ok(_) => Ok(()),
            Err(ModelError::Decode(error)) => Err(ModelError::Unsupported {
                path: self.path.clone(),
                reason: error.to_string(),
            }),
            Err(other) => Err(other),
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
) -> Result<Shape, ModelError> {
    let unsupported = |reason: String| ModelError::Unsupported {
        path: file.path.clone(),
        reason,
    };
    let (width, height) = input_size(dims).map_err(unsupported)?;
    let told_family = told.told_family()?;
    let task = onnx::metadata(&file.bytes, TASK);
    if let (Some(task), None) = (&task, told_family)
        && !TASKS.contains(&task.as_str())
    {
        return Err(unsupported(format!(
            "its file says that it is for `{task}`"
        )));
    }
    let mut found = None;
    let mut have = String::new();
    let grey = vec![f32::from(PADDING) / 255.0; 3 * height * width];
    let ran = backend.run([1, 3, height, width], &grey, &mut |outputs| {
        have = shapes(outputs);
        let family = told_family.or_else(|| Family::guess(outputs, width, height));
        found = family.map(|family| (family, family.classes(outputs)));
    });
    ran.map_err(|source| ModelError::Load {
        path: file.path.clone(),
        source,
    })?;
    let (family, classes) = found.ok_or_else(|| unsupported(format!("its outputs are {have}")))?;
    let (placement, colours) = match family {
        // What Ultralytics' tools train sees pictures otherwise than most classifiers.
        Family::Classes if task.is_some() => (Placement::Crop { share: 1.0 }, Colours::UNIT),
        family => family.input(),
    };
    let labels = labels(file, told, family, classes);
    Ok(Shape {
        family,
        input: InputSize::Fixed { width, height },
        placement: told.placed(placement)?,
        colours: told.coloured(colours)?,
        labels,
    })
}

fn labels(file: &ModelFile, told: &Description, family: Family, classes: usize) -> Vec<String> {
    if !told.labels.is_empty() {
        return told.labels.clone();
    }
    if family == Family::CenterFace {
        return vec!["face".to_owned()];
    }
    match onnx::labels(&file.bytes) {
        labels if !labels.is_empty() => labels,
        _ if classes == COCO.len() => owned(COCO),
        _ => Vec::new(),
    }
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
