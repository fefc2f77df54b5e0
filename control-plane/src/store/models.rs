//! Statements on models. Their files are not the database's.

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, Write, from_json, signed, to_json, unsigned};

/// A model that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelRow {
    /// Names it.
    pub name: String,
    /// Digest of its file.
    pub sha256: String,
    /// Size of its file.
    pub bytes: u64,
    /// What its file's name ends in.
    pub extension: String,
    /// What people say of it: JSON, or empty.
    pub description: String,
    /// What goes in.
    pub inputs: Vec<TensorRow>,
    /// What comes out.
    pub outputs: Vec<TensorRow>,
    /// When it was added.
    pub added_ms: i64,
}

/// An input or output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorRow {
    /// Its name.
    pub name: String,
    /// Its dimensions; -1: any size.
    pub dims: Vec<i64>,
}

impl Store {
    /// Every model by name.
    pub async fn models(&self) -> Result<Vec<ModelRow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT name, sha256, bytes, extension, description, inputs, outputs, added_ms
             FROM models ORDER BY name"
        )
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(ModelRow {
                    name: row.name,
                    sha256: row.sha256,
                    bytes: unsigned(row.bytes),
                    extension: row.extension,
                    description: row.description,
                    inputs: from_json(&row.inputs, "model")?,
                    outputs: from_json(&row.outputs, "model")?,
                    added_ms: row.added_ms,
                })
            })
            .collect()
    }
}

impl Write {
    /// Adds a model.
    pub async fn add_model(&mut self, model: &ModelRow) -> Result<(), StoreError> {
        let bytes = signed(model.bytes);
        let (inputs, outputs) = (to_json(&model.inputs), to_json(&model.outputs));
        sqlx::query!(
            "INSERT INTO models (name, sha256, bytes, extension, description, inputs, outputs, added_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            model.name,
            model.sha256,
            bytes,
            model.extension,
            model.description,
            inputs,
            outputs,
            model.added_ms
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Removes a model.
    pub async fn delete_model(&mut self, name: &str) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM models WHERE name = ?", name)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }
}
