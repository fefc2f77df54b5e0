//! Quality of service of a link: what may be lost, and what happens when a consumer is slow.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A link's quality of service, with its limits filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkQos {
    /// The policy.
    pub mode: QosMode,
    /// Realtime: a frame older than this at the receiver is dropped as `expired`, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u32>,
    /// Durable: frames that may be unacknowledged or queued at the producer.
    pub window_frames: u32,
    /// Durable: bytes that may be unacknowledged or queued at the producer.
    pub window_bytes: u64,
    /// Durable: what a full window does.
    pub on_full: OnFull,
    /// Frames that went through replicas are put in order at the consumer; a frame waits for those
    /// before it for this long at most, milliseconds. `None`: they come as they are finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_timeout_ms: Option<u32>,
}

/// The policy of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QosMode {
    /// The newest frame only; older ones are superseded and counted.
    #[default]
    Realtime,
    /// Every frame in order, redelivered until acknowledged.
    Durable,
}

/// What a full durable window does to the producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// The producer waits.
    #[default]
    Block,
    /// The producer's send fails and the node decides.
    Fail,
}

/// Frames a durable link holds unless the manifest says otherwise.
pub const DEFAULT_WINDOW_FRAMES: u32 = 64;
/// How long a frame of an ordered link waits for those before it unless the manifest says otherwise.
pub const DEFAULT_ORDER_TIMEOUT_MS: u32 = 500;
/// Bytes a durable link holds unless the manifest says otherwise.
pub const DEFAULT_WINDOW_BYTES: u64 = 64 * 1024 * 1024;

impl LinkQos {
    /// Realtime without an age limit.
    pub fn realtime() -> Self {
        Self::new(QosMode::Realtime)
    }

    /// Durable with the default window, blocking when it is full.
    pub fn durable() -> Self {
        Self::new(QosMode::Durable)
    }

    fn new(mode: QosMode) -> Self {
        Self {
            mode,
            max_age_ms: None,
            window_frames: DEFAULT_WINDOW_FRAMES,
            window_bytes: DEFAULT_WINDOW_BYTES,
            on_full: OnFull::Block,
            order_timeout_ms: None,
        }
    }

    /// How long a frame waits for those before it; `None` on a link that is not ordered.
    pub fn order_timeout(&self) -> Option<Duration> {
        let timeout_ms = self.order_timeout_ms?;
        Some(Duration::from_millis(u64::from(timeout_ms)))
    }

    /// Whether every frame has to arrive.
    pub fn is_lossless(&self) -> bool {
        self.mode == QosMode::Durable
    }
}
