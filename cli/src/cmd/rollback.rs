//! `edgeflow rollback`: back to an earlier revision, as a new revision.

use clap::Args;
use edgeflow_proto::v1;

use super::apply::{self, WaitOptions};
use crate::{
    args::Globals,
    client::Client,
    failure::Outcome,
    output::{self, Format, problems},
    view::plan::ApplyView,
};

const EXAMPLES: &str = "\
Examples:
  edgeflow rollback entrance            the revision before the current one
  edgeflow rollback entrance --to 3     a certain revision (see: edgeflow history entrance)";

/// Go back to an earlier revision of a system
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Rollback {
    /// System
    system: String,
    /// Revision [default: the one before the current]
    #[arg(long, value_name = "REVISION")]
    to: Option<u64>,
    /// Fail if the system is not at this etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    wait: WaitOptions,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

impl Rollback {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let client = Client::connect(globals).await?;
        let request = v1::RollbackSystemRequest {
            name: self.system.clone(),
            revision: self.to.unwrap_or(0),
            etag: self.etag.unwrap_or_default(),
        };
        let mut api = client.api();
        let what = format!("roll back {}", self.system);
        let response = client.call(&what, api.rollback_system(request)).await?;
        let change = ApplyView::new(&self.system, response);
        problems::show(&change.problems);
        let document = matches!(self.output, Format::Json | Format::Yaml);
        match self.output {
            Format::Table | Format::Wide => apply::say(&change),
            Format::Name => output::line(&change.system),
            Format::Json | Format::Yaml => {}
        }
        if !self.wait.no_wait {
            apply::wait_for(&client, std::slice::from_ref(&change), self.wait.timeout).await?;
        }
        if document {
            output::document(self.output, &change)?;
        }
        Ok(())
    }
}
