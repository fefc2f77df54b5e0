//! `edgeflow-nodes model`: tells whether a model is there, is the right one, and runs.

use std::path::{Path, PathBuf};

use edgeflow_infer::{Classifier, Detector, LoadOptions, Model, Options, Picture, Provider};
use edgeflow_model::Family;

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
    } = command;
    let options = LoadOptions {
        provider: *provider,
        library_dirs: assets.clone(),
        ..LoadOptions::default()
    };
    let model = Model::load(&here(model), assets, &options)?;
    let picture = picture.as_deref().map(crate::clip::read_picture);
    let picture = picture.transpose()?;
    if model.family() == Family::Classes {
        classify(Classifier::new(model)?, picture.as_ref())
    } else {
        let Options { threshold, iou, .. } = Options::default();
        detect(Detector::new(model, threshold, iou)?, picture.as_ref())
    }
}

/// A file of the folder that a person is in is meant by its bare name too.
fn here(model: &str) -> String {
    if !model.contains('/') && Path::new(model).is_file() {
        format!("./{model}")
    } else {
        model.to_owned()
    }
}

fn tell(model: &Model) {
    println!(
        "{}: {} ({}, {} classes, runs in {})",
        model.name(),
        model.path().display(),
        model.family().name(),
        model.labels().len(),
        model.runtime()
    );
    for reason in model.passed_over() {
        println!("not taken: {reason}");
    }
}

fn classify(mut classifier: Classifier, picture: Option<&Picture>) -> anyhow::Result<()> {
    tell(classifier.model());
    if let Some(picture) = picture {
        for found in classifier.classify(picture, &[])?.to_vec() {
            let label = classifier.model().label(found.class);
            println!("{label} {:.2}", found.score);
        }
    }
    Ok(())
}

fn detect(mut detector: Detector, picture: Option<&Picture>) -> anyhow::Result<()> {
    tell(detector.model());
    if let Some(picture) = picture {
        let found = detector.detect(picture)?.clone();
        for (index, at) in found.boxes.iter().enumerate() {
            let points = found.outlines.get(index).map_or(0, Vec::len);
            let outline = match points {
                0 => String::new(),
                some => format!(", outline of {some} points"),
            };
            println!(
                "{} {:.2} at {:.0},{:.0} size {:.0}x{:.0}{outline}",
                detector.model().label(at.class),
                at.score,
                at.x,
                at.y,
                at.w,
                at.h
            );
        }
    }
    Ok(())
}
