//! Who this device is: key, certificate and CA on disk, private to the agent's user. Key and
//! certificate share one file, so that a renewal replaces both or neither.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::trust;
use crate::files;

const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why the identity can't be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file can't be read or written.
    #[error("can't access the identity file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error(
        "the identity in {path} is damaged ({what}); remove the folder and start the agent with a new token from `edgeflow token create`"
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Making a key or a request failed.
    #[error("can't make a key and a certificate request")]
    Key(#[source] rcgen::Error),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Names {
    device_id: String,
    name: String,
    server: String,
}

/// An enrolled device.
#[derive(Clone)]
pub struct Identity {
    pub(super) device_id: String,
    pub(super) name: String,
    pub(super) server: String,
    /// Private key and certificate chain.
    pub(super) pem: String,
    pub(super) ca_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("device_id", &self.device_id)
            .field("name", &self.name)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// The time a certificate is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

impl Validity {
    /// When to renew: at 50 to 67 % of the life, spread over the fleet.
    pub(super) fn renewal(&self, random: f64) -> SystemTime {
        let life = self.until.duration_since(self.from).unwrap_or_default();
        self.from + life.mul_f64(0.5 + 0.17 * random.clamp(0.0, 1.0))
    }
}

impl Identity {
    /// Reads the identity; `None` when the device is not enrolled.
    pub fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join("identity.json");
        let names = match files::read_bounded(&path, MAX_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError::File { path, source }),
        };
        let damaged = |what: String| IdentityError::Damaged {
            path: dir.to_owned(),
            what,
        };
        let names: Names =
            serde_json::from_slice(&names).map_err(|error| damaged(error.to_string()))?;
        let read = |name: &str| {
            let path = dir.join(name);
            let bytes = files::read_bounded(&path, MAX_FILE_BYTES)
                .map_err(|source| IdentityError::File { path, source })?;
            String::from_utf8(bytes).map_err(|_| damaged(format!("{name} is no text")))
        };
        let identity = Self {
            device_id: names.device_id,
            name: names.name,
            server: names.server,
            pem: read("device.pem")?,
            ca_pem: read("ca.crt")?,
        };
        identity.validity().map_err(damaged)?;
        identity.ca_certificates().map_err(damaged)?;
        Ok(Some(identity))
    }

    /// Writes the identity; the device is enrolled once the last file is there.
    pub(super) fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        let names = Names {
            device_id: self.device_id.clone(),
            name: self.name.clone(),
            server: self.server.clone(),
        };
        let json = serde_json::to_vec_pretty(&names).unwrap_or_default();
        for (name, bytes) in [
            ("ca.crt", self.ca_pem.as_bytes()),
            ("device.pem", self.pem.as_bytes()),
            ("identity.json", &json),
        ] {
            let path = dir.join(name);
            files::write_durable(&path, 0o600, &[bytes])
                .map_err(|source| IdentityError::File { path, source })?;
        }
        Ok(())
    }

    /// An identity from its parts: key and certificate chain in one PEM text, the CA in another.
    pub fn from_parts(device_id: String, name: String, pem: String, ca_pem: String) -> Self {
        Self {
            device_id,
            name,
            server: String::new(),
            pem,
            ca_pem,
        }
    }

    /// Where the device enrolled.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The device's id.
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// Key and certificate chain in PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// The device's certificate and those between it and the CA.
    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        certificates(&self.pem)
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The trusted CA certificates.
    pub(crate) fn ca_certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        certificates(&self.ca_pem)
    }

    /// Whether one of the trusted CAs has this hash.
    pub(super) fn trusts(&self, sha256: &str) -> bool {
        self.ca_certificates()
            .is_ok_and(|all| all.iter().any(|der| trust::sha256_hex(der) == sha256))
    }

    /// The certificate's validity.
    pub(super) fn validity(&self) -> Result<Validity, String> {
        let der = certificates(&self.pem)?
            .into_iter()
            .next()
            .ok_or("device.pem holds no certificate")?;
        let (_, certificate) =
            x509_parser::parse_x509_certificate(&der).map_err(|error| error.to_string())?;
        let time = |seconds: i64| {
            UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        };
        let validity = certificate.validity();
        Ok(Validity {
            from: time(validity.not_before.timestamp()),
            until: time(validity.not_after.timestamp()),
        })
    }
}

/// The certificates of a PEM text; at least one.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("unreadable certificate: {error}"))?;
    if all.is_empty() {
        return Err("a certificate is missing".to_owned());
    }
    Ok(all)
}

/// A new key in PEM and the request for its certificate in DER. The key never leaves the device.
pub(super) fn new_request() -> Result<(String, Vec<u8>), IdentityError> {
    let key = rcgen::KeyPair::generate().map_err(IdentityError::Key)?;
    let request = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .map_err(IdentityError::Key)?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::session) fn identity() -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap()
            .pem();
        Identity {
            device_id: "0123456789abcdef".to_owned(),
            name: "camera-1".to_owned(),
            server: "127.0.0.1:7443".to_owned(),
            pem: format!("{}{certificate}", key.serialize_pem()),
            ca_pem: certificate,
        }
    }

    #[test]
    fn an_identity_is_read_back_and_is_private() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        assert!(Identity::load(dir.path()).unwrap().is_none());
        let saved = identity();
        saved.save(dir.path()).unwrap();
        let loaded = Identity::load(dir.path()).unwrap().unwrap();
        assert_eq!(loaded.pem, saved.pem);
        assert_eq!(loaded.name, "camera-1");
        let mode = std::fs::metadata(dir.path().join("device.pem"))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{loaded:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_damaged_identity_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        identity().save(dir.path()).unwrap();
        std::fs::write(dir.path().join("device.pem"), "nothing").unwrap();
        let error = Identity::load(dir.path()).unwrap_err();
        assert!(
            error.to_string().contains("edgeflow token create"),
            "{error}"
        );
    }

    #[test]
    fn renewal_is_between_half_and_two_thirds_of_the_life() {
        let validity = Validity {
            from: UNIX_EPOCH,
            until: UNIX_EPOCH + Duration::from_secs(1000),
        };
        let at = |random| {
            let since = validity.renewal(random).duration_since(UNIX_EPOCH);
            since.unwrap().as_secs()
        };
        assert_eq!((at(0.0), at(1.0)), (500, 670));
    }
}
