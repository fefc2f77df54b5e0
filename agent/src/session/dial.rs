//! Connections to the control plane. Makes channels; says nothing over them.

use std::{error::Error as _, sync::Arc, time::Duration};

use thiserror::Error;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Identity as TlsIdentity};

use super::{Identity, trust::FleetServer};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Flow-control window: small, messages are too.
const WINDOW_BYTES: u32 = 256 * 1024;

/// Why there is no connection.
#[derive(Debug, Error)]
pub(super) enum DialError {
    #[error("{0:?} is not HOST:PORT")]
    Address(String, #[source] tonic::transport::Error),
    #[error("the identity can't be used: {0}")]
    Identity(String),
    #[error("can't set up TLS")]
    Tls(#[source] tonic::transport::Error),
    #[error("can't connect to the control plane at {0}")]
    Connect(String, #[source] tonic::transport::Error),
}

/// How to reach a server as an enrolled device.
pub(super) fn endpoint(server: &str, identity: &Identity) -> Result<Endpoint, DialError> {
    let roots = identity.ca_certificates().map_err(DialError::Identity)?;
    let verifier =
        FleetServer::with_roots(roots).map_err(|error| DialError::Identity(error.to_string()))?;
    let tls = ClientTlsConfig::new().identity(TlsIdentity::from_pem(&identity.pem, &identity.pem));
    with_tls(server, tls, verifier)
}

/// How to reach a server that is trusted by the hash of its CA, without an identity.
pub(super) fn pinned(server: &str, verifier: Arc<FleetServer>) -> Result<Endpoint, DialError> {
    with_tls(server, ClientTlsConfig::new(), verifier)
}

fn with_tls(
    server: &str,
    tls: ClientTlsConfig,
    verifier: Arc<FleetServer>,
) -> Result<Endpoint, DialError> {
    Endpoint::from_shared(format!("https://{server}"))
        .map_err(|error| DialError::Address(server.to_owned(), error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .tls_config_with_verifier(tls, verifier)
        .map_err(DialError::Tls)
}

/// Connects now.
pub(super) async fn connect(server: &str, endpoint: &Endpoint) -> Result<Channel, DialError> {
    endpoint
        .connect()
        .await
        .map_err(|error| DialError::Connect(server.to_owned(), error))
}

/// A status as a person reads it: what the server said, or why it was not reached.
pub(super) fn words(status: &tonic::Status) -> String {
    let message = status.message();
    let text = if message.is_empty() {
        status.code().description().to_owned()
    } else {
        message.to_owned()
    };
    match status.source() {
        Some(source) => format!("{text}: {}", edgeflow_runtime::logging::chain(source)),
        None => text,
    }
}
