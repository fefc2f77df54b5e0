//! Statements on assignments. The database itself refuses a generation that does not rise.

use super::{Store, StoreError, Write, signed, unsigned};

/// The desired state of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignmentRow {
    /// Whose.
    pub device_id: String,
    /// Rises with every change.
    pub generation: u64,
    /// SHA-256 of the body.
    pub hash: String,
    /// JSON of `edgeflow_spec::Assignment`.
    pub body: Vec<u8>,
}

impl Store {
    /// Every assignment.
    pub async fn assignments(&self) -> Result<Vec<AssignmentRow>, StoreError> {
        let rows = sqlx::query!("SELECT device_id, generation, hash, body FROM assignments")
            .fetch_all(&self.reader)
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| AssignmentRow {
                device_id: row.device_id,
                generation: unsigned(row.generation),
                hash: row.hash,
                body: row.body,
            })
            .collect())
    }
}

impl Write {
    /// Replaces a device's assignment.
    pub async fn put_assignment(
        &mut self,
        row: &AssignmentRow,
        at_ms: i64,
    ) -> Result<(), StoreError> {
        let generation = signed(row.generation);
        sqlx::query!(
            "INSERT INTO assignments (device_id, generation, hash, body, updated_ms)
             VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (device_id) DO UPDATE SET generation = excluded.generation,
               hash = excluded.hash, body = excluded.body, updated_ms = excluded.updated_ms",
            row.device_id,
            generation,
            row.hash,
            row.body,
            at_ms
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }
}
