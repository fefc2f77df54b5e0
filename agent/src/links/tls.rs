//! TLS between agents: both sides show the certificate that the fleet's CA gave them, and each
//! knows from it which device the other one is. No host names, no other identities, TLS 1.3 only.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use thiserror::Error;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::session::Identity;

/// The application protocol; another one is refused in the handshake.
const ALPN: &[u8] = b"edgeflow-link/1";
/// What a device's certificate calls it.
const URI_PREFIX: &str = "edgeflow://device/";

/// Why TLS can't be set up with this identity.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A certificate or the key can't be read.
    #[error("the identity can't be used: {0}")]
    Identity(String),
    /// TLS refuses it.
    #[error("TLS can't be set up")]
    Config(#[from] Error),
    /// The CA's certificates can't be used to check others.
    #[error("the CA can't be used")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The device that a certificate names.
pub fn device_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            x509_parser::extensions::GeneralName::URI(uri) => {
                uri.strip_prefix(URI_PREFIX).map(str::to_owned)
            }
            _ => None,
        })
}

/// For links that come in.
pub fn acceptor(identity: &Identity) -> Result<TlsAcceptor, TlsError> {
    let (chain, key) = certificate(identity)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(devices(identity)?)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A connection lives as long as its link: nothing to resume.
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// For links to one device: any other one is refused.
pub fn connector(identity: &Identity, device: &str) -> Result<TlsConnector, TlsError> {
    let (chain, key) = certificate(identity)?;
    let verifier = Arc::new(OneDevice {
        device: device.to_owned(),
        devices: devices(identity)?,
    });
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

type Certificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn certificate(identity: &Identity) -> Result<Certificate, TlsError> {
    let chain = identity.chain().map_err(TlsError::Identity)?;
    let key = PrivateKeyDer::from_pem_slice(identity.pem().as_bytes())
        .map_err(|error| TlsError::Identity(format!("unreadable key: {error}")))?;
    Ok((chain, key))
}

/// Accepts every device of the fleet.
fn devices(identity: &Identity) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in identity.ca_certificates().map_err(TlsError::Identity)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(ring::default_provider());
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
}

/// Accepts one device of the fleet. Devices have certificates for clients only, so the check for
/// clients serves both sides.
#[derive(Debug)]
struct OneDevice {
    device: String,
    devices: Arc<dyn ClientCertVerifier>,
}

impl ServerCertVerifier for OneDevice {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.devices
            .verify_client_cert(end_entity, intermediates, now)?;
        if device_of(end_entity).as_deref() == Some(&self.device) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidForName))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.devices
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.devices
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.devices.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}
