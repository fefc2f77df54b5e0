//! `edgeflow plan`: what an apply would change, before anything does.

use clap::Args;

use super::{apply, manifests};
use crate::{
    args::Globals,
    client::Client,
    failure::Outcome,
    output::{self, Format, colour},
    view::plan::ApplyView,
};

/// Exit code of `--detailed-exitcode` when there are changes.
const CHANGES: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  edgeflow plan system.yaml                       nodes, links and processes that would change
  edgeflow plan systems/ --detailed-exitcode      exit 2 if anything would change, 0 if not
  edgeflow plan system.yaml -o json               for a program; `etag` guards the apply:
  edgeflow apply system.yaml --etag ETAG";

/// Show what an apply would change
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Plan {
    /// Manifests: files, folders, or - for standard input
    #[arg(value_name = "FILE|DIR|-")]
    files: Vec<String>,
    /// The same as an option; can be given again
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR|-")]
    more_files: Vec<String>,
    /// Exit with 2 when there are changes
    #[arg(long)]
    detailed_exitcode: bool,
    /// Leave out the difference between the manifests
    #[arg(long)]
    no_diff: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

impl Plan {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome<u8> {
        let mut names = self.files;
        names.extend(self.more_files);
        let manifests = manifests::load(&names)?;
        let client = Client::connect(globals).await?;
        let plans = apply::check_all(&client, &manifests, None).await?;
        match self.output {
            Format::Json | Format::Yaml => output::document(self.output, &plans)?,
            Format::Name => plans
                .iter()
                .filter(|plan| plan.changes())
                .for_each(|plan| output::line(&plan.system)),
            Format::Table | Format::Wide => {
                plans.iter().for_each(|plan| show_with(plan, !self.no_diff));
            }
        }
        let changes = plans.iter().any(ApplyView::changes);
        Ok(if changes && self.detailed_exitcode {
            CHANGES
        } else {
            0
        })
    }
}

/// Prints a plan for people.
pub(crate) fn show(change: &ApplyView) {
    show_with(change, true);
}

fn show_with(change: &ApplyView, with_diff: bool) {
    let paint = colour::stdout();
    let name = paint.bold(&change.system);
    match change.outcome {
        "unchanged" => output::line(format!("{name}: no changes")),
        "created" => output::line(format!("{name}: new; {}", change.plan.summary())),
        _ => output::line(format!("{name}: {}", change.plan.summary())),
    }
    if change.changes() {
        for line in change.plan.lines(paint, with_diff) {
            output::line(line);
        }
    }
}
