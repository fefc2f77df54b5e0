//! Spans of sampled frames on their way to an OpenTelemetry collector. Bounded: a collector that is
//! slow or away costs spans, which are counted, and nothing else. Without a collector nobody is asked
//! for spans.

mod collector;
mod exporter;
mod otlp;

use std::sync::Arc;

use edgeflow_proto::v1;
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::sync::mpsc;

pub use collector::{Collector, CollectorError, Otlp};
pub use exporter::Exporter;

/// Spans that wait for the exporter.
const CAPACITY: usize = 8192;
/// Bytes of a trace id.
const TRACE_ID_LEN: usize = 16;
/// Bytes of all texts of a span, and of those that say whose it is. An agent sends far less.
const MAX_TEXT: usize = 16 * 1024;
const MAX_ORIGIN: usize = 1024;

/// Whose a span is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    device: String,
    instance: String,
    system: String,
    node: String,
    replica: u32,
}

/// A span and whose it is.
type Waiting = (Arc<Origin>, v1::Span);

/// Takes spans of the agents.
#[derive(Debug)]
pub struct Traces {
    queue: Option<mpsc::Sender<Waiting>>,
    counts: Counts,
}

impl Traces {
    /// With the task that exports, if there is a collector.
    pub fn new(collector: Option<Collector>) -> (Self, Option<Exporter>) {
        let counts = Counts::default();
        let Some(collector) = collector else {
            let none = Self {
                queue: None,
                counts,
            };
            return (none, None);
        };
        let (queue, waiting) = mpsc::channel(CAPACITY);
        let exporter = Exporter::new(collector, waiting, counts.clone());
        let queue = Some(queue);
        (Self { queue, counts }, Some(exporter))
    }

    /// Whether agents have to send spans.
    pub fn are_wanted(&self) -> bool {
        self.queue.is_some()
    }

    /// What is counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes what an agent reports. Spans that can't be any are left out.
    pub fn add(&self, device: &str, report: v1::SpanReport) {
        let Some(queue) = &self.queue else {
            return;
        };
        self.counts.lost(Loss::Device, report.lost);
        for instance in report.instances {
            let names = [&instance.instance, &instance.system, &instance.node];
            if names.iter().map(|name| name.len()).sum::<usize>() > MAX_ORIGIN {
                self.counts.lost(Loss::Invalid, instance.spans.len() as u64);
                continue;
            }
            let origin = Arc::new(Origin {
                device: device.to_owned(),
                instance: instance.instance,
                system: instance.system,
                node: instance.node,
                replica: instance.replica,
            });
            for span in instance.spans {
                if !is_valid(&span) {
                    self.counts.lost(Loss::Invalid, 1);
                } else if queue.try_send((Arc::clone(&origin), span)).is_err() {
                    self.counts.lost(Loss::QueueFull, 1);
                }
            }
        }
    }
}

fn is_valid(span: &v1::Span) -> bool {
    let fused: usize = span.fused_with.iter().map(String::len).sum();
    span.error.len() + span.codec.len() + fused <= MAX_TEXT
        && span.fused_with.len() <= MAX_TEXT / size_of::<String>()
        && span.trace_id.len() == TRACE_ID_LEN
        && span.trace_id.iter().any(|byte| *byte != 0)
        && span.span_id != 0
        && span.end_unix_ns >= span.start_unix_ns
}

/// Why a span did not get to the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// On the device, before it came here.
    Device,
    /// It can't be a span.
    Invalid,
    /// Too many wait for the collector.
    QueueFull,
    /// The collector can't be reached.
    Unreachable,
    /// The collector refused it.
    Refused,
}

impl Loss {
    /// In metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Invalid => "invalid",
            Self::QueueFull => "queue_full",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }
}

type Labels = [(&'static str, &'static str); 1];

/// Spans that were exported and those that were not.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    exported: Counter,
    lost: Family<Labels, Counter>,
}

impl Counts {
    /// Shows them to Prometheus.
    pub fn register(&self, registry: &mut Registry) {
        let about = "Spans of sampled frames that the collector took";
        registry.register("spans_exported", about, self.exported.clone());
        let about = "Spans of sampled frames that did not get there, by reason";
        registry.register("spans_lost", about, self.lost.clone());
    }

    fn exported(&self, spans: u64) {
        self.exported.inc_by(spans);
    }

    fn lost(&self, loss: Loss, spans: u64) {
        if spans > 0 {
            let counter = self.lost.get_or_create(&[("reason", loss.name())]);
            counter.inc_by(spans);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(spans: Vec<v1::Span>) -> v1::SpanReport {
        let instance = v1::InstanceSpans {
            instance: "demo.camera.0".to_owned(),
            spans,
            ..v1::InstanceSpans::default()
        };
        v1::SpanReport {
            instances: vec![instance],
            lost: 2,
        }
    }

    fn span() -> v1::Span {
        v1::Span {
            trace_id: vec![1; TRACE_ID_LEN],
            span_id: 7,
            ..v1::Span::default()
        }
    }

    fn lost(traces: &Traces, reason: Loss) -> u64 {
        let lost = &traces.counts.lost;
        lost.get_or_create(&[("reason", reason.name())]).get()
    }

    #[test]
    fn without_a_collector_nothing_is_kept() {
        let (traces, exporter) = Traces::new(None);
        assert!(!traces.are_wanted() && exporter.is_none());
        traces.add("edge-1", report(vec![span()]));
        assert_eq!(lost(&traces, Loss::Device), 0);
    }

    #[tokio::test]
    async fn what_can_be_no_span_or_is_too_much_is_counted() {
        let collector = Collector::parse("http://127.0.0.1:1", None, None).unwrap();
        let (traces, exporter) = Traces::new(Some(collector));
        let wrong = [
            v1::Span {
                trace_id: vec![1; 15],
                ..span()
            },
            v1::Span {
                trace_id: vec![0; TRACE_ID_LEN],
                ..span()
            },
            v1::Span {
                span_id: 0,
                ..span()
            },
            v1::Span {
                start_unix_ns: 1,
                ..span()
            },
            v1::Span {
                error: "x".repeat(MAX_TEXT + 1),
                ..span()
            },
            v1::Span {
                fused_with: vec![String::new(); MAX_TEXT],
                ..span()
            },
        ];
        traces.add("edge-1", report(wrong.to_vec()));
        assert_eq!(
            (lost(&traces, Loss::Device), lost(&traces, Loss::Invalid)),
            (2, 6)
        );
        let mut named = report(vec![span(); 3]);
        named.instances[0].node = "n".repeat(MAX_ORIGIN);
        traces.add("edge-1", named);
        assert_eq!(lost(&traces, Loss::Invalid), 9);
        traces.add("edge-1", report(vec![span(); CAPACITY + 3]));
        assert_eq!(lost(&traces, Loss::QueueFull), 3);
        drop(exporter);
    }
}
