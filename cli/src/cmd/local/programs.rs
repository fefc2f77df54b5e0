//! Finds the programs that belong together: beside this one first, then on PATH.

use std::path::PathBuf;

use crate::failure::{Failure, Outcome};

/// The path of a program.
pub(crate) fn find(name: &str) -> Outcome<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.canonicalize().ok())
        .and_then(|exe| Some(exe.parent()?.join(name)));
    if let Some(path) = beside.as_ref().filter(|path| path.is_file()) {
        return Ok(path.clone());
    }
    on_path(name).ok_or_else(|| {
        let place = beside.map(|path| format!("neither as {} nor", path.display()));
        Failure::failed(format!("can't find the program {name}"))
            .why(format!("it is {} on PATH", place.as_deref().unwrap_or("not")))
            .next("install all EdgeFlow programs into one folder, or build them: cargo build --release")
    })
}

/// A program on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
