//! Which server the agent talks to: one whose certificate was signed for server use by the fleet's
//! own CA. Before enrolment the CA is the one whose hash is in the join token, afterwards the one on
//! disk. Host names are not compared: devices reach the control plane under addresses that it does
//! not know, and this CA signs no other server.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use sha2::{Digest, Sha256};

#[derive(Debug)]
enum Anchor {
    Hash(String),
    Roots(RootCertStore),
}

/// Verifies the control plane's certificate.
#[derive(Debug)]
pub(super) struct FleetServer {
    anchor: Anchor,
    other_ca: AtomicBool,
    provider: CryptoProvider,
}

impl FleetServer {
    /// Pins the CA by the SHA-256 of its certificate's DER, in lower-case hex.
    pub(super) fn pinned(sha256: String) -> Arc<Self> {
        Self::new(Anchor::Hash(sha256))
    }

    /// Trusts these CA certificates.
    pub(super) fn with_roots(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Arc<Self>, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate)?;
        }
        Ok(Self::new(Anchor::Roots(roots)))
    }

    fn new(anchor: Anchor) -> Arc<Self> {
        Arc::new(Self {
            anchor,
            other_ca: AtomicBool::new(false),
            provider: ring::default_provider(),
        })
    }

    /// A server showed up that the CA has not signed.
    pub(super) fn saw_other_ca(&self) -> bool {
        self.other_ca.load(Ordering::Relaxed)
    }

    fn roots_for(&self, chain: &[CertificateDer<'_>]) -> Result<RootCertStore, Error> {
        match &self.anchor {
            Anchor::Roots(roots) => Ok(roots.clone()),
            Anchor::Hash(sha256) => {
                let pinned = chain
                    .iter()
                    .find(|certificate| sha256_hex(certificate) == *sha256)
                    .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
                let mut roots = RootCertStore::empty();
                roots.add(pinned.clone().into_owned())?;
                Ok(roots)
            }
        }
    }
}

/// SHA-256 of a certificate in lower-case hex.
pub(super) fn sha256_hex(der: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(der)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

impl ServerCertVerifier for FleetServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.roots_for(intermediates).and_then(|roots| {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                &roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )
        });
        if let Err(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) = &verified
        {
            self.other_ca.store(true, Ordering::Relaxed);
        }
        verified.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
        KeyPair,
    };

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(
        authority: &CertifiedIssuer<'static, KeyPair>,
        usage: ExtendedKeyUsagePurpose,
    ) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["somewhere".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, authority).unwrap().der().clone()
    }

    fn verify(
        verifier: &FleetServer,
        leaf: &CertificateDer<'static>,
        chain: &[CertificateDer<'static>],
    ) -> bool {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        verifier
            .verify_server_cert(leaf, chain, &name, &[], UnixTime::now())
            .is_ok()
    }

    #[test]
    fn the_pinned_authority_is_trusted_and_another_is_not() {
        let ours = authority();
        let server = leaf(&ours, ExtendedKeyUsagePurpose::ServerAuth);
        let chain = [ours.der().clone()];
        let verifier = FleetServer::pinned(sha256_hex(ours.der()));
        assert!(verify(&verifier, &server, &chain));
        assert!(!verifier.saw_other_ca());

        let other = authority();
        let server = leaf(&other, ExtendedKeyUsagePurpose::ServerAuth);
        assert!(!verify(&verifier, &server, &[other.der().clone()]));
        // Sending our CA along does not help a certificate that it has not signed.
        assert!(!verify(&verifier, &server, &chain));
        assert!(verifier.saw_other_ca());
    }

    #[test]
    fn a_device_can_not_pose_as_the_server() {
        let ours = authority();
        let device = leaf(&ours, ExtendedKeyUsagePurpose::ClientAuth);
        let verifier = FleetServer::with_roots([ours.der().clone()]).unwrap();
        assert!(!verify(&verifier, &device, &[]));
        let server = leaf(&ours, ExtendedKeyUsagePurpose::ServerAuth);
        assert!(verify(&verifier, &server, &[]));
    }
}
