//! Which control plane: flags and environment, then the current context, then one on this machine.

use std::{
    fs,
    io::Read,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    args::Globals,
    config,
    failure::{Exit, Failure, Outcome},
    paths,
};

const DEFAULT_TLS_PORT: u16 = 7443;
const DEFAULT_HTTP_PORT: u16 = 7080;
/// Tokens, certificates and address files are small.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// How a target was found; decides what to advise when it does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `--server` or its environment variable.
    Given,
    /// A context of the configuration file.
    Context(String),
    /// The data folder of a control plane on this machine.
    DataDir(PathBuf),
}

/// Everything needed to connect.
#[derive(Clone)]
pub(crate) struct Target {
    /// `http://host:port` or `https://host:port`.
    pub(crate) server: String,
    /// Host without port and brackets.
    pub(crate) host: String,
    pub(crate) tls: bool,
    pub(crate) token: Option<String>,
    /// PEM.
    pub(crate) ca: Option<String>,
    pub(crate) origin: Origin,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Target")
            .field("server", &self.server)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Addresses as a control plane writes them into its data folder once it listens.
#[derive(Debug, Deserialize)]
struct Addresses {
    http: String,
}

/// Finds the control plane.
pub(crate) fn discover(globals: &Globals) -> Outcome<Target> {
    if let Some(name) = &globals.context {
        return from_context(globals, name);
    }
    if let Some(server) = &globals.server {
        return from_flags(globals, server);
    }
    let config = config::load(&config::path(globals.config.as_deref())?)?;
    if let Some(name) = &config.current {
        return from_context(globals, name);
    }
    from_this_machine(globals)
}

/// The control plane whose data is in `dir`.
pub(crate) fn from_data_dir(dir: &Path) -> Outcome<Target> {
    let addresses = dir.join("addresses.json");
    let what = || format!("can't read {}", addresses.display());
    let text = read_small(&addresses)?;
    let parsed: Addresses =
        serde_json::from_str(&text).map_err(|error| Failure::failed(what()).why(error))?;
    let mut target = parse_server(
        &format!("http://{}", parsed.http),
        Origin::DataDir(dir.to_path_buf()),
    )?;
    target.token = Some(read_token(&dir.join("admin-token"))?);
    Ok(target)
}

fn from_context(globals: &Globals, name: &str) -> Outcome<Target> {
    let config = config::load(&config::path(globals.config.as_deref())?)?;
    let context = config.context(name)?;
    let mut target = parse_server(&context.server, Origin::Context(name.to_owned()))?;
    target.token = match (&context.token, &context.token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(file)) => Some(read_token(file)?),
        (None, None) => given_token(globals)?,
    };
    target.ca = match (&context.ca, &context.ca_file) {
        (Some(pem), _) => Some(pem.clone()),
        (None, Some(file)) => Some(read_small(file)?),
        (None, None) => given_ca(globals)?,
    };
    Ok(target)
}

fn from_flags(globals: &Globals, server: &str) -> Outcome<Target> {
    let mut target = parse_server(server, Origin::Given)?;
    target.token = given_token(globals)?;
    target.ca = given_ca(globals)?;
    if is_loopback(&target.host) {
        // On the control plane's own machine its files say the rest, when they can be read.
        for dir in [paths::control_plane_dir(), local_control_plane()]
            .into_iter()
            .flatten()
        {
            if target.token.is_none() {
                target.token = read_token(&dir.join("admin-token")).ok();
            }
            if target.ca.is_none() && target.tls {
                target.ca = read_small(&dir.join("ca.crt")).ok();
            }
        }
    }
    Ok(target)
}

fn from_this_machine(globals: &Globals) -> Outcome<Target> {
    for dir in [
        local_control_plane_if_chosen(),
        paths::control_plane_dir(),
        local_control_plane(),
    ]
    .into_iter()
    .flatten()
    {
        if dir.join("addresses.json").exists() {
            let mut target = from_data_dir(&dir)?;
            if let Some(token) = given_token(globals)? {
                target.token = Some(token);
            }
            return Ok(target);
        }
    }
    let looked = paths::control_plane_dir()
        .map(|dir| format!(" (looked in {})", dir.display()))
        .unwrap_or_default();
    Err(Failure::new(Exit::Unreachable, "there is no control plane to talk to")
        .why(format!("none runs on this machine{looked}, and no other is configured"))
        .next("start one here with a system: edgeflow local system.yaml")
        .next("or name one: edgeflow context add NAME --server https://HOST:7443 --ca ca.crt --token-file FILE"))
}

fn local_control_plane_if_chosen() -> Option<PathBuf> {
    std::env::var_os(paths::LOCAL_DIR_ENV)?;
    local_control_plane()
}

fn local_control_plane() -> Option<PathBuf> {
    paths::local_dir().map(|dir| dir.join("control-plane"))
}

fn given_token(globals: &Globals) -> Outcome<Option<String>> {
    if let Ok(token) = std::env::var("EDGEFLOW_TOKEN")
        && !token.trim().is_empty()
    {
        return Ok(Some(token.trim().to_owned()));
    }
    globals.token_file.as_deref().map(read_token).transpose()
}

fn given_ca(globals: &Globals) -> Outcome<Option<String>> {
    globals.ca.as_deref().map(read_small).transpose()
}

/// Reads a token file.
pub(crate) fn read_token(path: &Path) -> Outcome<String> {
    Ok(read_small(path)?.trim().to_owned())
}

/// Reads a small text file.
pub(crate) fn read_small(path: &Path) -> Outcome<String> {
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        fs::File::open(path)?
            .take(MAX_FILE_BYTES)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|error| {
        let failure = Failure::failed(format!("can't read {}", path.display())).why(&error);
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            failure.next("run this as the user the control plane runs as, or with sudo")
        } else {
            failure
        }
    })
}

/// Takes `https://host:port`, `http://loopback:port` or `host:port` (TLS) apart.
pub(crate) fn parse_server(text: &str, origin: Origin) -> Outcome<Target> {
    let wrong = |why: &str| {
        Failure::usage(format!("`{text}` is not the address of a control plane"))
            .why(why)
            .next("write it like https://edge.example:7443, or http://127.0.0.1:7080 on its own machine")
    };
    let (tls, rest) = match text.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        Some(_) => return Err(wrong("only http:// and https:// are known")),
        None => (true, text),
    };
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() || rest.contains(['/', '#', '?', '@', ' ']) {
        return Err(wrong("it has to be a host and a port, nothing else"));
    }
    let default = if tls {
        DEFAULT_TLS_PORT
    } else {
        DEFAULT_HTTP_PORT
    };
    let (host, port) =
        split_port(rest, default).ok_or_else(|| wrong("the port is not a number"))?;
    if !tls && !is_loopback(&host) {
        return Err(Failure::usage(format!("{text} is not on this machine"))
            .why("a token never travels unencrypted over a network")
            .next(format!(
                "use TLS: --server https://{host}:{DEFAULT_TLS_PORT} --ca ca.crt"
            )));
    }
    let scheme = if tls { "https" } else { "http" };
    let shown = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    Ok(Target {
        server: format!("{scheme}://{shown}:{port}"),
        host,
        tls,
        token: None,
        ca: None,
        origin,
    })
}

fn split_port(text: &str, default: u16) -> Option<(String, u16)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, tail) = rest.split_once(']')?;
        let port = match tail.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if tail.is_empty() => default,
            None => return None,
        };
        return Some((host.to_owned(), port));
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some((text.to_owned(), default));
    }
    match text.split_once(':') {
        Some((host, port)) if !host.is_empty() => Some((host.to_owned(), port.parse().ok()?)),
        Some(_) => None,
        None => Some((text.to_owned(), default)),
    }
}

/// Whether a host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> String {
        match parse_server(text, Origin::Given) {
            Ok(target) => target.server,
            Err(failure) => format!("error: {failure}"),
        }
    }

    #[test]
    fn addresses_get_their_scheme_and_port() {
        assert_eq!(server("edge.example"), "https://edge.example:7443");
        assert_eq!(server("https://edge.example:1/"), "https://edge.example:1");
        assert_eq!(server("http://localhost"), "http://localhost:7080");
        assert_eq!(server("[::1]:5"), "https://[::1]:5");
        assert_eq!(server("http://[::1]"), "http://[::1]:7080");
    }

    #[test]
    fn plaintext_leaves_this_machine_never() {
        assert!(server("http://10.0.0.1:7080").contains("not on this machine"));
        assert!(server("http://127.0.0.1.evil.example").contains("not on this machine"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "https://",
            "ftp://x",
            "x:y",
            "http://localhost/path",
            "a@b",
            ":7",
        ] {
            assert!(server(text).starts_with("error"), "{text:?} was taken");
        }
    }
}
