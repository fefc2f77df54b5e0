//! Statements on systems and their revisions.

use super::{Store, StoreError, Write, signed, unsigned};

/// A system with its current revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemRow {
    /// Name.
    pub name: String,
    /// Current revision.
    pub revision: u64,
    /// Changes with every accepted change.
    pub etag: String,
    /// The manifest of the current revision.
    pub manifest: String,
    /// When the system was created.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
}

/// One immutable revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionRow {
    /// Counted from 1.
    pub number: u64,
    /// The YAML, verbatim.
    pub manifest: String,
    /// `apply` or `rollback to N`.
    pub cause: String,
    /// When it was made.
    pub created_ms: i64,
}

impl Store {
    /// Every system, by name.
    pub async fn systems(&self) -> Result<Vec<SystemRow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT s.name, s.revision, s.etag, s.created_ms, s.updated_ms, r.manifest
             FROM systems s JOIN revisions r ON r.system = s.name AND r.number = s.revision
             ORDER BY s.name"
        )
        .fetch_all(&self.reader)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| SystemRow {
                name: row.name,
                revision: unsigned(row.revision),
                etag: row.etag,
                manifest: row.manifest,
                created_ms: row.created_ms,
                updated_ms: row.updated_ms,
            })
            .collect())
    }

    /// The newest `limit` revisions of a system, newest first.
    pub async fn revisions(
        &self,
        system: &str,
        limit: u32,
    ) -> Result<Vec<RevisionRow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT number, manifest, cause, created_ms FROM revisions
             WHERE system = ? ORDER BY number DESC LIMIT ?",
            system,
            limit
        )
        .fetch_all(&self.reader)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| RevisionRow {
                number: unsigned(row.number),
                manifest: row.manifest,
                cause: row.cause,
                created_ms: row.created_ms,
            })
            .collect())
    }

    /// One revision.
    pub async fn revision(
        &self,
        system: &str,
        number: u64,
    ) -> Result<Option<RevisionRow>, StoreError> {
        let number = signed(number);
        let row = sqlx::query!(
            "SELECT number, manifest, cause, created_ms FROM revisions
             WHERE system = ? AND number = ?",
            system,
            number
        )
        .fetch_optional(&self.reader)
        .await?;
        Ok(row.map(|row| RevisionRow {
            number: unsigned(row.number),
            manifest: row.manifest,
            cause: row.cause,
            created_ms: row.created_ms,
        }))
    }
}

impl Write {
    /// Creates the system or moves it to a new revision, and adds that revision.
    pub async fn put_system(&mut self, system: &SystemRow, cause: &str) -> Result<(), StoreError> {
        let revision = signed(system.revision);
        sqlx::query!(
            "INSERT INTO systems (name, revision, etag, created_ms, updated_ms)
             VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET
               revision = excluded.revision, etag = excluded.etag, updated_ms = excluded.updated_ms",
            system.name,
            revision,
            system.etag,
            system.created_ms,
            system.updated_ms
        )
        .execute(&mut *self.0)
        .await?;
        sqlx::query!(
            "INSERT INTO revisions (system, number, manifest, cause, created_ms)
             VALUES (?, ?, ?, ?, ?)",
            system.name,
            revision,
            system.manifest,
            cause,
            system.updated_ms
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Notes that a system has changed without a new revision.
    pub async fn touch_system(&mut self, system: &SystemRow) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE systems SET etag = ?, updated_ms = ? WHERE name = ?",
            system.etag,
            system.updated_ms,
            system.name
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Removes a system with its revisions.
    pub async fn delete_system(&mut self, name: &str) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM systems WHERE name = ?", name)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }
}
