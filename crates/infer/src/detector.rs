//! A model that finds things in pictures: load once, then JPEG or pixels in, boxes out, with the
//! time of each stage.

use std::path::PathBuf;

use edgeflow_model::Family;

use crate::backend::LoadOptions;
use crate::coded::{Coded, Decoded};
use crate::decode::{self, Decode};
use crate::detection::{self, Detection};
use crate::image::Picture;
use crate::letterbox::Area;
use crate::model::{Model, ModelError, Timings};
use crate::outline::Point;

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

/// A detector with its buffers.
#[derive(Debug)]
pub struct Detector {
    model: Model,
    threshold: f32,
    iou: f32,
    decoded: Decoded,
    found: Found,
    timings: Timings,
}

/// What was found in a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Boxes, the surest first.
    pub boxes: Vec<Detection>,
    /// Outlines of the first of them, in pixels of the picture, if the model has masks.
    pub outlines: Vec<Vec<Point>>,
}

impl Detector {
    /// Loads a model as [`Model::load`] does and makes a detector of it.
    pub fn load(name: &str, dirs: &[PathBuf], options: &Options) -> Result<Self, ModelError> {
        let model = Model::load(name, dirs, &options.runtime)?;
        Self::new(model, options.threshold, options.iou)
    }

    /// Takes a model that finds things, and runs it once, so that one that can't work fails here.
    pub fn new(mut model: Model, threshold: f32, iou: f32) -> Result<Self, ModelError> {
        let family = model.family();
        if family == Family::Classes {
            return Err(ModelError::Purpose {
                path: model.path().to_owned(),
                does: "tells what a whole picture shows, not what is where: it is for `classify`",
            });
        }
        model.warm_up(&mut |outputs, fit| {
            family.decode(outputs, fit.width, fit.height, threshold, &mut Vec::new())
        })?;
        Ok(Self::of(model, threshold, iou))
    }

    /// Another one of the same model, to work on another picture at the same time.
    pub fn fork(&self) -> Self {
        Self::of(self.model.fork(), self.threshold, self.iou)
    }

    fn of(model: Model, threshold: f32, iou: f32) -> Self {
        Self {
            model,
            threshold,
            iou,
            decoded: Decoded::default(),
            found: Found::default(),
            timings: Timings::default(),
        }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Lowest score and largest overlap from the next picture on, as in [`Options`].
    pub fn set_limits(&mut self, threshold: f32, iou: f32) {
        self.threshold = threshold;
        self.iou = iou;
    }

    /// Finds objects in a coded picture.
    pub fn detect_coded(&mut self, coded: &Coded<'_>) -> Result<&Found, ModelError> {
        let _busy = self.model.begin();
        let decode = self.decoded.read(coded)?;
        let limits = (self.threshold, self.iou);
        let picture = &self.decoded.picture;
        let timings = run(&mut self.model, picture, limits, &mut self.found)?;
        self.timings = Timings { decode, ..timings };
        Ok(&self.found)
    }

    /// Finds objects in pixels.
    pub fn detect(&mut self, picture: &Picture) -> Result<&Found, ModelError> {
        let _busy = self.model.begin();
        let limits = (self.threshold, self.iou);
        self.timings = run(&mut self.model, picture, limits, &mut self.found)?;
        Ok(&self.found)
    }

    /// Where the time of the last picture went.
    pub fn timings(&self) -> Timings {
        self.timings
    }
}

fn run(
    model: &mut Model,
    picture: &Picture,
    (threshold, iou): (f32, f32),
    found: &mut Found,
) -> Result<Timings, ModelError> {
    let Found { boxes, outlines } = found;
    boxes.clear();
    outlines.clear();
    let family = model.family();
    model.run(picture, &Area::of(picture), &mut |outputs, fit| {
        family.decode(outputs, fit.width, fit.height, threshold, boxes)?;
        detection::suppress(boxes, iou);
        boxes.iter_mut().for_each(|detection| fit.undo(detection));
        detection::clamp(boxes, picture.width as f32, picture.height as f32);
        *outlines = decode::outlines(family, outputs, fit, boxes);
        Ok(())
    })
}
