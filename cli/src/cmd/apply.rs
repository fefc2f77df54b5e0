//! `edgeflow apply`: sends manifests and waits until what they describe runs.

use std::time::Duration;

use clap::Args;
use edgeflow_proto::v1;
use serde::Serialize;

use super::{
    manifests::{self, Manifest},
    wait,
};
use crate::{
    args::Globals,
    client::Client,
    failure::{Exit, Failure, Outcome},
    output::{self, Format, colour, problems, time::parse_duration},
    view::{plan::ApplyView, system::SystemView},
};

const EXAMPLES: &str = "\
Examples:
  edgeflow apply system.yaml               apply and wait until every node is ready
  edgeflow apply -f systems/               every .yaml and .yml file of a folder
  cat system.yaml | edgeflow apply -       from standard input
  edgeflow apply system.yaml --dry-run     check and show what would change
  edgeflow apply system.yaml --no-wait     do not wait
  edgeflow apply system.yaml -o json       the result for a program; progress goes to stderr

With several manifests nothing is applied if any of them is rejected.";

/// Create or change systems, and wait until they run
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Apply {
    /// Manifests: files, folders, or - for standard input
    #[arg(value_name = "FILE|DIR|-")]
    files: Vec<String>,
    /// The same as an option; can be given again
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR|-")]
    more_files: Vec<String>,
    /// Check and show the changes; apply nothing
    #[arg(long)]
    dry_run: bool,
    /// Fail if the system is not at this etag (from `get -o json` or `plan -o json`)
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    wait: WaitOptions,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// Options of commands that wait.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct WaitOptions {
    /// Return once the change is accepted
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Longest wait
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// What `-o json` prints for a manifest.
#[derive(Debug, Serialize)]
struct Applied<'a> {
    #[serde(flatten)]
    change: &'a ApplyView,
    /// The system after the wait.
    status: Option<&'a SystemView>,
}

impl Apply {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let mut names = self.files.clone();
        names.extend(self.more_files.iter().cloned());
        let manifests = manifests::load(&names)?;
        if self.etag.is_some() && manifests.len() > 1 {
            return Err(
                Failure::usage("--etag is for one manifest").next("apply the manifests one by one")
            );
        }
        let client = Client::connect(globals).await?;
        if manifests.len() > 1 || self.dry_run {
            let checked = check_all(&client, &manifests, self.etag.as_deref()).await?;
            if self.dry_run {
                return self.report(&checked, &[]);
            }
        }
        let mut applied = Vec::new();
        for manifest in &manifests {
            let change = send(&client, manifest, self.etag.as_deref(), false).await?;
            if matches!(self.output, Format::Table | Format::Wide) {
                say(&change);
            }
            applied.push(change);
        }
        let status = if self.wait.no_wait {
            Vec::new()
        } else {
            wait_for(&client, &applied, self.wait.timeout).await?
        };
        self.report(&applied, &status)
    }

    fn is_document(&self) -> bool {
        matches!(self.output, Format::Json | Format::Yaml)
    }

    fn report(&self, changes: &[ApplyView], status: &[SystemView]) -> Outcome {
        if self.is_document() {
            let rows: Vec<Applied<'_>> = changes
                .iter()
                .map(|change| Applied {
                    change,
                    status: status.iter().find(|system| system.name == change.system),
                })
                .collect();
            return output::document(self.output, &rows);
        }
        if self.output == Format::Name {
            changes
                .iter()
                .for_each(|change| output::line(&change.system));
        } else if self.dry_run {
            changes.iter().for_each(super::plan::show);
        }
        Ok(())
    }
}

/// Sends one manifest. A rejection is shown and is a failure.
pub(crate) async fn send(
    client: &Client,
    manifest: &Manifest,
    etag: Option<&str>,
    dry_run: bool,
) -> Outcome<ApplyView> {
    let change = request(client, manifest, etag, dry_run).await?;
    problems::show(&change.problems);
    if change.outcome == "rejected" {
        return Err(rejected(&[manifest.file.as_str()], 1));
    }
    Ok(change)
}

async fn request(
    client: &Client,
    manifest: &Manifest,
    etag: Option<&str>,
    dry_run: bool,
) -> Outcome<ApplyView> {
    let request = v1::ApplySystemRequest {
        manifest: manifest.text.clone(),
        file: manifest.file.clone(),
        etag: etag.unwrap_or_default().to_owned(),
        dry_run,
    };
    let mut api = client.api();
    let what = format!("apply {}", manifest.file);
    let response = client.call(&what, api.apply_system(request)).await?;
    Ok(ApplyView::new(&manifest.file, response))
}

/// Checks every manifest without applying any, and shows the problems of all of them.
pub(crate) async fn check_all(
    client: &Client,
    manifests: &[Manifest],
    etag: Option<&str>,
) -> Outcome<Vec<ApplyView>> {
    let mut checked = Vec::new();
    for manifest in manifests {
        let change = request(client, manifest, etag, true).await?;
        problems::show(&change.problems);
        checked.push(change);
    }
    let bad: Vec<&str> = checked
        .iter()
        .filter(|change| change.outcome == "rejected")
        .map(|change| change.file.as_str())
        .collect();
    if bad.is_empty() {
        Ok(checked)
    } else {
        Err(rejected(&bad, manifests.len()))
    }
}

fn rejected(bad: &[&str], of: usize) -> Failure {
    let bad: Vec<&str> = bad
        .iter()
        .map(|file| if *file == "-" { "standard input" } else { file })
        .collect();
    let what = if of == 1 {
        format!("{} was rejected", bad.join(", "))
    } else {
        format!(
            "{} of {of} manifests were rejected: {}",
            bad.len(),
            bad.join(", ")
        )
    };
    Failure::new(Exit::Rejected, what)
        .why("of the problems above; nothing was changed")
        .next("correct them and apply again; `edgeflow schema` gives editors the JSON Schema")
}

/// One line on what an apply did.
pub(crate) fn say(change: &ApplyView) {
    let paint = colour::stdout();
    let outcome = match change.outcome {
        "unchanged" => paint.dim("unchanged"),
        other => paint.good(other),
    };
    let what = if change.changes() {
        format!(": {}", change.plan.summary())
    } else {
        String::new()
    };
    output::line(format!(
        "{} {outcome}, revision {}{what}",
        paint.bold(&change.system),
        change.revision
    ));
}

/// Waits for everything that was applied.
pub(crate) async fn wait_for(
    client: &Client,
    applied: &[ApplyView],
    timeout: Duration,
) -> Outcome<Vec<SystemView>> {
    let systems: Vec<(String, u64)> = applied
        .iter()
        .map(|change| (change.system.clone(), change.revision))
        .collect();
    output::on_interrupt(
        "the change is done and goes on by itself; see it with: edgeflow get systems",
    );
    wait::until_settled(client, &systems, timeout).await
}
