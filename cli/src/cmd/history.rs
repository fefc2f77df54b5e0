//! `edgeflow history`: the revisions of a system.

use clap::Args;
use edgeflow_proto::v1;

use crate::{
    args::Globals,
    client::Client,
    failure::{Exit, Failure, Outcome},
    output::{self, Format},
    view::revision::RevisionView,
};

const EXAMPLES: &str = "\
Examples:
  edgeflow history entrance                      every revision, newest first
  edgeflow history entrance --revision 3         the manifest of revision 3
  edgeflow history entrance --revision 3 > old.yaml";

/// List the revisions of a system, or print one
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct History {
    /// System
    system: String,
    /// Print the manifest of this revision
    #[arg(long, value_name = "REVISION")]
    revision: Option<u64>,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

impl History {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let client = Client::connect(globals).await?;
        let revisions = revisions(&client, &self.system).await?;
        let Some(number) = self.revision else {
            return output::rows(self.output, &revisions, "no revisions");
        };
        let Some(revision) = revisions.iter().find(|one| one.number == number) else {
            return Err(Failure::new(
                Exit::NotFound,
                format!("{} has no revision {number}", self.system),
            )
            .next(format!(
                "see those it has: edgeflow history {}",
                self.system
            )));
        };
        match self.output {
            Format::Json | Format::Yaml => output::document(self.output, revision),
            _ => {
                output::line(revision.manifest.trim_end());
                Ok(())
            }
        }
    }
}

/// The revisions of a system, newest first.
pub(crate) async fn revisions(client: &Client, system: &str) -> Outcome<Vec<RevisionView>> {
    let request = v1::ListRevisionsRequest {
        name: system.to_owned(),
    };
    let mut api = client.api();
    let what = format!("list the revisions of {system}");
    let response = client.call(&what, api.list_revisions(request)).await?;
    let mut revisions: Vec<RevisionView> = response
        .revisions
        .into_iter()
        .map(RevisionView::from)
        .collect();
    revisions.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    Ok(revisions)
}
