//! `edgeflow model add`: describes a file and sends it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::Args;
use edgeflow_model::{Description, Entry, Family, catalogue};
use edgeflow_proto::v1::{self, add_model_request::Part};
use edgeflow_spec::quantity::rounded_bytes;

use super::{download, file};
use crate::{
    args::Globals,
    client::Client,
    failure::{Failure, Outcome},
    output::{self, Format, colour, live::measured},
    view::model::ModelView,
};

/// Bytes of the file in a message.
const PIECE_BYTES: usize = 256 * 1024;

const EXAMPLES: &str = "\
Examples:
  edgeflow model add bolts.onnx
  edgeflow model add best.onnx --name bolts-2 --licence MIT --labels labels.txt
  edgeflow model add ultraface.onnx --family ssd
  edgeflow model add helmets.onnx --labels labels.txt   a classifier, for the node classify
  edgeflow model add yolox-nano                 of the catalogue: edgeflow model list --catalogue
  edgeflow model add weights.pt --any-file      for a node of your own: models: [weights]

What is not said is taken from FILE.json, if it is there, from the ONNX file, or found out by the node
that runs it (docs/models.md).";

/// Keep a model on the control plane, for the devices whose systems name it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Add {
    /// A file, or the name of a model of the catalogue
    #[arg(value_name = "FILE|NAME")]
    model: String,
    /// Name in manifests [default: that of the file without its ending]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it finds, in a line
    #[arg(long, value_name = "TEXT")]
    about: Option<String>,
    /// Its licence, as SPDX names it
    #[arg(long, visible_alias = "license", value_name = "SPDX")]
    licence: Option<String>,
    /// File with the names of its classes, one a line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How its outputs are decoded
    #[arg(long, value_name = "FAMILY", value_parser = family)]
    family: Option<Family>,
    /// Description as JSON [default: FILE.json if it is there]
    #[arg(long, value_name = "FILE")]
    description: Option<PathBuf>,
    /// Keep it although it is no ONNX model
    #[arg(long)]
    any_file: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

fn family(name: &str) -> Result<Family, String> {
    Family::by_name(name).ok_or_else(|| {
        let known = Family::ALL.map(Family::name);
        format!("it can be {}", known.join(", "))
    })
}

impl Add {
    pub(super) async fn run(self, globals: &Globals) -> Outcome {
        let path = PathBuf::from(&self.model);
        let entry = catalogue::by_name(&self.model).filter(|_| !path.exists());
        // Before a download: without a control plane it would be for nothing.
        let client = Client::connect(globals).await?;
        let prepared = match entry {
            Some(entry) => {
                if let Some(response) = self.is_there(&client, entry).await? {
                    return self.tell(response);
                }
                let bytes = download::fetch(entry).await?;
                file::Prepared::of_catalogue(entry, bytes)
            }
            None => file::Prepared::read(&path, self.any_file, self.description.as_deref())?,
        };
        let model = self.described(prepared.model)?;
        let response = self.send(&client, model, prepared.bytes).await?;
        self.tell(response)
    }

    /// The answer for a model of the catalogue that needs no download, since it is there, file and all.
    async fn is_there(
        &self,
        client: &Client,
        entry: &Entry,
    ) -> Outcome<Option<v1::AddModelResponse>> {
        let prepared = file::Prepared::of_catalogue(entry, Vec::new());
        let model = self.described(prepared.model)?;
        let same = |it: &ModelView| it.name == model.name && it.sha256 == model.sha256;
        if !super::models(client).await?.iter().any(same) {
            return Ok(None);
        }
        Ok(self.send(client, model, Vec::new()).await.ok())
    }

    /// What the command line says wins.
    fn described(&self, mut model: v1::Model) -> Outcome<v1::Model> {
        let mut told = match model.description.as_str() {
            "" => Description::default(),
            text => Description::from_json(text.as_bytes())
                .map_err(|error| Failure::failed("can't use the description").why(error))?,
        };
        if let Some(name) = &self.name {
            model.name.clone_from(name);
        }
        if let Some(about) = &self.about {
            told.about.clone_from(about);
        }
        if let Some(licence) = &self.licence {
            told.licence.clone_from(licence);
        }
        if let Some(labels) = &self.labels {
            told.labels = file::lines(labels)?;
        }
        if let Some(family) = self.family {
            told.family = Some(family.name().to_owned());
        }
        model.description = told.to_json();
        Ok(model)
    }

    async fn send(
        &self,
        client: &Client,
        model: v1::Model,
        bytes: Vec<u8>,
    ) -> Outcome<v1::AddModelResponse> {
        let name = model.name.clone();
        let sent = Arc::new(AtomicU64::new(0));
        let total = bytes.len() as u64;
        let (bytes, count) = (Arc::new(bytes), Arc::clone(&sent));
        let pieces = (0..bytes.len().div_ceil(PIECE_BYTES)).map(move |index| {
            let start = index * PIECE_BYTES;
            let end = bytes.len().min(start + PIECE_BYTES);
            count.store(end as u64, Ordering::Relaxed);
            Part::Piece(bytes[start..end].to_vec())
        });
        let parts = std::iter::once(Part::Model(model)).chain(pieces);
        let message = |part| v1::AddModelRequest { part: Some(part) };
        let mut api = client.api();
        let call = api.add_model(tokio_stream::iter(parts.map(message)));
        let response = measured(&format!("sending {name}"), total, sent, call).await;
        let what = format!("add the model {name}");
        let response = response.map_err(|status| client.failure(&what, &status))?;
        Ok(response.into_inner())
    }

    fn tell(&self, response: v1::AddModelResponse) -> Outcome {
        let unchanged = response.unchanged;
        let model = ModelView::from(response.model.unwrap_or_default());
        match self.output {
            Format::Json | Format::Yaml => return output::document(self.output, &model),
            Format::Name => output::line(&model.name),
            Format::Table | Format::Wide => {
                let done = if unchanged {
                    "is there already"
                } else {
                    "added"
                };
                output::line(format!(
                    "{} {done}: {}, SHA-256 {}",
                    colour::stdout().bold(&model.name),
                    rounded_bytes(model.bytes),
                    model.sha256
                ));
                output::note(colour::stderr().dim(&format!("in a manifest: {}", model.usage())));
            }
        }
        Ok(())
    }
}
