//! `edgeflow schema`: the JSON Schema of manifests.

use clap::Args;

use crate::{
    failure::Outcome,
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  edgeflow schema > edgeflow.schema.json
  # first line of a manifest, for editors with a YAML language server:
  # yaml-language-server: $schema=./edgeflow.schema.json";

/// Print the JSON Schema of system.yaml, for editors
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) fn run(self) -> Outcome {
        output::document(Format::Json, &edgeflow_spec::schema::schema())
    }
}
