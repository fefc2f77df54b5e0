//! `edgeflow delete`: stops a system for good, or forgets a device.

use clap::{Args, ValueEnum};
use edgeflow_proto::v1;

use crate::{
    args::Globals,
    client::Client,
    failure::Outcome,
    output::{self, colour, confirm::confirm},
};

const EXAMPLES: &str = "\
Examples:
  edgeflow delete system entrance            stops its nodes everywhere and forgets its revisions
  edgeflow delete device pi-7 --yes          revokes its certificate and forgets it, without asking";

/// Delete systems or devices
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Delete {
    /// What to delete
    #[arg(value_enum, ignore_case = true)]
    kind: Kind,
    /// Which
    #[arg(required = true)]
    names: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Fail if the system is not at this etag
    #[arg(
        long,
        value_name = "ETAG",
        default_value = "",
        hide_default_value = true
    )]
    etag: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    #[value(alias = "systems", alias = "sys")]
    System,
    #[value(alias = "devices", alias = "dev")]
    Device,
}

impl Delete {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let names = self.names.join(", ");
        let question = match self.kind {
            Kind::System => format!("Stop {names} on every device and forget its revisions?"),
            Kind::Device => format!("Revoke the certificate of {names} and forget it?"),
        };
        confirm(&question, self.yes).await?;
        let client = Client::connect(globals).await?;
        let paint = colour::stdout();
        for name in &self.names {
            let mut api = client.api();
            match self.kind {
                Kind::System => {
                    let request = v1::DeleteSystemRequest {
                        name: name.clone(),
                        etag: self.etag.clone(),
                    };
                    let what = format!("delete the system {name}");
                    client.call(&what, api.delete_system(request)).await?;
                }
                Kind::Device => {
                    let request = v1::DeleteDeviceRequest {
                        device: name.clone(),
                    };
                    let what = format!("delete the device {name}");
                    client.call(&what, api.delete_device(request)).await?;
                }
            }
            output::line(format!("{} deleted", paint.bold(name)));
        }
        Ok(())
    }
}
