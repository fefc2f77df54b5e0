//! Finds the programs under test: those of the build that the running test belongs to.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// Path of one of our programs.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("EDGEFLOW_TEST_BINARIES") {
        Some(folder) => PathBuf::from(folder),
        None => profile_folder()?,
    };
    let path = folder.join(name);
    if !path.is_file() {
        bail!(
            "{} is not built; run `cargo build --workspace --all-targets` or `cargo xtask test`",
            path.display()
        );
    }
    Ok(path)
}

/// A test lies in TARGET/PROFILE/deps, a bench in TARGET/PROFILE.
fn profile_folder() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("finding the running test")?;
    let folder = exe.parent().context("finding the test's folder")?;
    if folder.ends_with("deps") {
        return Ok(folder.parent().unwrap_or(folder).to_owned());
    }
    Ok(folder.to_owned())
}
