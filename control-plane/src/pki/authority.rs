//! The certificate authority: made at the first start, signs device certificates. A device's
//! identity is what this module wrote into its certificate and nothing the device says.

use std::{path::Path, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use sha2::{Digest, Sha256};

use super::{
    PkiError,
    files::{damaged, read_optional},
    hex, write_private,
};

/// Life of a device certificate; agents renew it at half of that.
const DEVICE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Life of the CA.
const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Certificates start this much in the past, for devices whose clock is behind.
const CLOCK_SLACK: Duration = Duration::from_secs(24 * 3600);
/// Biggest certificate request.
const MAX_CSR_BYTES: usize = 16 * 1024;
const CA_CERT_FILE: &str = "ca.crt";
const CA_KEY_FILE: &str = "ca.key";

/// The control plane's CA.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    fingerprint: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// A signed certificate.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub pem: String,
    /// Its serial number, lower-case hex.
    pub serial: String,
    /// When it ends.
    pub expires_ms: i64,
}

/// Who is at the other end of a TLS connection, as its verified certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Device id.
    pub device_id: String,
    /// Serial number of the certificate, lower-case hex.
    pub serial: String,
}

impl PeerIdentity {
    /// Reads a certificate that TLS has verified against the CA.
    pub fn from_certificate(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let name = certificate.subject().iter_common_name().next()?;
        Some(Self {
            device_id: name.as_str().ok()?.to_owned(),
            serial: hex(certificate.raw_serial()),
        })
    }
}

impl Authority {
    /// Loads the CA from the data folder, or makes one at the first start.
    pub fn load_or_create(data_dir: &Path, now_ms: i64) -> Result<Self, PkiError> {
        let cert_path = data_dir.join(CA_CERT_FILE);
        let key_path = data_dir.join(CA_KEY_FILE);
        match (read_optional(&cert_path)?, read_optional(&key_path)?) {
            (Some(cert), Some(key)) => {
                let key = KeyPair::from_pem(&key).map_err(|error| damaged(&key_path, &error))?;
                Self::from_parts(cert, key).map_err(|error| damaged(&cert_path, &error))
            }
            (None, None) => {
                let (pem, key) = create(now_ms).map_err(PkiError::Sign)?;
                write_private(&key_path, key.serialize_pem().as_bytes())?;
                write_private(&cert_path, pem.as_bytes())?;
                Self::from_parts(pem, key).map_err(PkiError::Sign)
            }
            (Some(_), None) => Err(half(&key_path, &cert_path)),
            (None, Some(_)) => Err(half(&cert_path, &key_path)),
        }
    }

    fn from_parts(pem: String, key: KeyPair) -> Result<Self, rcgen::Error> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self {
            issuer,
            fingerprint: hex(&Sha256::digest(&certificate)),
            certificate,
            pem,
        })
    }

    /// SHA-256 of the CA certificate's DER, lower-case hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The CA certificate as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA certificate as DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs a device's request. Only its public key is used; what the certificate says comes
    /// from here.
    pub fn sign_device(
        &self,
        csr_der: &[u8],
        device_id: &str,
        now_ms: i64,
    ) -> Result<Issued, PkiError> {
        if csr_der.len() > MAX_CSR_BYTES {
            return Err(PkiError::RequestTooBig);
        }
        let request = CertificateSigningRequestParams::from_der(&csr_der.into())
            .map_err(PkiError::Request)?;
        let mut params = leaf(device_id, now_ms, DEVICE_LIFE);
        let uri = format!("edgeflow://device/{device_id}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(PkiError::Sign)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let serial = random_serial();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let certificate = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(PkiError::Sign)?;
        Ok(Issued {
            pem: certificate.pem(),
            serial: hex(&serial),
            expires_ms: now_ms + milliseconds(DEVICE_LIFE),
        })
    }

    pub(super) fn sign_server(
        &self,
        names: &[String],
        key: &KeyPair,
        now_ms: i64,
        life: Duration,
    ) -> Result<String, PkiError> {
        let mut params = leaf("edgeflow-control-plane", now_ms, life);
        params.subject_alt_names = CertificateParams::new(names)
            .map_err(PkiError::Sign)?
            .subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(SerialNumber::from_slice(&random_serial()));
        let certificate = params
            .signed_by(key, &self.issuer)
            .map_err(PkiError::Sign)?;
        Ok(certificate.pem())
    }
}

fn create(now_ms: i64) -> Result<(String, KeyPair), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = leaf(
        &format!("EdgeFlow CA {}", hex(&rand::random::<[u8; 4]>())),
        now_ms,
        CA_LIFE,
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = false;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key))
}

fn leaf(common_name: &str, now_ms: i64, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    let now = Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CLOCK_SLACK);
    params.not_after = epoch + now + life;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

/// 16 bytes that DER writes verbatim: positive, without a leading zero.
fn random_serial() -> [u8; 16] {
    let mut serial: [u8; 16] = rand::random();
    serial[0] = (serial[0] & 0x7f) | 0x40;
    serial
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn half(missing: &Path, present: &Path) -> PkiError {
    PkiError::HalfCa {
        missing: missing.display().to_string(),
        present: present.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn request() -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "somebody-else");
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_ca_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::load_or_create(dir.path(), NOW).unwrap();
        let again = Authority::load_or_create(dir.path(), NOW).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        assert_eq!(first.fingerprint().len(), 64);
    }

    #[test]
    fn half_a_ca_is_refused_with_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        Authority::load_or_create(dir.path(), NOW).unwrap();
        std::fs::remove_file(dir.path().join(CA_KEY_FILE)).unwrap();
        let error = Authority::load_or_create(dir.path(), NOW).unwrap_err();
        assert!(error.to_string().contains("ca.key is missing"), "{error}");
    }

    #[test]
    fn a_device_gets_the_identity_it_is_given_and_not_the_one_it_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Authority::load_or_create(dir.path(), NOW).unwrap();
        let issued = ca.sign_device(&request(), "0123456789abcdef", NOW).unwrap();
        let der = CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap();
        let peer = PeerIdentity::from_certificate(&der).unwrap();
        assert_eq!(peer.device_id, "0123456789abcdef");
        assert_eq!(peer.serial, issued.serial);
        assert_eq!(issued.expires_ms - NOW, 30 * 24 * 3_600_000);
    }

    #[test]
    fn a_broken_request_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Authority::load_or_create(dir.path(), NOW).unwrap();
        assert!(matches!(
            ca.sign_device(b"junk", "id", NOW),
            Err(PkiError::Request(_))
        ));
        assert!(matches!(
            ca.sign_device(&vec![0; MAX_CSR_BYTES + 1], "id", NOW),
            Err(PkiError::RequestTooBig)
        ));
    }
}
