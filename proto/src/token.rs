//! The join token: what a person carries from the control plane to a new device. It names the CA
//! by hash, so that the agent can pin it before it sends the secret. Parses foreign text; never
//! logs or shows the secret through `Debug`.

use std::{fmt, str::FromStr};

/// First field of a join token.
const PREFIX: &str = "EF1";
/// Longest token text that is looked at.
const MAX_TOKEN_LENGTH: usize = 512;
/// Longest identifier and secret.
const MAX_FIELD_LENGTH: usize = 128;
/// Hex digits of a SHA-256.
const HASH_LENGTH: usize = 64;

/// A parsed join token: `EF1.<sha256 of the CA certificate's DER>.<id>.<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the CA certificate in DER, lower-case hex.
    pub ca_sha256: String,
    /// Names the token at the control plane.
    pub id: String,
    /// What proves the right to join; base64url.
    pub secret: String,
}

/// Why a text is no join token. Never quotes the text: it may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinTokenError {
    /// It is longer than any token.
    TooLong,
    /// It does not start with `EF1.` or has another number of fields.
    Shape,
    /// The second field is no SHA-256 in hex.
    CaHash,
    /// The identifier or the secret is empty, too long or has characters that no token has.
    Field,
}

impl fmt::Display for JoinTokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the join token is too long; copy exactly what `edgeflow token create` printed",
            Self::Shape => "not a join token: expected EF1.<CA hash>.<id>.<secret> as printed by `edgeflow token create`",
            Self::CaHash => "the join token's CA hash is damaged; copy the whole token again",
            Self::Field => "the join token's id or secret is damaged; copy the whole token again",
        })
    }
}

impl std::error::Error for JoinTokenError {}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.len() > MAX_TOKEN_LENGTH {
            return Err(JoinTokenError::TooLong);
        }
        let mut fields = text.split('.');
        let (Some(PREFIX), Some(hash), Some(id), Some(secret), None) = (
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
        ) else {
            return Err(JoinTokenError::Shape);
        };
        if hash.len() != HASH_LENGTH || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(JoinTokenError::CaHash);
        }
        if !is_field(id) || !is_field(secret) {
            return Err(JoinTokenError::Field);
        }
        Ok(Self {
            ca_sha256: hash.to_ascii_lowercase(),
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }
}

fn is_field(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_FIELD_LENGTH
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}.{}", self.ca_sha256, self.id, self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("ca_sha256", &self.ca_sha256)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        format!("EF1.{}.abc123.s3cr3t-_x", "0a".repeat(32))
    }

    #[test]
    fn a_token_survives_being_printed_and_read() {
        let token: JoinToken = text().parse().unwrap();
        assert_eq!(token.id, "abc123");
        assert_eq!(token.secret, "s3cr3t-_x");
        assert_eq!(token.to_string(), text());
        assert_eq!(format!(" {}\n", text()).parse(), Ok(token));
    }

    #[test]
    fn damaged_tokens_are_refused_with_the_damaged_part_named() {
        let cases = [
            ("", JoinTokenError::Shape),
            ("EF2.a.b.c", JoinTokenError::Shape),
            ("EF1.zz.b.c", JoinTokenError::CaHash),
            (&format!("{}.more", text()), JoinTokenError::Shape),
            (&text().replace("abc123", ""), JoinTokenError::Field),
            (&text().replace("s3cr3t", "s3 cr3t"), JoinTokenError::Field),
            (&"x".repeat(600), JoinTokenError::TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<JoinToken>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_secret_does_not_reach_debug_output() {
        let token: JoinToken = text().parse().unwrap();
        assert!(!format!("{token:?}").contains("s3cr3t"));
    }
}
