//! `cargo xtask schema`: docs/system.schema.json from the types, through the test of edgeflow-spec
//! that compares the two. Nothing else has to be built for it, and `cargo test` includes the check.

use anyhow::Result;

use crate::process;

pub(crate) fn run(check: bool) -> Result<()> {
    let mut test = process::cargo();
    test.args(["test", "--quiet", "--package", "edgeflow-spec"])
        .args(["--test", "it", "--", "schema::"]);
    if !check {
        test.env("EDGEFLOW_UPDATE", "1");
    }
    process::run(&mut test)
}
