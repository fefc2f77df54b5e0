//! Quality of service of a link: what may be lost, and what happens when a consumer is slow.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A link's quality of service, with its limits filled in. Fields that came with a later version
/// are left out of the JSON while they have their defaults, so that an assignment that does not use
/// them keeps its hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkQos {
    /// The policy.
    pub mode: QosMode,
    /// Realtime: a frame older than this at the receiver is dropped as `expired`. Balanced: a
    /// frame that has waited longer is skipped. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u32>,
    /// Balanced: frames that may be unacknowledged or queued before the older ones are skipped.
    #[serde(default = "default_lag", skip_serializing_if = "is_default_lag")]
    pub max_lag: u32,
    /// Durable: frames that may be unacknowledged or queued at the producer.
    pub window_frames: u32,
    /// Durable and balanced: bytes that may be unacknowledged or queued at the producer.
    pub window_bytes: u64,
    /// Durable: what a full window does.
    pub on_full: OnFull,
    /// Frames that went through replicas are put in order at the consumer; a frame waits for those
    /// before it for this long at most, milliseconds. `None`: they come as they are finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_timeout_ms: Option<u32>,
    /// Durable with `spill`: bytes on the producer's disk at most.
    #[serde(default = "default_spill", skip_serializing_if = "is_default_spill")]
    pub spill_bytes: u64,
    /// Durable and balanced: deliveries of one frame that may be lost to a dying consumer before
    /// the frame is put aside as a dead letter.
    #[serde(
        default = "default_deliveries",
        skip_serializing_if = "is_default_deliveries"
    )]
    pub max_deliveries: u32,
    /// Set when planning: the producer reads a live source and can't wait. With `spill`, frames
    /// that the disk has no room for are counted as lost instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live_source: bool,
    /// What carries the link, if the manifest says it.
    #[serde(default, skip_serializing_if = "Via::is_auto")]
    pub via: Via,
}

/// What carries a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// The fastest way there is.
    #[default]
    Auto,
    /// A broker: the system's, or the device's own where the system names none.
    Broker,
    /// On a device a socket, and never shared memory.
    Socket,
}

impl Via {
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Broker => "broker",
            Self::Socket => "socket",
        }
    }
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
    /// Durable until the consumer lags too far behind; then the older frames are skipped.
    Balanced,
}

impl QosMode {
    /// The word in manifests, messages and statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Durable => "durable",
            Self::Balanced => "balanced",
        }
    }
}

/// What a full durable window does to the producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// The producer waits.
    #[default]
    Block,
    /// Further frames go to the producer's disk, and from there to the consumer in order.
    Spill,
    /// The producer's send fails and the node decides.
    Fail,
}

impl OnFull {
    /// The word in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Spill => "spill",
            Self::Fail => "fail",
        }
    }
}

/// Frames a durable link holds unless the manifest says otherwise.
pub const DEFAULT_WINDOW_FRAMES: u32 = 64;
/// How long a frame of an ordered link waits for those before it unless the manifest says otherwise.
pub const DEFAULT_ORDER_TIMEOUT_MS: u32 = 500;
/// Bytes a durable or balanced link holds unless the manifest says otherwise.
pub const DEFAULT_WINDOW_BYTES: u64 = 64 * 1024 * 1024;
/// Frames a balanced link may lag unless the manifest says otherwise.
pub const DEFAULT_MAX_LAG: u32 = 30;
/// Bytes a spilling link may keep on disk unless the manifest says otherwise.
pub const DEFAULT_SPILL_BYTES: u64 = 1 << 30;
/// Lost deliveries of a frame before it is a dead letter, unless the manifest says otherwise.
pub const DEFAULT_MAX_DELIVERIES: u32 = 5;

fn default_lag() -> u32 {
    DEFAULT_MAX_LAG
}

fn is_default_lag(value: &u32) -> bool {
    *value == DEFAULT_MAX_LAG
}

fn default_spill() -> u64 {
    DEFAULT_SPILL_BYTES
}

fn is_default_spill(value: &u64) -> bool {
    *value == DEFAULT_SPILL_BYTES
}

fn default_deliveries() -> u32 {
    DEFAULT_MAX_DELIVERIES
}

fn is_default_deliveries(value: &u32) -> bool {
    *value == DEFAULT_MAX_DELIVERIES
}

impl LinkQos {
    /// Realtime without an age limit.
    pub fn realtime() -> Self {
        Self::new(QosMode::Realtime)
    }

    /// Durable with the default window, blocking when it is full.
    pub fn durable() -> Self {
        Self::new(QosMode::Durable)
    }

    /// Balanced with the default lag and no age limit.
    pub fn balanced() -> Self {
        Self::new(QosMode::Balanced)
    }

    /// A policy with its default limits.
    pub fn new(mode: QosMode) -> Self {
        Self {
            mode,
            max_age_ms: None,
            max_lag: DEFAULT_MAX_LAG,
            window_frames: DEFAULT_WINDOW_FRAMES,
            window_bytes: DEFAULT_WINDOW_BYTES,
            on_full: OnFull::Block,
            order_timeout_ms: None,
            spill_bytes: DEFAULT_SPILL_BYTES,
            max_deliveries: DEFAULT_MAX_DELIVERIES,
            live_source: false,
            via: Via::Auto,
        }
    }

    /// Whether it asks for a broker.
    pub fn wants_broker(&self) -> bool {
        self.via == Via::Broker
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

    /// Whether frames are kept until the consumer has acknowledged them, so that the producer has
    /// to know the group before it connects.
    pub fn keeps_frames(&self) -> bool {
        matches!(self.mode, QosMode::Durable | QosMode::Balanced)
    }

    /// Whether frames that the window has no room for go to disk.
    pub fn spills(&self) -> bool {
        self.mode == QosMode::Durable && self.on_full == OnFull::Spill
    }
}
