//! `cargo xtask schema`: docs/system.schema.json, as `edgeflow schema` prints it.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{process, repo};

pub(crate) fn run(check: bool) -> Result<()> {
    let binary = repo::target_dir()?.join("debug/edgeflow");
    // The whole workspace's features, so that nothing is built a second time.
    process::run(process::cargo().args(["build", "--quiet", "--workspace", "--bin", "edgeflow"]))?;
    let path = binary.to_string_lossy().into_owned();
    let generated = process::output(process::command(&path).arg("schema"))?;
    let committed = repo::root().join("docs/system.schema.json");
    if check {
        let old = fs::read_to_string(&committed).unwrap_or_default();
        if old != generated {
            bail!("docs/system.schema.json is out of date; run `cargo xtask schema` and commit");
        }
        return Ok(());
    }
    fs::write(&committed, generated).with_context(|| format!("writing {}", committed.display()))
}
