//! Statements on devices, their certificates and their sessions.

use std::collections::BTreeMap;

use edgeflow_proto::v1::DeviceFacts;
use prost::Message;

use super::{Store, StoreError, Write, from_json, signed, to_json, unsigned};

/// An enrolled device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceRow {
    /// Identity, as in its certificate.
    pub id: String,
    /// Unique name for people.
    pub name: String,
    /// Labels set by people and by the join token.
    pub labels: BTreeMap<String, String>,
    /// What the agent last said about its machine.
    pub facts: DeviceFacts,
    /// When it joined.
    pub enrolled_ms: i64,
    /// Coarse; 0: never connected.
    pub last_seen_ms: i64,
}

/// A certificate that was issued to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRow {
    /// Serial number, lower-case hex.
    pub serial: String,
    /// Whose.
    pub device_id: String,
    /// When it was signed.
    pub issued_ms: i64,
    /// When it ends.
    pub expires_ms: i64,
}

/// What outlives a device's sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionRow {
    /// The newest epoch.
    pub connection_epoch: u64,
    /// The newest stored event of the device.
    pub event_sequence: u64,
}

impl Store {
    /// Every device, by name.
    pub async fn devices(&self) -> Result<Vec<DeviceRow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT id, name, labels, facts, enrolled_ms, last_seen_ms FROM devices ORDER BY name"
        )
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(DeviceRow {
                    id: row.id,
                    name: row.name,
                    labels: from_json(&row.labels, "device label")?,
                    facts: DeviceFacts::decode(row.facts.as_slice())
                        .map_err(|_| StoreError::Damaged("device fact"))?,
                    enrolled_ms: row.enrolled_ms,
                    last_seen_ms: row.last_seen_ms,
                })
            })
            .collect()
    }

    /// The certificates that are not revoked.
    pub async fn certificates(&self) -> Result<Vec<CertificateRow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT serial, device_id, issued_ms, expires_ms FROM certificates
             WHERE revoked_ms IS NULL ORDER BY issued_ms"
        )
        .fetch_all(&self.reader)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| CertificateRow {
                serial: row.serial,
                device_id: row.device_id,
                issued_ms: row.issued_ms,
                expires_ms: row.expires_ms,
            })
            .collect())
    }
}

impl Write {
    /// Creates or changes a device.
    pub async fn put_device(&mut self, device: &DeviceRow) -> Result<(), StoreError> {
        let labels = to_json(&device.labels);
        let facts = device.facts.encode_to_vec();
        sqlx::query!(
            "INSERT INTO devices (id, name, labels, facts, enrolled_ms, last_seen_ms)
             VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, labels = excluded.labels,
               facts = excluded.facts, enrolled_ms = excluded.enrolled_ms,
               last_seen_ms = excluded.last_seen_ms",
            device.id,
            device.name,
            labels,
            facts,
            device.enrolled_ms,
            device.last_seen_ms
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Notes when a device was last connected.
    pub async fn set_last_seen(&mut self, id: &str, at_ms: i64) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE devices SET last_seen_ms = ? WHERE id = ?",
            at_ms,
            id
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Forgets a device with its certificates, session and assignment.
    pub async fn delete_device(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM devices WHERE id = ?", id)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Adds an issued certificate, and forgets the ones that have expired by then.
    pub async fn add_certificate(&mut self, row: &CertificateRow) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM certificates WHERE expires_ms < ?",
            row.issued_ms
        )
        .execute(&mut *self.0)
        .await?;
        sqlx::query!(
            "INSERT INTO certificates (serial, device_id, issued_ms, expires_ms) VALUES (?, ?, ?, ?)",
            row.serial,
            row.device_id,
            row.issued_ms,
            row.expires_ms
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Revokes every certificate of a device.
    pub async fn revoke_certificates(
        &mut self,
        device_id: &str,
        at_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE certificates SET revoked_ms = ? WHERE device_id = ? AND revoked_ms IS NULL",
            at_ms,
            device_id
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Takes the next connection epoch of a device.
    pub async fn next_epoch(&mut self, device_id: &str) -> Result<SessionRow, StoreError> {
        let row = sqlx::query!(
            "INSERT INTO sessions (device_id, connection_epoch, event_sequence) VALUES (?, 1, 0)
             ON CONFLICT (device_id) DO UPDATE SET connection_epoch = connection_epoch + 1
             RETURNING connection_epoch, event_sequence",
            device_id
        )
        .fetch_one(&mut *self.0)
        .await?;
        Ok(SessionRow {
            connection_epoch: unsigned(row.connection_epoch),
            event_sequence: unsigned(row.event_sequence),
        })
    }

    /// Notes the newest stored event of a device.
    pub async fn set_event_sequence(
        &mut self,
        device_id: &str,
        sequence: u64,
    ) -> Result<(), StoreError> {
        let sequence = signed(sequence);
        sqlx::query!(
            "UPDATE sessions SET event_sequence = ? WHERE device_id = ?",
            sequence,
            device_id
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }
}
