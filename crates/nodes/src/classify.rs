//! `classify`: tells with a model what a picture shows, or what the things in it are that a node before
//! has found. The frame goes on as it came, with `detections` or `tracks` that say so.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};

use edgeflow::{
    Context, DETECTIONS, Detection, Input, Meta, NodeError, Outputs, ParallelNode, TRACKS, Track,
};
use edgeflow_infer::letterbox::Area;
use edgeflow_infer::model::Timings;
use edgeflow_infer::{Class, Classifier};
use serde::Deserialize;

use crate::inference::{self, Batches, Parts, Wanted};
use crate::motion::check_shares;
use crate::picture::coded;

/// In `of`: things of every label.
const EVERY: &str = "*";

/// Parameters of `classify`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    model: String,
    #[serde(default)]
    of: Option<Vec<String>>,
    #[serde(default = "default_threshold")]
    threshold: f32,
    #[serde(default = "default_most")]
    most: usize,
    #[serde(default)]
    threads: usize,
    #[serde(default)]
    parallel: usize,
    #[serde(default)]
    provider: Option<String>,
}

fn default_threshold() -> f32 {
    0.5
}

fn default_most() -> usize {
    16
}

/// The node.
#[derive(Debug)]
pub(crate) struct Classify {
    classifier: Classifier,
    parallel: usize,
    wishes: Arc<Mutex<Arc<Wishes>>>,
    parts: Parts,
    batches: Batches,
}

/// What may change while workers are at work.
#[derive(Debug)]
struct Wishes {
    /// Labels of the things that are looked at; without any, the whole picture is.
    of: Option<Vec<String>>,
    threshold: f32,
    most: usize,
}

/// A thread's own classifier.
#[derive(Debug)]
pub(crate) struct Worker {
    classifier: Classifier,
    wishes: Arc<Mutex<Arc<Wishes>>>,
}

/// What was found in a frame.
#[derive(Debug)]
pub(crate) struct Found {
    /// The frame's metadata with the classes in it.
    meta: Meta,
    timings: Timings,
}

/// Something in a picture that can be given another label.
trait Thing {
    fn place(&self) -> (&str, f32, [f32; 4]);
    fn name(&mut self, label: String, score: f32);
}

impl Thing for Detection {
    fn place(&self) -> (&str, f32, [f32; 4]) {
        (&self.label, self.score, [self.x, self.y, self.w, self.h])
    }

    fn name(&mut self, label: String, score: f32) {
        (self.label, self.score) = (label, score);
    }
}

impl Thing for Track {
    fn place(&self) -> (&str, f32, [f32; 4]) {
        (&self.label, self.score, [self.x, self.y, self.w, self.h])
    }

    fn name(&mut self, label: String, score: f32) {
        (self.label, self.score) = (label, score);
    }
}

impl ParallelNode for Classify {
    type Params = Params;
    type Worker = Worker;
    type Made = Found;

    fn setup(ctx: &mut Context, params: Params) -> Result<Self, NodeError> {
        let parallel = inference::workers(params.parallel);
        let wanted = Wanted {
            model: &params.model,
            provider: params.provider.as_deref(),
            threads: params.threads,
            parallel,
        };
        let wishes = wishes(&params)?;
        let classifier = Classifier::new(wanted.load(ctx)?)?;
        inference::show(ctx, classifier.model(), parallel);
        Ok(Self {
            classifier,
            parallel,
            wishes: Arc::new(Mutex::new(Arc::new(wishes))),
            parts: Parts::new(ctx, "classes"),
            batches: Batches::new(ctx),
        })
    }

    fn workers(&mut self) -> Result<Vec<Worker>, NodeError> {
        let worker = || Worker {
            classifier: self.classifier.fork(),
            wishes: Arc::clone(&self.wishes),
        };
        Ok(std::iter::repeat_with(worker).take(self.parallel).collect())
    }

    fn work(worker: &mut Worker, input: &Input) -> Result<Found, NodeError> {
        let wishes = Arc::clone(&lock(&worker.wishes));
        let mut meta = input.frame.read_meta()?;
        let timings = match &wishes.of {
            None => worker.whole(input, &wishes, &mut meta)?,
            Some(_) if has(&meta, TRACKS) => {
                let mut tracks = meta.tracks()?;
                let timings = worker.things(input, &wishes, &mut tracks)?;
                meta.set_tracks(&tracks)?;
                timings
            }
            Some(_) if has(&meta, DETECTIONS) => {
                let mut detections = meta.detections()?;
                let timings = worker.things(input, &wishes, &mut detections)?;
                meta.set_detections(&detections)?;
                timings
            }
            Some(_) => {
                return Err(NodeError::new(
                    "nothing has looked for things in this frame: link `detect` before this node, or leave `of` out to classify whole pictures",
                ));
            }
        };
        Ok(Found { meta, timings })
    }

    fn finish(&mut self, input: Input, found: Found, out: &mut Outputs) -> Result<(), NodeError> {
        let mut frame = input.frame;
        frame.set_meta(&found.meta);
        self.parts.record(&found.timings);
        self.batches.look(self.classifier.model());
        out.send("out", frame)
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        *lock(&self.wishes) = Arc::new(wishes(&params)?);
        Ok(())
    }
}

impl Worker {
    /// The whole picture becomes a detection, if the model is sure enough.
    fn whole(
        &mut self,
        input: &Input,
        wishes: &Wishes,
        meta: &mut Meta,
    ) -> Result<Timings, NodeError> {
        let coded = coded("classify", &input.frame)?;
        let found = self.classifier.classify_coded(&coded, &[])?.to_vec();
        let (width, height) = self.classifier.last_size();
        let mut detections = meta.detections()?;
        for Class { class, score } in found {
            if score >= wishes.threshold {
                detections.push(Detection {
                    label: self.classifier.model().label(class).into_owned(),
                    score,
                    x: 0.0,
                    y: 0.0,
                    w: width as f32,
                    h: height as f32,
                    outline: Vec::new(),
                });
            }
        }
        meta.set_detections(&detections)?;
        Ok(self.classifier.timings())
    }

    /// Things get the label of their class, those that the model is sure enough of. Where there is nothing
    /// to look at, the picture is not even decoded.
    fn things(
        &mut self,
        input: &Input,
        wishes: &Wishes,
        things: &mut [impl Thing],
    ) -> Result<Timings, NodeError> {
        let of = wishes.of.as_deref().unwrap_or_default();
        let wanted = |label: &str| of.iter().any(|it| it == EVERY || it == label);
        let mut picked: Vec<usize> = (0..things.len())
            .filter(|&index| {
                let (label, _, [_, _, width, height]) = things[index].place();
                wanted(label) && width > 0.0 && height > 0.0
            })
            .collect();
        picked.sort_by(|a, b| things[*b].place().1.total_cmp(&things[*a].place().1));
        picked.truncate(wishes.most);
        if picked.is_empty() {
            return Ok(Timings::default());
        }
        let area = |index: &usize| {
            let (_, _, [left, top, width, height]) = things[*index].place();
            Area {
                left: left.into(),
                top: top.into(),
                width: width.into(),
                height: height.into(),
            }
        };
        let areas: Vec<Area> = picked.iter().map(area).collect();
        let coded = coded("classify", &input.frame)?;
        let found = self.classifier.classify_coded(&coded, &areas)?.to_vec();
        for (index, Class { class, score }) in picked.into_iter().zip(found) {
            if score >= wishes.threshold {
                let label = self.classifier.model().label(class).into_owned();
                things[index].name(label, score);
            }
        }
        Ok(self.classifier.timings())
    }
}

fn wishes(params: &Params) -> Result<Wishes, NodeError> {
    check_shares(&[("threshold", params.threshold)])?;
    if params.of.as_ref().is_some_and(Vec::is_empty) {
        return Err(NodeError::new(
            "parameter `of` is empty: it needs labels, or `*` for things of every label; without it whole pictures are classified",
        ));
    }
    Ok(Wishes {
        of: params.of.clone(),
        threshold: params.threshold,
        most: params.most,
    })
}

fn has(meta: &Meta, wanted: &str) -> bool {
    meta.keys().any(|key| key == wanted)
}

fn lock(wishes: &Mutex<Arc<Wishes>>) -> MutexGuard<'_, Arc<Wishes>> {
    wishes
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
