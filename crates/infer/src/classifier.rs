//! A model that tells what a picture, or an area of one, shows: load once, then JPEG or pixels in,
//! the likeliest class of each area out.

use edgeflow_model::Family;

use crate::coded::{Coded, Decoded};
use crate::decode;
use crate::image::Picture;
use crate::letterbox::Area;
use crate::model::{Model, ModelError, Timings};

/// What an area shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class {
    /// Class number of the model.
    pub class: usize,
    /// Its probability, 0 to 1.
    pub score: f32,
}

/// A classifier with its buffers.
#[derive(Debug)]
pub struct Classifier {
    model: Model,
    decoded: Decoded,
    found: Vec<Class>,
    timings: Timings,
}

impl Classifier {
    /// Takes a model that is a classifier, and runs it once, so that one that can't work fails here.
    pub fn new(mut model: Model) -> Result<Self, ModelError> {
        if model.family() != Family::Classes {
            return Err(ModelError::Purpose {
                path: model.path().to_owned(),
                does: "finds things in pictures, which is for `detect`; a classifier is wanted, with one output [1, classes]",
            });
        }
        model.warm_up(&mut |outputs, _| decode::likeliest(outputs).map(drop))?;
        Ok(Self::of(model))
    }

    /// Another one of the same model, to work on another picture at the same time.
    pub fn fork(&self) -> Self {
        Self::of(self.model.fork())
    }

    fn of(model: Model) -> Self {
        Self {
            model,
            decoded: Decoded::default(),
            found: Vec::new(),
            timings: Timings::default(),
        }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Classifies areas of a coded picture; without areas, the whole of it.
    pub fn classify_coded(
        &mut self,
        coded: &Coded<'_>,
        areas: &[Area],
    ) -> Result<&[Class], ModelError> {
        let _busy = self.model.begin();
        let decode = self.decoded.read(coded)?;
        let picture = &self.decoded.picture;
        let timings = run(&mut self.model, picture, areas, &mut self.found)?;
        self.timings = Timings { decode, ..timings };
        Ok(&self.found)
    }

    /// Classifies areas of a picture; without areas, the whole of it.
    pub fn classify(&mut self, picture: &Picture, areas: &[Area]) -> Result<&[Class], ModelError> {
        let _busy = self.model.begin();
        self.timings = run(&mut self.model, picture, areas, &mut self.found)?;
        Ok(&self.found)
    }

    /// Width and height of the last coded picture.
    pub fn last_size(&self) -> (usize, usize) {
        (self.decoded.picture.width, self.decoded.picture.height)
    }

    /// Where the time of the last picture went, all its areas together.
    pub fn timings(&self) -> Timings {
        self.timings
    }
}

fn run(
    model: &mut Model,
    picture: &Picture,
    areas: &[Area],
    found: &mut Vec<Class>,
) -> Result<Timings, ModelError> {
    found.clear();
    let mut timings = Timings::default();
    let whole = [Area::of(picture)];
    let areas = if areas.is_empty() { &whole } else { areas };
    for area in areas {
        timings += model.run(picture, &area.inside(picture), &mut |outputs, _| {
            let (class, score) = decode::likeliest(outputs)?;
            found.push(Class { class, score });
            Ok(())
        })?;
    }
    Ok(timings)
}
