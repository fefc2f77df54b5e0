//! Join tokens. The secret is in a view only right after it was made.

use std::collections::BTreeMap;

use edgeflow_proto::v1;
use serde::Serialize;

use super::{labels_text, sorted};
use crate::output::{
    Row,
    colour::Style,
    table::Cell,
    time::{age, now_ms, rfc3339, short},
};

/// A join token as the control plane keeps it: without its secret.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TokenView {
    pub(crate) id: String,
    pub(crate) created_at: Option<String>,
    pub(crate) expires_at: Option<String>,
    pub(crate) uses: u32,
    /// 0: no limit.
    pub(crate) max_uses: u32,
    /// active | expired | used_up
    pub(crate) state: &'static str,
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip)]
    created_unix_ms: i64,
    #[serde(skip)]
    expires_unix_ms: i64,
}

impl From<v1::Token> for TokenView {
    fn from(token: v1::Token) -> Self {
        let state = if token.max_uses > 0 && token.uses >= token.max_uses {
            "used_up"
        } else if token.expires_unix_ms != 0 && token.expires_unix_ms <= now_ms() {
            "expired"
        } else {
            "active"
        };
        Self {
            id: token.id,
            created_at: rfc3339(token.created_unix_ms),
            expires_at: rfc3339(token.expires_unix_ms),
            uses: token.uses,
            max_uses: token.max_uses,
            state,
            labels: sorted(token.labels),
            created_unix_ms: token.created_unix_ms,
            expires_unix_ms: token.expires_unix_ms,
        }
    }
}

impl TokenView {
    /// Time left, in words.
    pub(crate) fn left(&self) -> String {
        let left = self.expires_unix_ms.saturating_sub(now_ms());
        match u64::try_from(left) {
            // A token made a moment ago for an hour is valid for an hour.
            Ok(left) if left > 0 => short(std::time::Duration::from_secs(left.div_ceil(1000))),
            _ if self.expires_unix_ms == 0 => "never".to_owned(),
            _ => "expired".to_owned(),
        }
    }

    /// `1/3`, or `1` without a limit.
    pub(crate) fn uses_text(&self) -> String {
        if self.max_uses == 0 {
            self.uses.to_string()
        } else {
            format!("{}/{}", self.uses, self.max_uses)
        }
    }
}

impl Row for TokenView {
    fn name(&self) -> String {
        self.id.clone()
    }

    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["TOKEN", "STATE", "USES", "EXPIRES IN", "AGE", "LABELS"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let style = if self.state == "active" {
            Style::Good
        } else {
            Style::Dim
        };
        vec![
            Cell::from(self.id.as_str()),
            Cell::styled(self.state, style),
            self.uses_text().into(),
            self.left().into(),
            age(self.created_unix_ms, now_ms()).into(),
            labels_text(&self.labels).into(),
        ]
    }
}
