//! `edgeflow deadletters`: frames that nodes put aside because their consumer died with them.

use clap::{Args, Subcommand};
use edgeflow_proto::v1;

use crate::{
    args::Globals,
    client::Client,
    failure::{Exit, Failure, Outcome},
    output::{self, Format},
    view::dead_letter::{DeadLetterView, ReplayView},
};

const EXAMPLES: &str = "\
Examples:
  edgeflow deadletters list entrance                   of every node
  edgeflow deadletters list entrance camera -o json
  edgeflow deadletters replay entrance camera --id 1764043200000-42
  edgeflow deadletters replay entrance camera --all    once the consumer is mended

A frame of a durable or balanced link becomes a dead letter when its consumer died with it
`max_deliveries` times. It waits at the producing node.";

/// List frames that killed their consumer, or send them once more
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List dead letters
    List {
        /// System
        system: String,
        /// Producing node; without it, every node
        #[arg(default_value = "", hide_default_value = true)]
        node: String,
        /// Only this device
        #[arg(
            long,
            value_name = "DEVICE",
            default_value = "",
            hide_default_value = true
        )]
        device: String,
        /// Output format
        #[arg(short, long, value_enum, default_value = "table")]
        output: Format,
    },
    /// Send dead letters to their link once more
    Replay {
        /// System
        system: String,
        /// Producing node
        node: String,
        /// Only this device
        #[arg(
            long,
            value_name = "DEVICE",
            default_value = "",
            hide_default_value = true
        )]
        device: String,
        /// This dead letter; may be repeated
        #[arg(long = "id", value_name = "ID", required_unless_present = "all")]
        ids: Vec<String>,
        /// All of them
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Output format
        #[arg(short, long, value_enum, default_value = "table")]
        output: Format,
    },
}

impl DeadLetters {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let client = Client::connect(globals).await?;
        match self.action {
            Action::List {
                system,
                node,
                device,
                output,
            } => {
                let request = v1::DeadLettersRequest {
                    system,
                    node,
                    device,
                    ask: None,
                };
                list(&client, request, output).await
            }
            Action::Replay {
                system,
                node,
                device,
                ids,
                all,
                output,
            } => {
                let ask = v1::DeadLettersAsk {
                    replay_ids: ids,
                    replay_all: all,
                };
                let request = v1::DeadLettersRequest {
                    system,
                    node,
                    device,
                    ask: Some(ask),
                };
                replay(&client, request, output).await
            }
        }
    }
}

async fn list(client: &Client, request: v1::DeadLettersRequest, format: Format) -> Outcome {
    let what = format!("list the dead letters of {}", request.system);
    let mut api = client.api();
    let response = client.call(&what, api.dead_letters(request)).await?;
    let letters: Vec<DeadLetterView> = response
        .dead_letters
        .into_iter()
        .map(DeadLetterView::from)
        .collect();
    output::rows(format, &letters, "no dead letters")?;
    unfinished(&what, &response.failures)
}

async fn replay(client: &Client, request: v1::DeadLettersRequest, format: Format) -> Outcome {
    let (system, node) = (request.system.clone(), request.node.clone());
    let what = format!("replay dead letters of {system}/{node}");
    let mut api = client.api();
    let response = client.call(&what, api.dead_letters(request)).await?;
    let view = ReplayView {
        replayed: response.replayed,
        left: response.dead_letters.len(),
        failures: response.failures.clone(),
    };
    match format {
        Format::Json | Format::Yaml => output::document(format, &view)?,
        _ => output::line(format!(
            "{} sent once more, {} left",
            view.replayed, view.left
        )),
    }
    unfinished(&what, &response.failures)
}

fn unfinished(what: &str, failures: &[String]) -> Outcome {
    match failures {
        [] => Ok(()),
        failures => Err(Failure::new(
            Exit::Failed,
            format!("could not {what}: {}", failures.join("; ")),
        )),
    }
}
