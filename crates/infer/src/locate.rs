//! Finds a model's file by catalogue name, file name or path, reads it within a limit, and checks
//! the digest of catalogue models. Never downloads.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use edgeflow_model::catalogue::{Entry, by_digest, by_name, catalogue};
use sha2::{Digest, Sha256};

/// Bytes of a model file that are accepted.
pub const MAX_MODEL_BYTES: u64 = 1024 * 1024 * 1024;

/// A model's file, read and checked.
#[derive(Debug)]
pub struct ModelFile {
    /// Where it was found.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its digest, lower-case hex.
    pub sha256: String,
    /// What the catalogue knows about it.
    pub entry: Option<&'static Entry>,
}

/// Why a model's file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// Nowhere to be found.
    #[error("model `{name}` not found: looked for {file} in {searched}{hint}")]
    NotFound {
        /// As asked for.
        name: String,
        /// File name.
        file: String,
        /// Folders that were searched.
        searched: String,
        /// What to do.
        hint: String,
    },
    /// The path leads nowhere.
    #[error("model file {} does not exist", .0.display())]
    NoSuchFile(PathBuf),
    /// The file can't be read.
    #[error("model file {} can't be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is beyond the limit.
    #[error("model file {} has over {MAX_MODEL_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    /// Not the file that the catalogue means.
    #[error(
        "{} is not the `{name}` model: its SHA-256 is {have}, expected {expected}; remove it and {obtain}",
        .path.display()
    )]
    Digest {
        /// Catalogue name.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Its digest.
        have: String,
        /// The catalogue's digest.
        expected: &'static str,
        /// How to get the right one.
        obtain: String,
    },
}

/// Finds and reads a model. A name of the catalogue or a bare file name is searched in `dirs`,
/// anything with a `/` is a path.
pub fn read(name: &str, dirs: &[PathBuf]) -> Result<ModelFile, LocateError> {
    let file = read_file(find(name, dirs)?)?;
    if let Some(entry) = by_name(name)
        && entry.sha256 != file.sha256
    {
        return Err(LocateError::Digest {
            name: &entry.name,
            path: file.path,
            have: file.sha256,
            expected: &entry.sha256,
            obtain: entry.obtain(),
        });
    }
    Ok(file)
}

/// Reads a model whose file is known.
pub fn read_file(path: PathBuf) -> Result<ModelFile, LocateError> {
    let bytes = read_bounded(&path)?;
    let sha256 = hex(&Sha256::digest(&bytes));
    Ok(ModelFile {
        entry: by_digest(&sha256),
        path,
        bytes,
        sha256,
    })
}

fn find(name: &str, dirs: &[PathBuf]) -> Result<PathBuf, LocateError> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(LocateError::NoSuchFile(path))
        };
    }
    let entry = by_name(name);
    let file = entry.map_or(name, |entry| &entry.file);
    let found = dirs.iter().map(|dir| dir.join(file)).find(|p| p.is_file());
    found.ok_or_else(|| LocateError::NotFound {
        name: name.to_owned(),
        file: file.to_owned(),
        searched: folders(dirs),
        hint: hint(entry),
    })
}

fn folders(dirs: &[PathBuf]) -> String {
    if dirs.is_empty() {
        return "no folder (the agent has no asset folder)".to_owned();
    }
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    dirs.join(", ")
}

fn hint(entry: Option<&Entry>) -> String {
    match entry {
        Some(entry) => format!(
            "; `edgeflow model add {}` brings it to the devices that need it (licence {}); or {} and put it into one of these folders",
            entry.name,
            entry.licence,
            entry.obtain()
        ),
        None => {
            let names: Vec<&str> = catalogue().iter().map(|e| e.name.as_str()).collect();
            format!(
                "; `edgeflow model add FILE` brings a model to the devices; known by name are {}",
                names.join(", ")
            )
        }
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, LocateError> {
    let failed = |source| LocateError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_MODEL_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_MODEL_BYTES {
        return Err(LocateError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_model_says_where_it_was_sought_and_how_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().to_owned()];
        let error = read("centerface", &dirs).unwrap_err().to_string();
        assert!(error.starts_with("model `centerface` not found: looked for centerface.onnx in "));
        assert!(error.contains(&dir.path().display().to_string()));
        assert!(error.contains("`edgeflow model add centerface`"));
        let error = read("centrface", &dirs).unwrap_err().to_string();
        assert!(error.ends_with(
            "known by name are centerface, page-orientation, picodet-layout, yolox-nano"
        ));
        let error = read("/nowhere/x.onnx", &[]).unwrap_err().to_string();
        assert_eq!(error, "model file /nowhere/x.onnx does not exist");
    }

    #[test]
    fn another_file_under_a_catalogue_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("centerface.onnx"), b"another").unwrap();
        let error = read("centerface", &[dir.path().to_owned()]).unwrap_err();
        assert!(matches!(error, LocateError::Digest { .. }));
        assert!(error.to_string().contains("is not the `centerface` model"));
    }

    #[test]
    fn a_file_name_is_sought_in_the_folders_too() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.onnx"), b"mine").unwrap();
        let dirs = [PathBuf::from("/nowhere"), dir.path().to_owned()];
        let file = read("mine.onnx", &dirs).unwrap();
        assert_eq!((file.bytes.as_slice(), file.entry), (&b"mine"[..], None));
    }
}
