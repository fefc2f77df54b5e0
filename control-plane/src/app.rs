//! What every request handler shares. Built once by the server.

use std::sync::Arc;

use edgeflow_runtime::tasks::Tasks;

use crate::{
    logs::Logs, metrics::ControlPlaneMetrics, service::Service, traces::Traces, views::Views,
};

/// The running control plane.
#[derive(Debug)]
pub struct App {
    /// The rules and the state.
    pub service: Arc<Service>,
    /// Live views.
    pub views: Arc<Views>,
    /// Log readers.
    pub logs: Arc<Logs>,
    /// Spans of frames on their way to a collector.
    pub traces: Arc<Traces>,
    /// Counters.
    pub metrics: ControlPlaneMetrics,
    /// Background work.
    pub tasks: Tasks,
    /// SHA-256 of the admin token.
    pub admin_hash: String,
    /// host:port that agents dial.
    pub agent_address: String,
    /// When this process started.
    pub started_ms: i64,
}
