//! A message broker that carries a system's links: where it is and how to log in. Plain data; the
//! password itself is never in it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Oldest version of redis-server that serves.
pub const MIN_VERSION: (u32, u32) = (7, 0);
/// Program of a broker that the agent starts itself.
pub const PROGRAM: &str = "redis-server";
/// What to do where it is missing.
pub const INSTALL_HINT: &str = "install redis-server 7 or newer (`apt-get install redis-server`)";

/// A Redis server, 7 or newer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `redis://[USER@]HOST[:PORT][/DB]`, `rediss://…` with TLS, or `unix:///PATH[?db=DB&user=USER]`.
    /// No password.
    pub redis: String,
    /// A file on the device whose first line is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// A file on the device with the certificates (PEM) that the server's is checked with, in place
    /// of those of the system. For `rediss://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl Broker {
    /// A server without password.
    pub fn at(address: impl Into<String>) -> Self {
        Self {
            redis: address.into(),
            password_file: None,
            ca_file: None,
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.redis.starts_with(TLS_SCHEME)
    }
}

const TLS_SCHEME: &str = "rediss://";
const SCHEMES: [&str; 3] = ["redis://", TLS_SCHEME, "unix://"];

/// Why a broker's address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// None of the schemes.
    #[error("it has to start with redis://, rediss:// or unix://")]
    Scheme,
    /// A password would be in system.yaml, in the database and in the browser.
    #[error(
        "a password does not belong into the address; put it into a file on the device and name it in password_file"
    )]
    Password,
    /// What is behind `#` is not part of an address; the client would check no certificate with some of it.
    #[error("it must not have a `#`")]
    Fragment,
    /// No host or path.
    #[error("it names no server")]
    Empty,
}

/// Checks the address. The server may still not be there.
pub fn check_address(address: &str) -> Result<(), BrokerError> {
    let rest = SCHEMES
        .iter()
        .find_map(|scheme| address.strip_prefix(scheme))
        .ok_or(BrokerError::Scheme)?;
    if rest.contains('#') {
        return Err(BrokerError::Fragment);
    }
    let user = rest.rsplit_once('@').map_or("", |(user, _)| user);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if user.contains(':') || query.split('&').any(|pair| pair.starts_with("pass=")) {
        return Err(BrokerError::Password);
    }
    let server = path.rsplit_once('@').map_or(path, |(_, server)| server);
    if server.trim_matches('/').is_empty() {
        return Err(BrokerError::Empty);
    }
    Ok(())
}

/// What `redis-server --version` says: `Redis server v=7.0.15 sha=…`.
pub fn parse_version(text: &str) -> Option<(u32, u32)> {
    let words = &mut text.split_ascii_whitespace();
    let version = words.find_map(|word| word.strip_prefix("v="))?;
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_a_password_are_fine() {
        for good in [
            "redis://127.0.0.1",
            "redis://cam@broker.local:6380/2",
            "redis://[::1]:6379",
            "rediss://cam@broker.local:6380/2",
            "unix:///run/redis.sock",
            "unix:///run/redis.sock?db=1&user=cam",
        ] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_password_a_scheme_or_nothing_is_refused() {
        assert_eq!(
            check_address("redis://cam:secret@host"),
            Err(BrokerError::Password)
        );
        assert_eq!(
            check_address("redis://:secret@host"),
            Err(BrokerError::Password)
        );
        assert_eq!(
            check_address("unix:///s?pass=secret"),
            Err(BrokerError::Password)
        );
        assert_eq!(
            check_address("rediss://host/#insecure"),
            Err(BrokerError::Fragment)
        );
        assert_eq!(check_address("http://host"), Err(BrokerError::Scheme));
        assert_eq!(check_address("redis://"), Err(BrokerError::Empty));
        assert_eq!(check_address("unix:///"), Err(BrokerError::Empty));
    }

    #[test]
    fn versions_are_read_and_rubbish_is_none() {
        let text = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64";
        assert_eq!(parse_version(text), Some((7, 0)));
        assert!(parse_version(text) >= Some(MIN_VERSION));
        assert!(parse_version("Redis server v=6.2.1 x") < Some(MIN_VERSION));
        assert_eq!(parse_version("v=x.y"), None);
        assert_eq!(parse_version(""), None);
    }
}
