//! The HTTP client of programs that call others: trusts the certificates of this machine and takes its
//! proxy (`HTTPS_PROXY`), as curl does. Blocks its thread.

use std::{sync::Arc, time::Duration};

use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for the first byte of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A client whose calls end after `whole` at the latest. Statuses over 399 are answers, not errors.
pub fn client(whole: Duration) -> ureq::Agent {
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots = roots.iter().map(|it| Certificate::from_der(it).to_owned());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots.collect())))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .timeout_global(Some(whole))
        .http_status_as_error(false)
        .build();
    ureq::Agent::new_with_config(config)
}
