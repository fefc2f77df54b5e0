//! `cargo xtask tidy`: the rules of ARCHITECTURE.md and CONTRIBUTING.md that a program can check.
//! Each check is a pure function from text to findings; this file only feeds them.

mod dag;
mod fences;
mod layout;
mod links;
mod manifests;
mod sources;

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{process, repo};

/// A file of the repository. `text` is empty for anything that is not UTF-8.
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    #[cfg(test)]
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Written by a generator; only its generator's --check looks at it.
    fn is_generated(&self) -> bool {
        let path = self.path.as_str();
        path.starts_with("proto/src/gen/")
            || path.starts_with("web/dist/")
            || path.starts_with(".sqlx/")
            || path.contains("/gen/")
            || path.ends_with("package-lock.json")
            || path.ends_with("Cargo.lock")
            || path == "docs/system.schema.json"
    }
}

pub(crate) fn run() -> Result<()> {
    let files = read_files()?;
    let metadata =
        process::output(process::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).context("reading cargo metadata")?;
    let mut findings = Vec::new();
    findings.extend(dag::check(&metadata));
    findings.extend(fences::check_dependencies(&metadata));
    findings.extend(fences::check_sources(&files));
    findings.extend(layout::check(&files));
    findings.extend(links::check(&files));
    findings.extend(manifests::check(&files));
    findings.extend(sources::check(&files));
    if findings.is_empty() {
        println!("tidy: {} files, nothing to say", files.len());
        return Ok(());
    }
    for finding in &findings {
        println!("{finding}");
    }
    bail!("tidy: {} findings", findings.len())
}

fn read_files() -> Result<Vec<SourceFile>> {
    repo::files()?
        .into_iter()
        .map(|path| {
            let bytes =
                fs::read(repo::root().join(&path)).with_context(|| format!("reading {path}"))?;
            let text = String::from_utf8(bytes).unwrap_or_default();
            Ok(SourceFile { path, text })
        })
        .collect()
}
