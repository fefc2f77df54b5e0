//! Statements on join tokens and browser logins. Only hashes of secrets are stored.

use std::collections::BTreeMap;

use super::{Store, StoreError, Write, from_json, to_json};

/// A join token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Names it.
    pub id: String,
    /// SHA-256 of the secret.
    pub secret_hash: String,
    /// When it was made.
    pub created_ms: i64,
    /// When it ends.
    pub expires_ms: i64,
    /// Devices that joined with it.
    pub uses: u32,
    /// 0: no limit.
    pub max_uses: u32,
    /// Given to every device that joins with it.
    pub labels: BTreeMap<String, String>,
}

impl Store {
    /// Every token, newest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT id, secret_hash, created_ms, expires_ms, uses, max_uses, labels FROM tokens
             ORDER BY created_ms DESC, id"
        )
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(TokenRow {
                    id: row.id,
                    secret_hash: row.secret_hash,
                    created_ms: row.created_ms,
                    expires_ms: row.expires_ms,
                    uses: u32::try_from(row.uses).unwrap_or(u32::MAX),
                    max_uses: u32::try_from(row.max_uses).unwrap_or(u32::MAX),
                    labels: from_json(&row.labels, "token label")?,
                })
            })
            .collect()
    }

    /// Whether a login is known and has not ended.
    pub async fn login_is_valid(&self, hash: &str, now_ms: i64) -> Result<bool, StoreError> {
        let row = sqlx::query!(
            "SELECT expires_ms FROM logins WHERE secret_hash = ? AND expires_ms > ?",
            hash,
            now_ms
        )
        .fetch_optional(&self.reader)
        .await?;
        Ok(row.is_some())
    }
}

impl Write {
    /// Adds a token and forgets those that ended before `forget_before_ms`.
    pub async fn add_token(
        &mut self,
        token: &TokenRow,
        forget_before_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM tokens WHERE expires_ms < ?", forget_before_ms)
            .execute(&mut *self.0)
            .await?;
        let labels = to_json(&token.labels);
        sqlx::query!(
            "INSERT INTO tokens (id, secret_hash, created_ms, expires_ms, uses, max_uses, labels)
             VALUES (?, ?, ?, ?, 0, ?, ?)",
            token.id,
            token.secret_hash,
            token.created_ms,
            token.expires_ms,
            token.max_uses,
            labels
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Counts one use of a token, unless it has none left. The check and the count are one statement.
    pub async fn use_token(&mut self, id: &str, now_ms: i64) -> Result<bool, StoreError> {
        let result = sqlx::query!(
            "UPDATE tokens SET uses = uses + 1
             WHERE id = ? AND expires_ms > ? AND (max_uses = 0 OR uses < max_uses)",
            id,
            now_ms
        )
        .execute(&mut *self.0)
        .await?;
        Ok(result.rows_affected() == 1)
    }

    /// Removes a token. Returns whether there was one.
    pub async fn delete_token(&mut self, id: &str) -> Result<bool, StoreError> {
        let result = sqlx::query!("DELETE FROM tokens WHERE id = ?", id)
            .execute(&mut *self.0)
            .await?;
        Ok(result.rows_affected() == 1)
    }

    /// Adds a login, forgets ended ones and, beyond `limit`, the oldest.
    pub async fn add_login(
        &mut self,
        hash: &str,
        now_ms: i64,
        expires_ms: i64,
        limit: i64,
    ) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM logins WHERE expires_ms <= ?", now_ms)
            .execute(&mut *self.0)
            .await?;
        sqlx::query!(
            "INSERT INTO logins (secret_hash, created_ms, expires_ms) VALUES (?, ?, ?)",
            hash,
            now_ms,
            expires_ms
        )
        .execute(&mut *self.0)
        .await?;
        sqlx::query!(
            "DELETE FROM logins WHERE secret_hash NOT IN
               (SELECT secret_hash FROM logins ORDER BY created_ms DESC, rowid DESC LIMIT ?)",
            limit
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Ends a login.
    pub async fn delete_login(&mut self, hash: &str) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM logins WHERE secret_hash = ?", hash)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }
}
