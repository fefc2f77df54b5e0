//! `cargo xtask codegen`: Rust from the protos, in a program of its own so that this one stays
//! quick to build.

use anyhow::Result;

use crate::{compare, process, repo};

pub(crate) fn run(check: bool) -> Result<()> {
    let generated = repo::target_dir()?.join("codegen");
    compare::fresh_dir(&generated)?;
    // The whole workspace's features, so that nothing is built a second time.
    process::run(process::cargo().args([
        "build",
        "--quiet",
        "--workspace",
        "--bin",
        "edgeflow-codegen",
    ]))?;
    let generator = repo::target_dir()?.join("debug/edgeflow-codegen");
    process::run(process::command(&generator.to_string_lossy()).arg(&generated))?;
    let committed = repo::root().join("proto/src/gen");
    if check {
        compare::same(&committed, &generated, "codegen")
    } else {
        compare::replace(&committed, &generated)
    }
}
