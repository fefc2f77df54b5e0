//! The process's Prometheus registry and its text exposition. Serving it is up to the daemon.

use std::sync::Mutex;

use prometheus_client::{encoding::text, registry::Registry};

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry that can be filled and rendered from any task.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
}

impl Metrics {
    /// An empty registry; every metric gets the prefix `edgeflow_`.
    pub fn new() -> Self {
        Self {
            registry: Mutex::new(Registry::with_prefix("edgeflow")),
        }
    }

    /// Registers metrics.
    pub fn register(&self, fill: impl FnOnce(&mut Registry)) {
        fill(
            &mut self
                .registry
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        );
    }

    /// OpenMetrics text of everything registered.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let registry = self
            .registry
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        // Writing to a String can't fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
