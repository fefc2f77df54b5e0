//! `edgeflow model`: the models that the control plane keeps and devices fetch.

mod add;
mod download;
mod file;

use clap::{Args, Subcommand};
use edgeflow_model::catalogue;
use edgeflow_proto::v1;

use crate::{
    args::Globals,
    client::Client,
    failure::Outcome,
    output::{self, Format, colour, confirm::confirm},
    view::model::{CatalogueView, ModelView},
};

const EXAMPLES: &str = "\
Examples:
  edgeflow model add bolts.onnx                 keeps it as `bolts`; in a manifest: model: bolts
  edgeflow model add yolox-nano                 fetches a model of the catalogue and keeps it
  edgeflow model list
  edgeflow model list --catalogue               models that can be added by name
  edgeflow model describe bolts
  edgeflow model delete bolts

A device fetches a model when a system that names it runs there, checks its digest and caches it. A
name stands for one file for ever: a new version gets a name of its own, such as bolts-2, so that a
rollback means what it meant.";

/// Add, list, describe and delete models
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Model {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(add::Add),
    /// List the models
    #[command(after_help = EXAMPLES)]
    List {
        /// Those that can be added by name instead
        #[arg(long)]
        catalogue: bool,
        /// Output format
        #[arg(short, long, value_enum, default_value = "table")]
        output: Format,
    },
    /// Show everything about a model
    #[command(after_help = EXAMPLES)]
    Describe {
        /// Which
        name: String,
        /// Output format
        #[arg(short, long, value_enum, default_value = "table")]
        output: Format,
    },
    /// Delete models that no system uses
    #[command(after_help = EXAMPLES)]
    Delete {
        /// Which
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

impl Model {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        match self.action {
            Action::Add(add) => add.run(globals).await,
            Action::List { catalogue, output } => list(globals, catalogue, output).await,
            Action::Describe { name, output } => describe(globals, &name, output).await,
            Action::Delete { names, yes } => delete(globals, &names, yes).await,
        }
    }
}

async fn list(globals: &Globals, of_catalogue: bool, output: Format) -> Outcome {
    let client = Client::connect(globals).await?;
    let models = models(&client).await?;
    if of_catalogue {
        let row = |entry| CatalogueView::new(entry, &models);
        let rows: Vec<CatalogueView> = catalogue().iter().map(row).collect();
        return output::rows(output, &rows, "the catalogue is empty");
    }
    output::rows(
        output,
        &models,
        "no models; add one: edgeflow model add FILE",
    )
}

/// Every model.
pub(crate) async fn models(client: &Client) -> Outcome<Vec<ModelView>> {
    let mut api = client.api();
    let request = v1::ListModelsRequest {};
    let response = client.call("list models", api.list_models(request)).await?;
    Ok(response.models.into_iter().map(ModelView::from).collect())
}

async fn describe(globals: &Globals, name: &str, output: Format) -> Outcome {
    let client = Client::connect(globals).await?;
    let mut api = client.api();
    let request = v1::GetModelRequest {
        name: name.to_owned(),
    };
    let what = format!("describe the model {name}");
    let response = client.call(&what, api.get_model(request)).await?;
    let model = ModelView::from(response.model.unwrap_or_default());
    match output {
        Format::Json | Format::Yaml => output::document(output, &model),
        Format::Name => {
            output::line(&model.name);
            Ok(())
        }
        Format::Table | Format::Wide => {
            let paint = colour::stdout();
            for (label, text) in model.facts() {
                output::line(format!("{} {text}", paint.dim(&format!("{label:<12}"))));
            }
            Ok(())
        }
    }
}

async fn delete(globals: &Globals, names: &[String], yes: bool) -> Outcome {
    confirm(&format!("Delete {}?", names.join(", ")), yes).await?;
    let client = Client::connect(globals).await?;
    for name in names {
        let mut api = client.api();
        let request = v1::DeleteModelRequest { name: name.clone() };
        let what = format!("delete the model {name}");
        client.call(&what, api.delete_model(request)).await?;
        output::line(format!("{} deleted", colour::stdout().bold(name)));
    }
    Ok(())
}
