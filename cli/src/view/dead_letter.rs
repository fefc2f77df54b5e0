//! Dead letters as `-o json` prints them, and as rows for people.

use edgeflow_proto::v1;
use edgeflow_spec::quantity::rounded_bytes;
use serde::Serialize;

use crate::{
    cells,
    output::{
        Row,
        table::Cell,
        time::{age, now_ms, rfc3339},
    },
};

/// A frame that was put aside.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DeadLetterView {
    pub(crate) id: String,
    pub(crate) device: String,
    pub(crate) instance: String,
    pub(crate) link: String,
    /// The node that died with it.
    pub(crate) consumer: String,
    pub(crate) at: Option<String>,
    pub(crate) captured_at: Option<String>,
    pub(crate) deliveries: u32,
    pub(crate) epoch: u32,
    pub(crate) sequence: u64,
    pub(crate) codec: String,
    pub(crate) bytes: u64,
    #[serde(skip)]
    at_unix_ms: i64,
}

/// What came of a replay.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReplayView {
    pub(crate) replayed: u32,
    pub(crate) left: usize,
    pub(crate) failures: Vec<String>,
}

impl From<v1::DeadLetter> for DeadLetterView {
    fn from(letter: v1::DeadLetter) -> Self {
        Self {
            id: letter.id,
            device: letter.device_name,
            instance: letter.instance,
            link: letter.link,
            consumer: letter.group,
            at: rfc3339(letter.at_unix_ms),
            captured_at: rfc3339(letter.capture_unix_ms),
            deliveries: letter.deliveries,
            epoch: letter.epoch,
            sequence: letter.sequence,
            codec: letter.codec,
            bytes: letter.bytes,
            at_unix_ms: letter.at_unix_ms,
        }
    }
}

impl Row for DeadLetterView {
    fn name(&self) -> String {
        self.id.clone()
    }

    fn header(_wide: bool) -> Vec<&'static str> {
        vec![
            "ID",
            "DEVICE",
            "INSTANCE",
            "LINK",
            "DELIVERIES",
            "CODEC",
            "SIZE",
            "AGE",
        ]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        cells![
            self.id.as_str(),
            self.device.as_str(),
            self.instance.as_str(),
            self.link.as_str(),
            self.deliveries.to_string(),
            self.codec.as_str(),
            rounded_bytes(self.bytes),
            age(self.at_unix_ms, now_ms()),
        ]
    }
}
