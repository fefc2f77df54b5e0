//! The agent's Prometheus metrics. Read when somebody asks, from the states that exist anyway.

mod nodes;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use edgeflow_runtime::metrics::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use nodes::NodeMetrics;

use crate::{events::Events, ledger::Ledger, logs::Logs, supervisor::Board};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InstanceLabel {
    instance: String,
}

/// Counters that the session writes.
#[derive(Debug, Default)]
pub struct SessionMetrics {
    /// 1 while a session is established.
    pub connected: Gauge,
    /// Sessions established.
    pub sessions: Counter,
    /// End of the certificate, seconds since 1970.
    pub certificate_expiry: Gauge,
    /// Live views pushed now.
    pub views: Gauge,
}

/// All metrics of the agent.
#[derive(Debug)]
pub struct AgentMetrics {
    metrics: Metrics,
    board: Arc<Board>,
    ledger: Arc<Ledger>,
    events: Arc<Events>,
    logs: Logs,
    phases: Family<PhaseLabel, Gauge>,
    restarts: Family<InstanceLabel, Gauge>,
    generation: Gauge<u64, AtomicU64>,
    pending: Gauge,
    dropped: Counter<u64, AtomicU64>,
    nodes: NodeMetrics,
}

impl AgentMetrics {
    /// Registers everything.
    pub fn new(
        session: &SessionMetrics,
        board: Arc<Board>,
        ledger: Arc<Ledger>,
        events: Arc<Events>,
        logs: Logs,
    ) -> Self {
        let new = Self {
            metrics: Metrics::new(),
            board,
            ledger,
            events,
            logs,
            phases: Family::default(),
            restarts: Family::default(),
            generation: Gauge::default(),
            pending: Gauge::default(),
            dropped: Counter::default(),
            nodes: NodeMetrics::default(),
        };
        new.metrics.register(|registry| {
            registry.register(
                "agent_connected",
                "1 while a session with the control plane is established",
                session.connected.clone(),
            );
            registry.register(
                "agent_sessions",
                "Sessions established with the control plane",
                session.sessions.clone(),
            );
            registry.register(
                "agent_certificate_expiry_seconds",
                "End of the device certificate, seconds since 1970",
                session.certificate_expiry.clone(),
            );
            registry.register(
                "agent_views",
                "Live views pushed to the control plane now",
                session.views.clone(),
            );
            registry.register("agent_instances", "Instances by phase", new.phases.clone());
            registry.register(
                "agent_instance_restarts",
                "Restarts of an instance since it was last changed",
                new.restarts.clone(),
            );
            registry.register(
                "agent_assignment_generation",
                "Generation of the assignment on disk",
                new.generation.clone(),
            );
            registry.register(
                "agent_events_pending",
                "Events that the control plane has not acknowledged",
                new.pending.clone(),
            );
            registry.register(
                "agent_log_lines_dropped",
                "Log lines lost because the disk was full or slow",
                new.dropped.clone(),
            );
            new.nodes.register(registry);
        });
        new
    }

    /// OpenMetrics text of now.
    pub fn render(&self) -> String {
        self.phases.clear();
        self.restarts.clear();
        let instances = self.board.snapshot();
        self.nodes.set(&instances);
        for view in instances {
            let phase = view.phase.as_str();
            self.phases.get_or_create(&PhaseLabel { phase }).inc();
            let instance = view.id;
            self.restarts
                .get_or_create(&InstanceLabel { instance })
                .set(i64::from(view.restarts));
        }
        self.generation
            .set(self.ledger.current().map_or(0, |held| held.generation));
        self.pending
            .set(i64::try_from(self.events.pending()).unwrap_or(i64::MAX));
        self.dropped
            .inner()
            .store(self.logs.dropped(), Ordering::Relaxed);
        self.metrics.render()
    }
}
