//! Finds ONNX Runtime's library and loads it, once a process. The loader of the crate panics without
//! a library, so nothing of it is called before one was found.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use ort::{environment::Environment, logging::LogLevel};

use super::{super::BackendError, Provider, is_built_in};

/// Names the library, before any folder.
const VARIABLE: &str = "EDGEFLOW_ONNXRUNTIME";
const NAME: &str = "libonnxruntime.so";
/// Folders of the system, for programs that were installed by hand or by Debian.
const SYSTEM_DIRS: &[&str] = &[
    "/usr/local/lib",
    "/opt/onnxruntime/lib",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib",
];
/// Where pip puts packages, and the package's folder with the library.
const PYTHON_DIRS: &[&str] = &["/usr/local/lib", "/usr/lib"];
const PYTHON_PACKAGE: &str = "dist-packages/onnxruntime/capi";

/// The library, loaded.
#[derive(Clone, Debug)]
pub(super) struct Library {
    path: PathBuf,
    version: String,
    environment: Environment,
}

static LOADED: Mutex<Option<Library>> = Mutex::new(None);

impl Library {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(super) fn has(&self, provider: Provider) -> bool {
        is_built_in(provider)
    }
}

/// The process's library: the one that was loaded first, else the first that is found.
pub(super) fn get(dirs: &[PathBuf], provider: Provider) -> Result<Library, BackendError> {
    let mut loaded = LOADED
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(library) = &*loaded {
        return Ok(library.clone());
    }
    let path = find(dirs).ok_or_else(|| BackendError::NoLibrary {
        provider: provider.name(),
        searched: searched(dirs),
    })?;
    let library = load(path)?;
    *loaded = Some(library.clone());
    Ok(library)
}

fn load(path: PathBuf) -> Result<Library, BackendError> {
    let failed = |reason: String| BackendError::Library {
        path: path.clone(),
        reason,
    };
    let builder = ort::init_from(&path).map_err(|error| failed(error.to_string()))?;
    let environment = builder
        .with_name("edgeflow")
        .with_telemetry(false)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    environment.set_log_level(LogLevel::Error);
    Ok(Library {
        version: version(&path),
        path,
        environment,
    })
}

/// What the file is called; the library does not tell its number in a form of its own.
fn version(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    match name.split_once(".so.") {
        Some((_, version)) => version.to_owned(),
        None => "of unknown version".to_owned(),
    }
}

fn find(dirs: &[PathBuf]) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named));
    }
    folders(dirs).iter().find_map(|dir| newest_in(dir))
}

fn folders(dirs: &[PathBuf]) -> Vec<PathBuf> {
    let system = SYSTEM_DIRS.iter().map(PathBuf::from);
    let python = PYTHON_DIRS
        .iter()
        .flat_map(|dir| python_packages(Path::new(dir)));
    dirs.iter().cloned().chain(system).chain(python).collect()
}

/// Of each `pythonX.Y` in a folder.
fn python_packages(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_python = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("python3");
    let found = entries.filter(|entry| is_python(&entry.file_name()));
    found
        .map(|entry| entry.path().join(PYTHON_PACKAGE))
        .collect()
}

/// `libonnxruntime.so`, else the one with the highest number behind its name.
fn newest_in(dir: &Path) -> Option<PathBuf> {
    let plain = dir.join(NAME);
    if plain.is_file() {
        return Some(plain);
    }
    let number = |path: &PathBuf| -> Option<Vec<u32>> {
        let name = path.file_name()?.to_str()?;
        let rest = name.strip_prefix(NAME)?.strip_prefix('.')?;
        rest.split('.').map(|part| part.parse().ok()).collect()
    };
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let files = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file());
    let numbered = files.filter_map(|path| Some((number(&path)?, path)));
    numbered.max().map(|(_, path)| path)
}

fn searched(dirs: &[PathBuf]) -> String {
    let dirs = folders(dirs);
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    dirs.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_wins_and_a_plain_name_wins_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(dir.path().join(name), "").unwrap();
        assert_eq!(newest_in(dir.path()), None);
        for name in [
            "libonnxruntime.so.1.9.1",
            "libonnxruntime.so.1.22.0",
            "libonnxruntime.so.x",
        ] {
            put(name);
        }
        let found = newest_in(dir.path()).unwrap();
        assert!(found.ends_with("libonnxruntime.so.1.22.0"));
        assert_eq!(version(&found), "1.22.0");
        put(NAME);
        assert!(newest_in(dir.path()).unwrap().ends_with(NAME));
    }
}
