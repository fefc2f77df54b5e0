//! How a device joins, comes back after it was flashed anew, and renews its certificate.

use std::{collections::BTreeMap, sync::Arc};

use edgeflow_proto::v1::DeviceFacts;

use super::{
    DeviceState, Service, ServiceError,
    devices::{check_facts, check_labels, check_name},
    tokens::no_longer_valid,
};
use crate::{
    pki::{Issued, PeerIdentity, hex},
    store::{CertificateRow, DeviceRow, EventRow},
};

/// Devices that may be enrolled.
const MAX_DEVICES: usize = 10_000;

/// What a device says when it joins.
#[derive(Clone, Debug)]
pub struct EnrollmentRequest {
    /// Names the join token.
    pub token_id: String,
    /// Proves it.
    pub token_secret: String,
    /// PKCS#10, DER.
    pub csr_der: Vec<u8>,
    /// Wanted name; empty: the host name.
    pub name: String,
    /// Labels of its own.
    pub labels: BTreeMap<String, String>,
    /// Its machine.
    pub facts: DeviceFacts,
}

/// What a device gets.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// Its identity.
    pub device_id: String,
    /// Its name.
    pub name: String,
    /// Its certificate.
    pub certificate_pem: String,
}

impl Service {
    /// Lets a device join: all of it in one transaction, or nothing.
    pub async fn enroll(&self, request: EnrollmentRequest) -> Result<Enrolled, ServiceError> {
        let token = self
            .check_token(&request.token_id, &request.token_secret)
            .await?;
        let name = if request.name.is_empty() {
            request.facts.hostname.clone()
        } else {
            request.name.clone()
        };
        check_name(&name)?;
        check_facts(&request.facts)?;
        let mut labels = request.labels;
        labels.extend(token.labels.clone());
        check_labels(&labels)?;

        let mut mutation = self.mutate().await?;
        let before = mutation
            .world
            .devices
            .values()
            .find(|device| device.row.name == name)
            .cloned();
        let id = self.identity(&name, before.as_deref(), mutation.world.devices.len())?;
        let issued = self
            .authority
            .sign_device(&request.csr_der, &id, mutation.now_ms)
            .map_err(request_error)?;
        if !mutation.write.use_token(&token.id, mutation.now_ms).await? {
            return Err(no_longer_valid(&token, mutation.now_ms));
        }
        let mut device = DeviceState::new(DeviceRow {
            id: id.clone(),
            name: name.clone(),
            labels,
            facts: request.facts,
            enrolled_ms: mutation.now_ms,
            last_seen_ms: 0,
        });
        if let Some(before) = &before {
            // The generation goes on from where it was: a copy of the old disk may come back.
            device.assignment = before.assignment.clone();
            device.desired = Arc::clone(&before.desired);
        }
        mutation.write.put_device(&device.row).await?;
        mutation
            .write
            .revoke_certificates(&id, mutation.now_ms)
            .await?;
        let certificate = certificate_row(&id, &issued, mutation.now_ms);
        mutation.write.add_certificate(&certificate).await?;
        device
            .certificates
            .insert(issued.serial.clone(), issued.expires_ms);
        mutation.world.devices.insert(id.clone(), Arc::new(device));
        mutation.render(std::slice::from_ref(&id)).await?;
        mutation.event(joined(&id, &name, before.is_some())).await?;
        mutation.commit().await?;
        self.fleet.reset(&id);
        tracing::info!(device = %name, id, "device enrolled");
        Ok(Enrolled {
            device_id: id,
            name,
            certificate_pem: issued.pem,
        })
    }

    /// A device that comes back keeps its id, so that its labels' history and events stay together.
    fn identity(
        &self,
        name: &str,
        before: Option<&DeviceState>,
        devices: usize,
    ) -> Result<String, ServiceError> {
        match before {
            Some(device) if self.fleet.live(&device.row.id).online => {
                Err(ServiceError::AlreadyExists(format!(
                    "a device named {name} is online; choose another name with --name, or remove it with `edgeflow delete device {name}`"
                )))
            }
            Some(device) => Ok(device.row.id.clone()),
            None if devices >= MAX_DEVICES => Err(ServiceError::Limit(format!(
                "there are {MAX_DEVICES} devices already"
            ))),
            None => Ok(hex(&rand::random::<[u8; 8]>())),
        }
    }

    /// Signs a new certificate for a device that still has a valid one.
    pub async fn renew(&self, peer: &PeerIdentity, csr_der: &[u8]) -> Result<String, ServiceError> {
        let mut mutation = self.mutate().await?;
        let device = mutation
            .world
            .authenticate(peer)
            .map(|device| device.row.id.clone())?;
        let issued = self
            .authority
            .sign_device(csr_der, &device, mutation.now_ms)
            .map_err(request_error)?;
        let row = certificate_row(&device, &issued, mutation.now_ms);
        mutation.write.add_certificate(&row).await?;
        if let Some(state) = mutation.world.devices.get_mut(&device) {
            let now_ms = mutation.now_ms;
            let certificates = &mut Arc::make_mut(state).certificates;
            certificates.retain(|_, expires_ms| *expires_ms >= now_ms);
            certificates.insert(issued.serial.clone(), issued.expires_ms);
        }
        mutation.commit().await?;
        Ok(issued.pem)
    }

    /// The device behind a certificate. Refuses deleted devices and revoked certificates.
    pub fn authenticate(&self, peer: &PeerIdentity) -> Result<Arc<DeviceState>, ServiceError> {
        self.world().authenticate(peer).cloned()
    }
}

impl super::World {
    fn authenticate(&self, peer: &PeerIdentity) -> Result<&Arc<DeviceState>, ServiceError> {
        self.devices
            .get(&peer.device_id)
            .filter(|device| device.certificates.contains_key(&peer.serial))
            .ok_or_else(|| {
                ServiceError::Unauthenticated(
                    "this device's certificate is revoked or the device was deleted; join again with a new token"
                        .to_owned(),
                )
            })
    }
}

fn certificate_row(device_id: &str, issued: &Issued, now_ms: i64) -> CertificateRow {
    CertificateRow {
        serial: issued.serial.clone(),
        device_id: device_id.to_owned(),
        issued_ms: now_ms,
        expires_ms: issued.expires_ms,
    }
}

fn request_error(error: crate::pki::PkiError) -> ServiceError {
    use crate::pki::PkiError::{Request, RequestTooBig};
    match error {
        Request(_) | RequestTooBig => ServiceError::Invalid(error.to_string()),
        other => ServiceError::Pki(other),
    }
}

fn joined(id: &str, name: &str, again: bool) -> EventRow {
    let (severity, reason, message) = if again {
        (
            "warning",
            "DeviceReplaced",
            format!("{name} joined again; its earlier certificates are revoked"),
        )
    } else {
        ("info", "DeviceJoined", format!("{name} joined"))
    };
    EventRow {
        severity: severity.to_owned(),
        reason: reason.to_owned(),
        message,
        device_id: id.to_owned(),
        device_name: name.to_owned(),
        ..EventRow::default()
    }
}
