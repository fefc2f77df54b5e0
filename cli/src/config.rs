//! The configuration file with its contexts: which control planes a person works with. Written
//! atomically and readable by its owner only, because it holds tokens.

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    failure::{Exit, Failure, Outcome},
    paths,
};

/// More than any person has; a bigger file is not ours.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The file as a whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Name of the context that commands use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// Control planes by name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// One control plane.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// `https://host:port`, or `http://` on loopback.
    pub(crate) server: String,
    /// Admin token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// File with the admin token, read at each use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// CA certificate, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
    /// File with the CA certificate, read at each use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Context")
            .field("server", &self.server)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("token_file", &self.token_file)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

/// The path that `--config` or the default names.
pub(crate) fn path(given: Option<&Path>) -> Outcome<PathBuf> {
    given
        .map(Path::to_path_buf)
        .or_else(paths::config_file)
        .ok_or_else(|| {
            Failure::failed("can't tell where the configuration file is")
                .why("neither XDG_CONFIG_HOME nor HOME is set")
                .next("name it with --config FILE")
        })
}

/// Reads the file; a missing one is empty.
pub(crate) fn load(path: &Path) -> Outcome<Config> {
    let what = || format!("can't read the configuration file {}", path.display());
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Config::default()),
        Err(error) => return Err(Failure::failed(what()).why(error)),
    };
    if size > MAX_FILE_BYTES {
        return Err(
            Failure::failed(what()).why(format!("it is larger than {MAX_FILE_BYTES} bytes"))
        );
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::failed(what()).why(error))?;
    toml::from_str(&text).map_err(|error| {
        Failure::failed(what())
            .why(error.to_string().trim_end())
            .next(format!(
                "correct it, or move it away: mv {0} {0}.old",
                path.display()
            ))
    })
}

/// Writes the file: temporary, sync, rename; mode 0600.
pub(crate) fn save(path: &Path, config: &Config) -> Outcome {
    let what = || format!("can't write the configuration file {}", path.display());
    let text =
        toml::to_string_pretty(config).map_err(|error| Failure::failed(what()).why(error))?;
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(dir)?;
        }
        let temporary = path.with_extension(format!("toml.{}", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    };
    write().map_err(|error| Failure::failed(what()).why(error))
}

impl Config {
    /// A context by name.
    pub(crate) fn context(&self, name: &str) -> Outcome<&Context> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let failure = Failure::new(Exit::NotFound, format!("there is no context `{name}`"));
            if known.is_empty() {
                failure.next(
                    "add one: edgeflow context add NAME --server https://HOST:7443 --ca ca.crt",
                )
            } else {
                failure.next(format!("use one of: {}", known.join(", ")))
            }
        })
    }
}
