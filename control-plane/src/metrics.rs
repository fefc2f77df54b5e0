//! What Prometheus reads: gauges are taken from the state when somebody asks, counters count.

use edgeflow_proto::v1::{ApplyOutcome, DeviceHealth};
use edgeflow_runtime::metrics::Metrics;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

use crate::{service::Service, traces, views::Views};

type Labels = [(&'static str, &'static str); 1];

/// The control plane's metrics.
#[derive(Debug)]
pub struct ControlPlaneMetrics {
    registry: Metrics,
    systems: Gauge,
    devices: Family<Labels, Gauge>,
    sessions: Gauge,
    views: Gauge,
    viewers: Gauge,
    applies: Family<Labels, Counter>,
    connections: Gauge,
    logins_refused: Counter,
}

impl ControlPlaneMetrics {
    /// Registers everything.
    pub fn new(spans: &traces::Counts) -> Self {
        let metrics = Self {
            registry: Metrics::new(),
            systems: Gauge::default(),
            devices: Family::default(),
            sessions: Gauge::default(),
            views: Gauge::default(),
            viewers: Gauge::default(),
            applies: Family::default(),
            connections: Gauge::default(),
            logins_refused: Counter::default(),
        };
        metrics.registry.register(|registry| {
            spans.register(registry);
            let m = &metrics;
            registry.register("systems", "Systems", m.systems.clone());
            registry.register("devices", "Enrolled devices by health", m.devices.clone());
            registry.register("sessions", "Connected agents", m.sessions.clone());
            registry.register(
                "views",
                "Live view subscriptions at agents",
                m.views.clone(),
            );
            registry.register("viewers", "Viewers of live views", m.viewers.clone());
            registry.register("applies", "Applied manifests by outcome", m.applies.clone());
            registry.register(
                "connections",
                "Open connections on both ports",
                m.connections.clone(),
            );
            registry.register(
                "logins_refused",
                "Requests without a valid login",
                m.logins_refused.clone(),
            );
        });
        metrics
    }

    /// Counts an apply.
    pub fn applied(&self, outcome: ApplyOutcome, dry_run: bool) {
        let word = match outcome {
            _ if dry_run => "dry_run",
            ApplyOutcome::Created => "created",
            ApplyOutcome::Updated => "updated",
            ApplyOutcome::Unchanged => "unchanged",
            ApplyOutcome::Rejected | ApplyOutcome::Unspecified => "rejected",
        };
        self.applies.get_or_create(&[("outcome", word)]).inc();
    }

    /// Counts a request without a valid login.
    pub fn login_refused(&self) {
        self.logins_refused.inc();
    }

    /// A connection has opened; it closes when the guard is dropped.
    pub fn connection(&self) -> ConnectionGuard {
        self.connections.inc();
        ConnectionGuard(self.connections.clone())
    }

    /// The text for Prometheus.
    pub fn render(&self, service: &Service, views: &Views) -> String {
        self.systems.set(signed(service.world().systems.len()));
        self.sessions.set(signed(service.fleet().online().len()));
        self.views.set(signed(views.count()));
        self.viewers.set(signed(views.viewers()));
        let devices = service.device_views("").unwrap_or_default();
        for (health, word) in [
            (DeviceHealth::Pending, "pending"),
            (DeviceHealth::Ready, "ready"),
            (DeviceHealth::Degraded, "degraded"),
            (DeviceHealth::Offline, "offline"),
        ] {
            let count = devices.iter().filter(|d| d.health() == health).count();
            self.devices
                .get_or_create(&[("health", word)])
                .set(signed(count));
        }
        self.registry.render()
    }
}

/// An open connection.
#[derive(Debug)]
pub struct ConnectionGuard(Gauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn signed(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
