//! `edgeflow get`: lists of everything.

use clap::{Args, ValueEnum};
use edgeflow_proto::v1;

use super::{history, model};
use crate::{
    args::Globals,
    client::Client,
    failure::{Exit, Failure, Outcome},
    output::{self, Format, Row},
    view::{
        camera::CameraView, device::DeviceView, instance::InstanceView, system::SystemView,
        token::TokenView,
    },
};

const EXAMPLES: &str = "\
Examples:
  edgeflow get systems                        all systems
  edgeflow get system entrance -o yaml        one, with everything
  edgeflow get devices -l site=berlin         devices with a label
  edgeflow get instances entrance -o wide     the processes of a system
  edgeflow get revisions entrance             the same as: edgeflow history entrance
  edgeflow get cameras                        what is plugged in where
  edgeflow get devices -o name | xargs -n1 edgeflow describe device

JSON and YAML are always a list. Fields are documented in docs/cli.md.";

/// List systems, devices, instances, tokens, revisions, cameras or models
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Get {
    /// What to list
    #[arg(value_enum, ignore_case = true)]
    kind: Kind,
    /// Only these; for instances and revisions the system
    names: Vec<String>,
    /// Only devices with these labels, for example site=berlin,camera!=none
    #[arg(
        short = 'l',
        long,
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    selector: String,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    #[value(alias = "system", alias = "sys")]
    Systems,
    #[value(alias = "device", alias = "dev")]
    Devices,
    #[value(alias = "instance", alias = "nodes", alias = "node")]
    Instances,
    #[value(alias = "token")]
    Tokens,
    #[value(alias = "revision")]
    Revisions,
    #[value(alias = "camera")]
    Cameras,
    #[value(alias = "model")]
    Models,
}

impl Get {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        if !self.selector.is_empty() && !matches!(self.kind, Kind::Devices | Kind::Cameras) {
            return Err(Failure::usage("--selector is for devices and cameras"));
        }
        let client = Client::connect(globals).await?;
        let output = self.output;
        match self.kind {
            Kind::Systems => {
                let rows = named(systems(&client).await?, &self.names, "system")?;
                output::rows(
                    output,
                    &rows,
                    "no systems; apply one: edgeflow apply system.yaml",
                )
            }
            Kind::Devices => {
                let rows = named(
                    devices(&client, &self.selector).await?,
                    &self.names,
                    "device",
                )?;
                output::rows(output, &rows, "no devices; add one: edgeflow token create")
            }
            Kind::Instances => {
                let rows = instances(&client, &self.names).await?;
                output::rows(output, &rows, "no instances; nothing is placed on a device")
            }
            Kind::Tokens => {
                let rows = named(tokens(&client).await?, &self.names, "token")?;
                output::rows(output, &rows, "no tokens; make one: edgeflow token create")
            }
            Kind::Revisions => match self.names.as_slice() {
                [system] => output::rows(
                    output,
                    &history::revisions(&client, system).await?,
                    "no revisions",
                ),
                _ => Err(Failure::usage("name one system").next("edgeflow get revisions SYSTEM")),
            },
            Kind::Models => {
                let rows = named(model::models(&client).await?, &self.names, "model")?;
                output::rows(output, &rows, "no models; add one: edgeflow model add FILE")
            }
            Kind::Cameras => {
                let devices = named(
                    devices(&client, &self.selector).await?,
                    &self.names,
                    "device",
                )?;
                let rows: Vec<CameraView> = devices
                    .into_iter()
                    .flat_map(|device| device.facts.cameras)
                    .collect();
                output::rows(output, &rows, "no cameras on any device")
            }
        }
    }
}

/// All systems.
pub(crate) async fn systems(client: &Client) -> Outcome<Vec<SystemView>> {
    let mut api = client.api();
    let request = v1::ListSystemsRequest {};
    let response = client
        .call("list systems", api.list_systems(request))
        .await?;
    Ok(response.systems.into_iter().map(SystemView::from).collect())
}

/// All devices that match.
pub(crate) async fn devices(client: &Client, selector: &str) -> Outcome<Vec<DeviceView>> {
    let mut api = client.api();
    let request = v1::ListDevicesRequest {
        selector: selector.to_owned(),
    };
    let response = client
        .call("list devices", api.list_devices(request))
        .await?;
    Ok(response.devices.into_iter().map(DeviceView::from).collect())
}

/// All join tokens.
pub(crate) async fn tokens(client: &Client) -> Outcome<Vec<TokenView>> {
    let mut api = client.api();
    let request = v1::ListTokensRequest {};
    let response = client.call("list tokens", api.list_tokens(request)).await?;
    Ok(response.tokens.into_iter().map(TokenView::from).collect())
}

async fn instances(client: &Client, names: &[String]) -> Outcome<Vec<InstanceView>> {
    let systems = named(systems(client).await?, names, "system")?;
    Ok(systems
        .into_iter()
        .flat_map(|system| system.instances)
        .collect())
}

/// Keeps the rows with the names asked for; a name that is not there is an error.
fn named<T: Row>(rows: Vec<T>, names: &[String], noun: &str) -> Outcome<Vec<T>> {
    if names.is_empty() {
        return Ok(rows);
    }
    let missing: Vec<&str> = names
        .iter()
        .filter(|name| !rows.iter().any(|row| row.name() == **name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("there is no {noun} {}", missing.join(", ")),
        )
        .next(format!("see those there are: edgeflow get {noun}s")));
    }
    Ok(rows
        .into_iter()
        .filter(|row| names.contains(&row.name()))
        .collect())
}
