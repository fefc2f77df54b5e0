//! `cargo xtask fuzz`: builds the fuzz targets with the ordinary toolchain, which proves that they
//! compile and link. Running them takes cargo-fuzz and a nightly toolchain: see fuzz/README.md.

use anyhow::Result;

use crate::{process, repo};

pub(crate) fn run() -> Result<()> {
    process::run(
        process::cargo()
            .args([
                "build",
                "--quiet",
                "--locked",
                "--manifest-path",
                "fuzz/Cargo.toml",
            ])
            .arg("--target-dir")
            .arg(repo::target_dir()?),
    )
}
