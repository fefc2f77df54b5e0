//! `cargo xtask web`: the dashboard's committed files: its client, `web/src/gen`, from the protos,
//! and `web/dist`, built from `web/src`.

use std::path::Path;

use anyhow::{Result, bail};

use crate::{compare, process, repo};

pub(crate) fn run(check: bool) -> Result<()> {
    install()?;
    let client = repo::target_dir()?.join("web-gen");
    compare::fresh_dir(&client)?;
    process::run(npm().args(["run", "gen", "--", "-o"]).arg(&client))?;
    settle("web/src/gen", &client.join("src/gen"), check)?;
    let dist = repo::target_dir()?.join("web-dist");
    compare::fresh_dir(&dist)?;
    process::run(
        npm()
            .args(["run", "build", "--", "--emptyOutDir", "--outDir"])
            .arg(&dist),
    )?;
    settle("web/dist", &dist, check)
}

fn settle(committed: &str, generated: &Path, check: bool) -> Result<()> {
    let committed = repo::root().join(committed);
    if check {
        compare::same(&committed, generated, "web")
    } else {
        compare::replace(&committed, generated)
    }
}

/// The dashboard's unit tests.
pub(crate) fn test() -> Result<()> {
    install()?;
    process::run(npm().args(["test"]))
}

/// `npm ci`, unless the installed packages are those of the lock file.
pub(crate) fn install() -> Result<()> {
    if process::find("npm").is_none() {
        bail!("npm is not installed: install Node.js 20 or newer (Debian: apt-get install npm)");
    }
    npm_ci("web")
}

/// `npm ci` in a folder of the repository, skipped when nothing changed since the last one.
pub(crate) fn npm_ci(folder: &str) -> Result<()> {
    let folder = repo::root().join(folder);
    let lock = std::fs::read(folder.join("package-lock.json"))?;
    let stamp = folder.join("node_modules/.edgeflow-lock");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    process::run(
        process::command("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&folder),
    )?;
    Ok(std::fs::write(stamp, lock)?)
}

fn npm() -> std::process::Command {
    let mut command = process::command("npm");
    command.current_dir(repo::root().join("web"));
    command
}
