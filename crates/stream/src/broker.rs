//! Links over Redis Streams, where frames must outlive their producer or be shared between devices.
//!
//! Both ends of a link stay as they are, and speak the link protocol to a thread of their own
//! process that translates: [`sink`] is one more consumer of the output, and adds what it gets to a
//! stream; [`source`] answers a subscriber's credits with what the stream has. So windows, full
//! windows, redelivery and counting are the same code as on every other link.
//!
//! One stream a link and producing instance. A durable entry is deleted with its acknowledgement,
//! never trimmed before it; a realtime stream keeps its last entries only. [`admin`] is for whoever
//! owns a broker or what is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgeflow_spec::broker::Broker;
use redis::{Client, Connection, ConnectionInfo, IntoConnectionInfo, RedisError, TlsCertificates};

pub mod admin;
mod batch;
mod dead;
mod entry;
pub mod sink;
pub mod source;
mod stream;

pub use sink::{Sink, SinkConfig};
pub use source::RedisDial;

/// Name in statistics.
pub const TRANSPORT: &str = "redis";

/// Time to connect and log in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for an answer, and for every single one where the client sends several commands, which are
/// four at most: a node that stops must not wait much longer than its grace.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Time for the answer of a reader, beyond what its read may wait.
const READER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a read waits for a new entry. A connection that ends goes on reading for so long.
const BLOCK: Duration = Duration::from_millis(250);
/// Longest password.
const MAX_PASSWORD_LEN: usize = 4096;
/// Largest file of certificates.
const MAX_CA_LEN: usize = 256 * 1024;

/// Why the broker can't be used now.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The address can't be read.
    #[error("the address of the broker can't be used")]
    Address(#[source] RedisError),
    /// The password can't be read.
    #[error("the broker's password can't be read from {path}")]
    Password {
        /// The file that system.yaml names.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The certificates can't be read.
    #[error("the certificates that the broker's is checked with can't be read from {path}")]
    Certificates {
        /// The file that system.yaml names.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// No connection.
    #[error("no connection to the broker at {address}")]
    Connect {
        /// Without user and password.
        address: String,
        /// The cause.
        #[source]
        source: RedisError,
    },
    /// A command failed.
    #[error("the broker refused or lost a command")]
    Command(#[from] RedisError),
}

/// The stream of one link from one producing instance. The device is part of it because every
/// device runs a copy of its own.
pub fn stream_key(device: &str, from: &str, link: &str) -> String {
    format!("edgeflow:{device}:{from}:{link}")
}

/// Bytes and counts beside a stream.
fn state_key(key: &str) -> String {
    format!("{key}:state")
}

fn connect(broker: &Broker, answer: Duration) -> Result<Connection, BrokerError> {
    let info = connection_info(broker)?;
    if broker.is_tls() {
        choose_crypto();
    }
    let address = info.addr().to_string();
    let failed = |source| BrokerError::Connect {
        address: address.clone(),
        source,
    };
    let client = match &broker.ca_file {
        Some(path) => Client::build_with_tls(info, certificates(path)?),
        None => Client::open(info),
    };
    let client = client.map_err(failed)?;
    let connection = client
        .get_connection_with_timeout(CONNECT_TIMEOUT)
        .map_err(failed)?;
    connection.set_read_timeout(Some(answer))?;
    connection.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(connection)
}

/// Those that the server's own is checked with, in place of the system's.
fn certificates(path: &Path) -> Result<TlsCertificates, BrokerError> {
    let pem = read_file(path, MAX_CA_LEN).map_err(|source| BrokerError::Certificates {
        path: path.to_owned(),
        source,
    })?;
    Ok(TlsCertificates {
        client_tls: None,
        root_cert: Some(pem.into_bytes()),
    })
}

/// TLS is that of the other connections of this project, whatever else is linked in.
fn choose_crypto() {
    // An error says that the process has chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn connection_info(broker: &Broker) -> Result<ConnectionInfo, BrokerError> {
    let info = broker
        .redis
        .as_str()
        .into_connection_info()
        .map_err(BrokerError::Address)?;
    // One command less that a user of the broker has to be allowed.
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    let info = info.set_redis_settings(settings);
    let Some(path) = &broker.password_file else {
        return Ok(info);
    };
    let password = read_password(path).map_err(|source| BrokerError::Password {
        path: path.clone(),
        source,
    })?;
    let settings = info.redis_settings().clone().set_password(password);
    Ok(info.set_redis_settings(settings))
}

fn read_password(path: &Path) -> std::io::Result<String> {
    let text = read_file(path, MAX_PASSWORD_LEN)?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        let empty = "its first line is empty";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, empty));
    }
    Ok(password.to_owned())
}

/// The first `limit` bytes of a file of text.
fn read_file(path: &Path, limit: usize) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    fs::File::open(path)?
        .take(limit as u64)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// An error with its causes on one line.
fn describe(error: &BrokerError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_comes_from_the_file_and_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "secret\nmore\n").unwrap();
        let broker = Broker {
            redis: "redis://cam@127.0.0.1:1/3".to_owned(),
            password_file: Some(path.clone()),
            ca_file: None,
        };
        let info = connection_info(&broker).unwrap();
        assert_eq!(info.redis_settings().password(), Some("secret"));
        assert_eq!(info.redis_settings().username(), Some("cam"));
        assert_eq!(info.redis_settings().db(), 3);
        let Err(error) = connect(&broker, ANSWER_TIMEOUT) else {
            panic!("nobody listens on port 1");
        };
        let text = describe(&error);
        assert!(text.contains("127.0.0.1:1"), "{text}");
        assert!(!text.contains("secret") && !text.contains("cam"), "{text}");
        fs::write(&path, "\n").unwrap();
        assert!(matches!(
            connection_info(&broker),
            Err(BrokerError::Password { .. })
        ));
    }
}
