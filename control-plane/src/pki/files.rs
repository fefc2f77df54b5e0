//! The files of the data folder: private ones are readable by their owner only, and are replaced
//! as a whole or not at all.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use super::{PkiError, Secret};

/// Prefix of admin tokens.
const ADMIN_PREFIX: &str = "efa_";
/// File with the admin token.
const ADMIN_TOKEN_FILE: &str = "admin-token";
/// Longest admin token that is read.
const MAX_ADMIN_TOKEN: usize = 256;

/// Makes the data folder, readable by its owner only.
pub fn ensure_dir(path: &Path) -> Result<(), PkiError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| file("create the data folder", path, source))
}

/// Reads the admin token, or makes it at the first start.
pub fn load_or_create_admin_token(data_dir: &Path) -> Result<String, PkiError> {
    let path = data_dir.join(ADMIN_TOKEN_FILE);
    if let Some(text) = read_optional(&path)? {
        let token = text.trim().to_owned();
        if token.is_empty() || token.len() > MAX_ADMIN_TOKEN {
            return Err(damaged(&path, &"no admin token in it"));
        }
        return Ok(token);
    }
    let secret = Secret::random(ADMIN_PREFIX);
    write_private(&path, format!("{}\n", secret.reveal()).as_bytes())?;
    Ok(secret.reveal().to_owned())
}

/// Writes a file with mode 0600: temporary file, fsync, rename, fsync of the folder.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut out = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        out.write_all(content)?;
        out.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) => fs::File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| file("write", path, source))
}

pub(super) fn read_optional(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file("read", path, source)),
    }
}

pub(super) fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> PkiError {
    PkiError::Damaged {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn file(action: &'static str, path: &Path, source: std::io::Error) -> PkiError {
    PkiError::File {
        action,
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_admin_token_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create_admin_token(dir.path()).unwrap();
        assert_eq!(load_or_create_admin_token(dir.path()).unwrap(), first);
        let mode = fs::metadata(dir.path().join(ADMIN_TOKEN_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
