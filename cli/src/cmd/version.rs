//! `edgeflow version`: of this program and of the control plane.

use clap::Args;
use edgeflow_proto::v1;
use serde::Serialize;

use crate::{
    args::Globals,
    client::Client,
    failure::Outcome,
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  edgeflow version                both sides; the control plane may be away
  edgeflow version --client       only this program
  edgeflow version -o json";

/// Show the versions of this program and of the control plane
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Version {
    /// Do not ask the control plane
    #[arg(long)]
    client: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

#[derive(Debug, Serialize)]
struct Versions {
    client: String,
    server: Option<String>,
    server_address: Option<String>,
}

impl Version {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let mut versions = Versions {
            client: env!("CARGO_PKG_VERSION").to_owned(),
            server: None,
            server_address: None,
        };
        let mut reason = None;
        if !self.client {
            match ask(globals).await {
                Ok((version, address)) => {
                    versions.server = Some(version);
                    versions.server_address = Some(address);
                }
                Err(failure) => reason = Some(failure),
            }
        }
        if matches!(self.output, Format::Json | Format::Yaml) {
            return output::document(self.output, &versions);
        }
        output::line(format!("edgeflow {}", versions.client));
        if let (Some(version), Some(address)) = (&versions.server, &versions.server_address) {
            output::line(format!("control plane {version} at {address}"));
        }
        if let Some(failure) = reason {
            output::line(format!("control plane: {failure}"));
        }
        Ok(())
    }
}

async fn ask(globals: &Globals) -> Outcome<(String, String)> {
    let client = Client::connect(globals).await?;
    let mut api = client.api();
    let info = client
        .call(
            "ask for the version",
            api.get_server_info(v1::GetServerInfoRequest {}),
        )
        .await?;
    Ok((info.version, client.target().server.clone()))
}
