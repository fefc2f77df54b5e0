//! `edgeflow token`: join tokens for new devices.

use std::time::Duration;

use clap::{Args, Subcommand};
use edgeflow_proto::v1;
use serde::Serialize;

use super::get;
use crate::{
    args::Globals,
    client::Client,
    failure::{Failure, Outcome},
    output::{self, Format, colour, time::parse_duration},
    view::token::TokenView,
};

const EXAMPLES: &str = "\
Examples:
  edgeflow token create                                 for one device, valid an hour
  edgeflow token create --uses 20 --ttl 1d --label site=berlin
  edgeflow token list
  edgeflow token delete TOKEN";

const CREATE_EXAMPLES: &str = "\
Examples:
  edgeflow token create                     prints the command to run on the device
  edgeflow token create -o name             prints only the token, for scripts
  edgeflow token create --uses 20 --ttl 1d --label site=berlin --label camera=true

The token is shown once. It names the control plane's CA, so that a device can't join a false one.";

/// Create, list and delete tokens that let devices join
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    /// List the tokens
    #[command(after_help = EXAMPLES)]
    List {
        /// Output format
        #[arg(short, long, value_enum, default_value = "table")]
        output: Format,
    },
    /// Delete tokens; devices that joined with them stay
    #[command(after_help = EXAMPLES)]
    Delete {
        /// Ids, as `token list` shows them
        #[arg(required = true)]
        tokens: Vec<String>,
    },
}

/// Create a token and print the command that joins a device
#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct Create {
    /// How long it can be used
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    ttl: Duration,
    /// How many devices can use it; 0: any number
    #[arg(long, value_name = "DEVICES", default_value_t = 1)]
    uses: u32,
    /// Label for every device that joins with it; can be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = super::parse_pair)]
    labels: Vec<(String, String)>,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

#[derive(Debug, Serialize)]
struct Created {
    #[serde(flatten)]
    token: TokenView,
    /// Shown once.
    secret: String,
    agent_address: String,
    /// What to run on the device.
    command: String,
}

impl Token {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let client = Client::connect(globals).await?;
        match self.action {
            Action::Create(create) => create.run(&client).await,
            Action::List { output } => output::rows(
                output,
                &get::tokens(&client).await?,
                "no tokens; make one: edgeflow token create",
            ),
            Action::Delete { tokens } => {
                for id in &tokens {
                    let mut api = client.api();
                    let request = v1::DeleteTokenRequest { id: id.clone() };
                    let what = format!("delete the token {id}");
                    client.call(&what, api.delete_token(request)).await?;
                    output::line(format!("{} deleted", colour::stdout().bold(id)));
                }
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(self, client: &Client) -> Outcome {
        let ttl_seconds = u32::try_from(self.ttl.as_secs())
            .ok()
            .filter(|seconds| *seconds > 0)
            .ok_or_else(|| Failure::usage("--ttl has to be between 1s and 136 years"))?;
        let request = v1::CreateTokenRequest {
            ttl_seconds,
            max_uses: self.uses,
            labels: self.labels.into_iter().collect(),
        };
        let mut api = client.api();
        let response = client
            .call("create a token", api.create_token(request))
            .await?;
        let command = format!(
            "edgeflow-agent --server {} --join {}",
            response.agent_address, response.secret
        );
        let created = Created {
            token: TokenView::from(response.token.unwrap_or_default()),
            secret: response.secret,
            agent_address: response.agent_address,
            command,
        };
        match self.output {
            Format::Json | Format::Yaml => output::document(self.output, &created),
            Format::Name => {
                output::line(&created.secret);
                Ok(())
            }
            Format::Table | Format::Wide => {
                let uses = match created.token.max_uses {
                    0 => "for any number of devices".to_owned(),
                    1 => "for one device".to_owned(),
                    number => format!("for {number} devices"),
                };
                output::note(colour::stderr().dim(&format!(
                    "valid for {} {uses}; run this on the device:",
                    created.token.left()
                )));
                output::line(&created.command);
                Ok(())
            }
        }
    }
}
