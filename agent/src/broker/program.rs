//! Finds redis-server and asks its version. Starts nothing that stays.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use edgeflow_spec::broker::{INSTALL_HINT, MIN_VERSION, PROGRAM, parse_version};
use thiserror::Error;

const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Why there is no broker on this device.
#[derive(Debug, Error)]
pub(super) enum ProgramError {
    #[error(
        "a link goes through the device's own broker, and redis-server is not installed here: {INSTALL_HINT}"
    )]
    Missing,
    #[error(
        "a link goes through the device's own broker, and {path} is too old ({version}): {INSTALL_HINT}"
    )]
    TooOld { path: PathBuf, version: String },
}

/// The redis-server that is installed, with its version.
pub(super) fn find() -> Result<(PathBuf, String), ProgramError> {
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let candidates = env::split_paths(&path).map(|dir| dir.join(PROGRAM));
    let is_program = |path: &PathBuf| {
        let metadata = fs::metadata(path);
        metadata.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    let path = candidates
        .into_iter()
        .find(is_program)
        .ok_or(ProgramError::Missing)?;
    let output = Command::new(&path)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match text.ok().as_deref().and_then(parse_version) {
        Some(version) if version >= MIN_VERSION => {
            Ok((path, format!("{}.{}", version.0, version.1)))
        }
        version => Err(ProgramError::TooOld {
            path,
            version: version.map_or("unknown".to_owned(), |(a, b)| format!("{a}.{b}")),
        }),
    }
}

/// Version of the installed redis-server if it can be the device's own broker; else empty.
pub fn usable_version() -> String {
    find().map(|(_, version)| version).unwrap_or_default()
}
