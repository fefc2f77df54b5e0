//! `cargo xtask sqlx`: `.sqlx`, the checked description of every SQL query, so that a build needs
//! no database. sqlx's macros write it themselves when they see a live one; this makes that
//! database from `migrations/` and compiles the control plane against it.

use std::{
    fs::{self, File},
    path::Path,
    time::SystemTime,
};

use anyhow::{Context, Result};

use crate::{compare, process, repo};

/// Runs the migrations with the SQLite that Python brings, so that no client has to be installed.
const MIGRATE: &str = "\
import pathlib, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
for file in sorted(pathlib.Path(sys.argv[2]).glob('*.sql')):
    database.executescript(file.read_text())
database.commit()
";

pub(crate) fn run(check: bool) -> Result<()> {
    let root = repo::root();
    let scratch = repo::target_dir()?.join("sqlx");
    compare::fresh_dir(&scratch)?;
    let database = scratch.join("schema.db");
    process::run(
        process::command("python3")
            .args(["-c", MIGRATE])
            .arg(&database)
            .arg(root.join("migrations")),
    )
    .context("running the migrations")?;
    let generated = scratch.join("queries");
    compare::fresh_dir(&generated)?;
    touch_sources(&root.join("control-plane/src"))?;
    process::run(
        process::cargo()
            .args([
                "check",
                "--quiet",
                "--workspace",
                "--bin",
                "edgeflow-control-plane",
            ])
            .env("DATABASE_URL", format!("sqlite://{}", database.display()))
            .env("SQLX_OFFLINE", "false")
            .env("SQLX_OFFLINE_DIR", &generated),
    )?;
    // The next ordinary build must not take this one, with its database URL, for its own.
    touch_sources(&root.join("control-plane/src"))?;
    let committed = root.join(".sqlx");
    if check {
        compare::same(&committed, &generated, "sqlx")
    } else {
        compare::replace(&committed, &generated)
    }
}

/// Macros run again only when cargo sees a newer crate root.
fn touch_sources(folder: &Path) -> Result<()> {
    for name in ["lib.rs", "main.rs"] {
        let path = folder.join(name);
        if path.exists() {
            File::options()
                .append(true)
                .open(&path)
                .and_then(|file| file.set_modified(SystemTime::now()))
                .with_context(|| format!("touching {}", path.display()))?;
        }
    }
    fs::metadata(folder).with_context(|| format!("reading {}", folder.display()))?;
    Ok(())
}
