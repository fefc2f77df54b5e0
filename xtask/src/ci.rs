//! `cargo xtask ci`: the tests, and every check that a change has to pass. All of it runs even when
//! a part fails, so that one run shows every problem.

use anyhow::{Result, bail};

use crate::{codegen, deny, fuzz, process, repo, sqlx, steps::Steps, test, tidy, web};

pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new();
    steps.check("fmt", || {
        process::run(process::cargo().args(["fmt", "--all", "--check"]))
    });
    steps.check("tidy", tidy::run);
    test::run_in(&mut steps);
    steps.check("clippy", clippy);
    steps.check("codegen", || codegen::run(true));
    steps.check("sqlx", || sqlx::run(true));
    steps.check("web", || web::run(true));
    steps.check("doc", doc);
    steps.check("deny", deny::run);
    steps.check("fuzz", fuzz::run);
    steps.check("unchanged", unchanged);
    steps.finish()
}

fn clippy() -> Result<()> {
    process::run(
        process::cargo()
            .args([
                "clippy",
                "--quiet",
                "--locked",
                "--workspace",
                "--all-targets",
            ])
            .args(["--", "--deny", "warnings"]),
    )
}

fn doc() -> Result<()> {
    process::run(
        process::cargo()
            .args(["doc", "--quiet", "--locked", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )
}

/// Tests and generators with --check leave the checkout as it was.
fn unchanged() -> Result<()> {
    if std::env::var_os("CI").is_none() || !repo::root().join(".git").exists() {
        return Ok(());
    }
    let changed = process::output(process::command("git").args(["status", "--porcelain"]))?;
    if !changed.is_empty() {
        bail!("the run changed the checkout:\n{changed}");
    }
    Ok(())
}
