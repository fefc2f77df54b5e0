//! Statements on parameters that were set on running systems.

use std::collections::BTreeMap;

use super::{Store, StoreError, Write, from_json, to_json};

/// A parameter that takes the place of the manifest's.
#[derive(Clone, Debug, PartialEq)]
pub struct OverrideRow {
    /// Node.
    pub node: String,
    /// Parameter.
    pub name: String,
    /// Its value.
    pub value: serde_json::Value,
    /// It outlives the next apply.
    pub durable: bool,
    /// When it was set.
    pub set_ms: i64,
}

impl Store {
    /// Every override, by system; in each by node and name.
    pub async fn overrides(&self) -> Result<BTreeMap<String, Vec<OverrideRow>>, StoreError> {
        let rows = sqlx::query!(
            "SELECT system, node, name, value, durable, set_ms FROM overrides
             ORDER BY system, node, name"
        )
        .fetch_all(&self.reader)
        .await?;
        let mut all: BTreeMap<String, Vec<OverrideRow>> = BTreeMap::new();
        for row in rows {
            all.entry(row.system).or_default().push(OverrideRow {
                node: row.node,
                name: row.name,
                value: from_json(&row.value, "parameter")?,
                durable: row.durable != 0,
                set_ms: row.set_ms,
            });
        }
        Ok(all)
    }
}

impl Write {
    /// Makes `rows` the overrides of a system, all of them.
    pub async fn put_overrides(
        &mut self,
        system: &str,
        rows: &[OverrideRow],
    ) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM overrides WHERE system = ?", system)
            .execute(&mut *self.0)
            .await?;
        for row in rows {
            let (value, durable) = (to_json(&row.value), i64::from(row.durable));
            sqlx::query!(
                "INSERT INTO overrides (system, node, name, value, durable, set_ms)
                 VALUES (?, ?, ?, ?, ?, ?)",
                system,
                row.node,
                row.name,
                value,
                durable,
                row.set_ms
            )
            .execute(&mut *self.0)
            .await?;
        }
        Ok(())
    }
}
