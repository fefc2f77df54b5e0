//! Join tokens: short-lived, limited, shown once, stored hashed.

use std::collections::BTreeMap;

use edgeflow_proto::JoinToken;

use super::{Service, ServiceError, devices::check_labels};
use crate::{
    clock::now_ms,
    pki::{Secret, hash_secret, hex, secrets_equal},
    store::TokenRow,
};

/// Life of a token when none is asked for.
const DEFAULT_TTL_SECONDS: u32 = 3600;
/// Longest life.
const MAX_TTL_SECONDS: u32 = 365 * 24 * 3600;
/// Tokens that may exist.
const MAX_TOKENS: usize = 1000;
/// How long an ended token is still listed.
const KEEP_ENDED_MS: i64 = 24 * 3_600_000;

/// A token and its text, which is shown once.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// As stored.
    pub row: TokenRow,
    /// `EF1.…`.
    pub text: String,
}

impl Service {
    /// Makes a join token.
    pub async fn create_token(
        &self,
        ttl_seconds: u32,
        max_uses: u32,
        labels: BTreeMap<String, String>,
    ) -> Result<NewToken, ServiceError> {
        check_labels(&labels)?;
        let ttl = if ttl_seconds == 0 {
            DEFAULT_TTL_SECONDS
        } else {
            ttl_seconds
        };
        if ttl > MAX_TTL_SECONDS {
            return Err(ServiceError::Invalid(format!(
                "a join token lives {MAX_TTL_SECONDS} seconds (one year) at most"
            )));
        }
        if self.store.tokens().await?.len() >= MAX_TOKENS {
            return Err(ServiceError::Limit(format!(
                "there are {MAX_TOKENS} join tokens already; delete some with `edgeflow token delete`"
            )));
        }
        let secret = Secret::random("");
        let created_ms = now_ms();
        let row = TokenRow {
            id: hex(&rand::random::<[u8; 6]>()),
            secret_hash: hash_secret(secret.reveal()),
            created_ms,
            expires_ms: created_ms + i64::from(ttl) * 1000,
            uses: 0,
            max_uses,
            labels,
        };
        let mut mutation = self.mutate().await?;
        mutation
            .write
            .add_token(&row, created_ms - KEEP_ENDED_MS)
            .await?;
        mutation.commit().await?;
        let text = JoinToken {
            ca_sha256: self.authority.fingerprint().to_owned(),
            id: row.id.clone(),
            secret: secret.reveal().to_owned(),
        }
        .to_string();
        Ok(NewToken { row, text })
    }

    /// Every token, newest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, ServiceError> {
        Ok(self.store.tokens().await?)
    }

    /// Removes a token; devices that joined with it stay.
    pub async fn delete_token(&self, id: &str) -> Result<(), ServiceError> {
        let mut mutation = self.mutate().await?;
        if !mutation.write.delete_token(id).await? {
            return Err(ServiceError::NotFound(format!(
                "there is no join token {id}; see `edgeflow token list`"
            )));
        }
        mutation.commit().await
    }

    /// Checks a token without using it. The reason is told only to who knows the secret.
    pub(super) async fn check_token(
        &self,
        id: &str,
        secret: &str,
    ) -> Result<TokenRow, ServiceError> {
        let given = hash_secret(secret);
        let found = self
            .store
            .tokens()
            .await?
            .into_iter()
            .find(|row| row.id == id);
        let stored = found
            .as_ref()
            .map_or_else(|| hash_secret(""), |row| row.secret_hash.clone());
        let equal = secrets_equal(&given, &stored);
        let (true, Some(token)) = (equal, found) else {
            return Err(ServiceError::Unauthenticated(
                "the join token is not known here; make a new one with `edgeflow token create`"
                    .to_owned(),
            ));
        };
        let now_ms = now_ms();
        let used_up = token.max_uses > 0 && token.uses >= token.max_uses;
        if token.expires_ms <= now_ms || used_up {
            return Err(no_longer_valid(&token, now_ms));
        }
        Ok(token)
    }
}

/// Why a token that was known can't be used (any more).
pub(super) fn no_longer_valid(token: &TokenRow, now_ms: i64) -> ServiceError {
    let what = if token.expires_ms <= now_ms {
        "has expired"
    } else {
        "is used up"
    };
    ServiceError::Unauthenticated(format!(
        "the join token {what}; make a new one with `edgeflow token create`"
    ))
}
