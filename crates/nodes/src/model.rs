//! `edgeflow-nodes model`: tells whether a model is there, is the right one, and runs.

use std::path::{Path, PathBuf};

use edgeflow::Detection;
use edgeflow_infer::{Classifier, Detector, LoadOptions, Model, Options, Picture, Provider};
use edgeflow_model::Family;
use serde::Serialize;

use crate::inference;
use crate::list::Format;

/// What to do with models.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Check that a model is there, has the right digest, and runs.
    Check {
        /// Catalogue name, file name or path.
        model: String,
        /// Folder to search; can be given several times.
        #[arg(long = "assets", value_name = "DIR")]
        assets: Vec<PathBuf>,
        /// A picture (PNG or JPEG) to try it on.
        #[arg(long, value_name = "FILE")]
        picture: Option<PathBuf>,
        /// What it runs on: auto, rten, cpu, xnnpack, cuda, tensorrt or openvino.
        #[arg(long, default_value = "auto", value_parser = provider)]
        provider: Provider,
        /// How to print.
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
}

fn provider(name: &str) -> Result<Provider, String> {
    let known = || Provider::ALL.map(|(name, _)| name).join(", ");
    Provider::by_name(name).ok_or_else(|| format!("it can be {}", known()))
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let Command::Check {
        model,
        assets,
        picture,
        provider,
        output,
    } = command;
    let options = LoadOptions {
        provider: *provider,
        library_dirs: assets.clone(),
        ..LoadOptions::default()
    };
    let model = Model::load(&here(model), assets, &options)?;
    let picture = picture.as_deref().map(crate::clip::read_picture);
    let found = if model.family() == Family::Classes {
        classify(Classifier::new(model)?, picture.transpose()?.as_ref())?
    } else {
        detect(model, picture.transpose()?.as_ref())?
    };
    match output {
        Format::Table => print!("{}", found.text()),
        Format::Json => println!("{}", serde_json::to_string_pretty(&found)?),
    }
    Ok(())
}

/// A file of the folder that a person is in is meant by its bare name too.
fn here(model: &str) -> String {
    if !model.contains('/') && Path::new(model).is_file() {
        format!("./{model}")
    } else {
        model.to_owned()
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Checked {
    model: String,
    path: PathBuf,
    family: &'static str,
    labels: Vec<String>,
    runtime: String,
    /// Why no faster runtime was taken.
    passed_over: Vec<String>,
    /// What a classifier says of the picture.
    classes: Vec<Classified>,
    /// What a detector finds in it, in its pixels.
    detections: Vec<Detection>,
}

#[derive(Debug, Serialize)]
struct Classified {
    label: String,
    score: f32,
}

impl Checked {
    fn of(model: &Model) -> Self {
        Self {
            model: model.name().to_owned(),
            path: model.path().to_owned(),
            family: model.family().name(),
            labels: model.labels().to_vec(),
            runtime: model.runtime().to_owned(),
            passed_over: model.passed_over().to_vec(),
            classes: Vec::new(),
            detections: Vec::new(),
        }
    }

    fn text(&self) -> String {
        let (path, count) = (self.path.display(), self.labels.len());
        let Self {
            model,
            family,
            runtime,
            ..
        } = self;
        let mut lines = vec![format!(
            "{model}: {path} ({family}, {count} classes, runs in {runtime})"
        )];
        let reasons = self.passed_over.iter();
        lines.extend(reasons.map(|reason| format!("not taken: {reason}")));
        for Classified { label, score } in &self.classes {
            lines.push(format!("{label} {score:.2}"));
        }
        for found in &self.detections {
            let Detection {
                label, x, y, w, h, ..
            } = found;
            let outline = match found.outline.len() {
                0 => String::new(),
                points => format!(", outline of {points} points"),
            };
            let score = found.score;
            lines.push(format!(
                "{label} {score:.2} at {x:.0},{y:.0} size {w:.0}x{h:.0}{outline}"
            ));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

fn classify(mut classifier: Classifier, picture: Option<&Picture>) -> anyhow::Result<Checked> {
    let mut checked = Checked::of(classifier.model());
    if let Some(picture) = picture {
        let found = classifier.classify(picture, &[])?.to_vec();
        let classes = found.into_iter().map(|found| Classified {
            label: classifier.model().label(found.class).into_owned(),
            score: found.score,
        });
        checked.classes = classes.collect();
    }
    Ok(checked)
}

fn detect(model: Model, picture: Option<&Picture>) -> anyhow::Result<Checked> {
    let Options { threshold, iou, .. } = Options::default();
    let mut detector = Detector::new(model, threshold, iou)?;
    let mut checked = Checked::of(detector.model());
    if let Some(picture) = picture {
        let found = detector.detect(picture)?.clone();
        checked.detections = inference::named(found, detector.model()).collect();
    }
    Ok(checked)
}
