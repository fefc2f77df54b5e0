//! `edgeflow-nodes model`: tells whether a model is there, is the right one, and runs.

use std::path::PathBuf;

use edgeflow_infer::{Detector, Options};

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
    },
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let Command::Check {
        model,
        assets,
        picture,
    } = command;
    let mut detector = Detector::load(model, assets, Options::default())?;
    let (family, runtime) = detector.kind();
    println!(
        "{}: {} ({family}, {} classes, runs in {runtime})",
        detector.name(),
        detector.path().display(),
        detector.labels().len()
    );
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
