//! `edgeflow-nodes model`: tells whether a model is there, is the right one, and runs.

use std::path::PathBuf;

use edgeflow_infer::{Detector, LoadOptions, Options, Provider};

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
    let options = Options {
        runtime: LoadOptions {
            provider: *provider,
            library_dirs: assets.clone(),
            ..LoadOptions::default()
        },
        ..Options::default()
    };
    let mut detector = Detector::load(model, assets, options)?;
    println!(
        "{}: {} ({}, {} classes, runs in {})",
        detector.name(),
        detector.path().display(),
        detector.family(),
        detector.labels().len(),
        detector.runtime()
    );
    for reason in detector.passed_over() {
        println!("not taken: {reason}");
    }
    if let Some(path) = picture {
        let picture = crate::clip::read_picture(path)?;
        let found = detector.detect(&picture)?.to_vec();
        for found in found {
            println!(
                "{} {:.2} at {:.0},{:.0} size {:.0}x{:.0}",
                detector.label(found.class),
                found.score,
                found.x,
                found.y,
                found.w,
                found.h
            );
        }
    }
    Ok(())
}
