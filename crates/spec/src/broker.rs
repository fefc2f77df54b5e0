//! A message broker that carries a system's links: where it is and how to log in. Plain data; the
//! password itself is never in it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Redis server, 7 or newer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `redis://[USER@]HOST[:PORT][/DB]` or `unix:///PATH[?db=DB&user=USER]`. No password.
    pub redis: String,
    /// A file on the device whose first line is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// Why a broker's address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// Neither `redis://` nor `unix://`.
    #[error("it has to start with redis:// or unix://")]
    Scheme,
    /// TLS is not there yet.
    #[error(
        "rediss:// (TLS) is not supported by this version; use a tunnel, or redis:// in a trusted network"
    )]
    Tls,
    /// A password would be in system.yaml, in the database and in the browser.
    #[error(
        "a password does not belong into the address; put it into a file on the device and name it in password_file"
    )]
    Password,
    /// No host or path.
    #[error("it names no server")]
    Empty,
}

/// Checks the address. The server may still not be there.
pub fn check_address(address: &str) -> Result<(), BrokerError> {
    if address.starts_with("rediss://") {
        return Err(BrokerError::Tls);
    }
    let rest = address
        .strip_prefix("redis://")
        .or_else(|| address.strip_prefix("unix://"))
        .ok_or(BrokerError::Scheme)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_a_password_are_fine() {
        for good in [
            "redis://127.0.0.1",
            "redis://cam@broker.local:6380/2",
            "redis://[::1]:6379",
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
        assert_eq!(check_address("rediss://host"), Err(BrokerError::Tls));
        assert_eq!(check_address("http://host"), Err(BrokerError::Scheme));
        assert_eq!(check_address("redis://"), Err(BrokerError::Empty));
        assert_eq!(check_address("unix:///"), Err(BrokerError::Empty));
    }
}
