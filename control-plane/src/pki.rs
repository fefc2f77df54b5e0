//! Who is who: the control plane's own certificate authority, its server certificate, the
//! certificates of devices, and random secrets. Keys never leave the data folder, secrets are kept
//! as hashes only. Knows nothing of the database.

mod authority;
mod files;
mod secret;
mod server_cert;

pub use authority::{Authority, Issued, PeerIdentity};
pub use files::{ensure_dir, load_or_create_admin_token, write_private};
pub use secret::{Secret, hash_secret, hex, secrets_equal};
pub use server_cert::{ServerCertificate, server_config};

/// Why a key, certificate or secret could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file in the data folder can't be read or written.
    #[error("can't {action} {path}")]
    File {
        /// `read`, `write` …
        action: &'static str,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file in the data folder does not hold what it should.
    #[error("{path} is damaged: {reason}; restore it from a backup")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// One half of the CA is missing.
    #[error(
        "{missing} is missing while {present} exists; restore it from a backup, or remove both to start a new CA (every device then has to join again)"
    )]
    HalfCa {
        /// The file that is not there.
        missing: String,
        /// The file that is.
        present: String,
    },
    /// A certificate can't be made.
    #[error("can't make a certificate")]
    Sign(#[source] rcgen::Error),
    /// A certificate request can't be used.
    #[error("the certificate request is not valid")]
    Request(#[source] rcgen::Error),
    /// A certificate request is too big to look at.
    #[error("the certificate request is too big")]
    RequestTooBig,
    /// TLS refuses its set-up.
    #[error("can't set up TLS")]
    Tls(#[source] rustls::Error),
    /// The verifier of client certificates refuses its set-up.
    #[error("can't set up the verification of client certificates")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}
