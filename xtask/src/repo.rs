//! Where things are: the checkout, cargo's target folder, its tracked files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process;

/// The checkout's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Cargo's target folder, wherever the environment or a config file puts it.
pub(crate) fn target_dir() -> Result<PathBuf> {
    // This program lies in TARGET/PROFILE/xtask.
    let exe = std::env::current_exe().context("finding this program")?;
    let target = exe
        .ancestors()
        .nth(2)
        .context("finding the target folder")?;
    Ok(target.to_owned())
}

/// Files that git tracks or would track, relative to the root, sorted.
pub(crate) fn files() -> Result<Vec<String>> {
    let text = process::output(process::command("git").args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut files: Vec<String> = text
        .split('\0')
        .filter(|name| !name.is_empty() && root().join(name).is_file())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}
