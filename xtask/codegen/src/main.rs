//! Generates `proto/src/gen` from `proto/edgeflow/v1/*.proto` without protoc.
//!
//! `edgeflow-codegen OUT_DIR` writes the Rust code there; xtask compares or replaces.

use std::path::PathBuf;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let out = PathBuf::from(
        std::env::args()
            .nth(1)
            .context("usage: edgeflow-codegen OUT_DIR")?,
    );
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut files: Vec<PathBuf> = std::fs::read_dir(root.join("edgeflow/v1"))
        .context("reading proto/edgeflow/v1")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|ext| ext == "proto"));
    files.sort();
    let descriptors = protox::compile(&files, [&root]).context("compiling the protos")?;
    std::fs::create_dir_all(&out).context("creating the output folder")?;
    tonic_prost_build::configure()
        .out_dir(&out)
        .build_transport(true)
        .compile_fds(descriptors)
        .context("generating code")
}
