//! The server certificate of the TLS port: made for the advertised names, made anew when these
//! change or its end is near, swapped without a restart.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rcgen::KeyPair;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use x509_parser::extensions::GeneralName;

use super::{
    Authority, PkiError,
    files::{damaged, read_optional},
    write_private,
};

/// Life of the server certificate.
const SERVER_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// It is made anew when less than this is left.
const RENEW_BEFORE: Duration = Duration::from_secs(60 * 24 * 3600);
const CERT_FILE: &str = "server.crt";
const KEY_FILE: &str = "server.key";

/// The current server certificate, for every handshake to come.
#[derive(Debug)]
pub struct ServerCertificate {
    data_dir: PathBuf,
    names: Vec<String>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl ServerCertificate {
    /// Loads the certificate, or makes one if there is none that fits.
    pub fn load_or_create(
        data_dir: &Path,
        authority: &Authority,
        names: Vec<String>,
        now_ms: i64,
    ) -> Result<Self, PkiError> {
        let key = current_key(data_dir, authority, &names, now_ms)?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            names,
            current: RwLock::new(Arc::new(key)),
        })
    }

    /// Makes the certificate anew if its end is near. For a timer.
    pub fn refresh(&self, authority: &Authority, now_ms: i64) -> Result<(), PkiError> {
        let key = current_key(&self.data_dir, authority, &self.names, now_ms)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        Ok(())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

/// TLS for the public port: devices show a certificate of our CA, people need none.
pub fn server_config(
    authority: &Authority,
    certificate: Arc<ServerCertificate>,
) -> Result<ServerConfig, PkiError> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.certificate().clone())
        .map_err(PkiError::Tls)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(PkiError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(PkiError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn current_key(
    data_dir: &Path,
    authority: &Authority,
    names: &[String],
    now_ms: i64,
) -> Result<CertifiedKey, PkiError> {
    let cert_path = data_dir.join(CERT_FILE);
    let key_path = data_dir.join(KEY_FILE);
    let stored = read_optional(&cert_path)?.zip(read_optional(&key_path)?);
    let (cert, key) = match stored {
        Some((cert, key)) if fits(&cert, authority, names, now_ms) => (cert, key),
        _ => {
            let key = KeyPair::generate().map_err(PkiError::Sign)?;
            let cert = authority.sign_server(names, &key, now_ms, SERVER_LIFE)?;
            // The certificate last: a key without its certificate is made anew at the next start.
            let _ = std::fs::remove_file(&cert_path);
            write_private(&key_path, key.serialize_pem().as_bytes())?;
            write_private(&cert_path, cert.as_bytes())?;
            (cert, key.serialize_pem())
        }
    };
    let cert = CertificateDer::from_pem_slice(cert.as_bytes())
        .map_err(|error| damaged(&cert_path, &error))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| damaged(&key_path, &error))?;
    let signer = ring::sign::any_supported_type(&key).map_err(PkiError::Tls)?;
    // The CA goes along, so that an agent can check it against the hash in its join token.
    let chain = vec![cert, authority.certificate().clone()];
    Ok(CertifiedKey::new(chain, signer))
}

fn fits(pem: &str, authority: &Authority, names: &[String], now_ms: i64) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else {
        return false;
    };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&der) else {
        return false;
    };
    let Ok((_, ca)) = x509_parser::parse_x509_certificate(authority.certificate()) else {
        return false;
    };
    let left_ms = certificate.validity().not_after.timestamp() * 1000 - now_ms;
    let Ok(Some(stored)) = certificate.subject_alternative_name() else {
        return false;
    };
    let stored: BTreeSet<String> = stored.value.general_names.iter().filter_map(text).collect();
    let wanted: BTreeSet<String> = names.iter().cloned().collect();
    certificate.issuer() == ca.subject()
        && stored == wanted
        && left_ms > i64::try_from(RENEW_BEFORE.as_millis()).unwrap_or(0)
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            if let Ok(v4) = <[u8; 4]>::try_from(*bytes) {
                Some(IpAddr::from(v4).to_string())
            } else {
                let v6 = <[u8; 16]>::try_from(*bytes).ok()?;
                Some(IpAddr::from(v6).to_string())
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000;
    const DAY: i64 = 24 * 3_600_000;

    #[test]
    fn the_certificate_is_kept_until_its_names_change_or_its_end_is_near() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Authority::load_or_create(dir.path(), NOW).unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let read = || std::fs::read_to_string(dir.path().join(CERT_FILE)).unwrap();
        let make = |names: Vec<String>, now| {
            ServerCertificate::load_or_create(dir.path(), &ca, names, now).unwrap();
            read()
        };
        let first = make(names.clone(), NOW);
        assert_eq!(make(names.clone(), NOW + 200 * DAY), first);
        let near_end = make(names.clone(), NOW + 310 * DAY);
        assert_ne!(near_end, first);
        let more = [names, vec!["fleet.example".to_owned()]].concat();
        assert_ne!(make(more, NOW + 310 * DAY), near_end);
    }

    #[test]
    fn tls_accepts_the_set_up() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Authority::load_or_create(dir.path(), NOW).unwrap();
        let cert =
            ServerCertificate::load_or_create(dir.path(), &ca, vec!["localhost".into()], NOW)
                .unwrap();
        server_config(&ca, Arc::new(cert)).unwrap();
    }
}
