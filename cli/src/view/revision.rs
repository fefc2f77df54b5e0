//! Revisions of a system.

use edgeflow_proto::v1;
use serde::Serialize;

use crate::output::{
    Row,
    colour::Style,
    table::Cell,
    time::{age, local, now_ms, rfc3339},
};

/// An immutable, numbered revision.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RevisionView {
    pub(crate) number: u64,
    pub(crate) current: bool,
    pub(crate) created_at: Option<String>,
    /// `apply`, `rollback to N`
    pub(crate) cause: String,
    pub(crate) manifest: String,
    #[serde(skip)]
    created_unix_ms: i64,
}

impl From<v1::Revision> for RevisionView {
    fn from(revision: v1::Revision) -> Self {
        Self {
            number: revision.number,
            current: revision.current,
            created_at: rfc3339(revision.created_unix_ms),
            cause: revision.cause,
            manifest: revision.manifest,
            created_unix_ms: revision.created_unix_ms,
        }
    }
}

impl Row for RevisionView {
    fn name(&self) -> String {
        self.number.to_string()
    }

    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["REVISION", "CURRENT", "CREATED", "AGE", "CAUSE"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let current = if self.current { "yes" } else { "" };
        vec![
            Cell::from(self.number.to_string()),
            Cell::styled(current, Style::Good),
            local(self.created_unix_ms).into(),
            age(self.created_unix_ms, now_ms()).into(),
            self.cause.as_str().into(),
        ]
    }
}
