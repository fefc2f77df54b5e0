//! Metrics of the nodes and links on this device, from what the nodes' runners count. Written anew at
//! each look; series of instances that are gone disappear.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::{
    session::node::{Latency, Stats},
    supervisor::InstanceView,
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Node {
    system: String,
    node: String,
    instance: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodeQuantile {
    #[prometheus(flatten)]
    node: Node,
    quantile: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodePart {
    #[prometheus(flatten)]
    node: Node,
    part: String,
    quantile: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodeCounter {
    #[prometheus(flatten)]
    node: Node,
    name: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Link {
    system: String,
    link: String,
    instance: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LinkQuantile {
    #[prometheus(flatten)]
    link: Link,
    quantile: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LinkDrop {
    #[prometheus(flatten)]
    link: Link,
    reason: String,
}

type Count = Counter<u64, AtomicU64>;
type Value = Gauge<f64, AtomicU64>;

/// The families.
#[derive(Debug, Default)]
pub(super) struct NodeMetrics {
    frames: Family<Node, Count>,
    errors: Family<Node, Count>,
    fps: Family<Node, Value>,
    cpu: Family<Node, Value>,
    memory: Family<Node, Value>,
    loop_time: Family<NodeQuantile, Value>,
    parts: Family<NodePart, Value>,
    own: Family<NodeCounter, Count>,
    produced: Family<Link, Count>,
    delivered: Family<Link, Count>,
    in_flight: Family<Link, Value>,
    received: Family<Link, Count>,
    dropped: Family<LinkDrop, Count>,
    hop: Family<LinkQuantile, Value>,
    age: Family<LinkQuantile, Value>,
}

impl NodeMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let m = self;
        let text = "Frames through the node's loop";
        registry.register("node_frames", text, m.frames.clone());
        let text = "Loops of the node that failed";
        registry.register("node_errors", text, m.errors.clone());
        let text = "Frames through the node's loop in the last second";
        registry.register("node_fps", text, m.fps.clone());
        let text = "Processor time of the node, share of one core";
        registry.register("node_cpu_cores", text, m.cpu.clone());
        let text = "Resident memory of the node";
        registry.register_with_unit("node_memory", text, Unit::Bytes, m.memory.clone());
        let text = "Time in the node's loop, over the last second";
        registry.register_with_unit("node_loop", text, Unit::Seconds, m.loop_time.clone());
        let text = "Time in parts of the node's loop, over the last second";
        registry.register_with_unit("node_part", text, Unit::Seconds, m.parts.clone());
        let text = "What the node itself counts";
        registry.register("node_counter", text, m.own.clone());
        let text = "Frames that the producer gave to the link";
        registry.register("link_produced", text, m.produced.clone());
        let text = "Frames of the link that consumers have taken, as the producer counts";
        registry.register("link_delivered", text, m.delivered.clone());
        let text = "Frames of the link on their way";
        registry.register("link_in_flight", text, m.in_flight.clone());
        let text = "Frames of the link that came to this consumer";
        registry.register("link_received", text, m.received.clone());
        let text = "Frames that were dropped by this end of the link, by reason";
        registry.register("link_dropped", text, m.dropped.clone());
        let text = "From the producer's send to this consumer's loop, over the last second";
        registry.register_with_unit("link_hop", text, Unit::Seconds, m.hop.clone());
        let text = "From capture to this consumer's loop, over the last second";
        registry.register_with_unit("link_age", text, Unit::Seconds, m.age.clone());
    }

    /// Writes what is so now.
    pub(super) fn set(&self, instances: &[InstanceView]) {
        self.clear();
        for view in instances {
            if let Some(stats) = &view.stats {
                self.node(view, stats);
                self.links(view, stats);
            }
        }
    }

    fn clear(&self) {
        self.frames.clear();
        self.errors.clear();
        self.fps.clear();
        self.cpu.clear();
        self.memory.clear();
        self.loop_time.clear();
        self.parts.clear();
        self.own.clear();
        self.produced.clear();
        self.delivered.clear();
        self.in_flight.clear();
        self.received.clear();
        self.dropped.clear();
        self.hop.clear();
        self.age.clear();
    }

    fn node(&self, view: &InstanceView, stats: &Stats) {
        let node = Node {
            system: view.system.clone(),
            node: view.node.clone(),
            instance: view.id.clone(),
        };
        store(&self.frames, &node, stats.frames);
        store(&self.errors, &node, stats.errors);
        self.fps.get_or_create(&node).set(stats.fps);
        self.cpu.get_or_create(&node).set(view.cpu);
        // Far below 2^53.
        self.memory.get_or_create(&node).set(view.rss_bytes as f64);
        for (quantile, seconds) in quantiles(stats.loop_time.as_ref()) {
            let labels = NodeQuantile {
                node: node.clone(),
                quantile,
            };
            self.loop_time.get_or_create(&labels).set(seconds);
        }
        for (part, latency) in &stats.parts {
            for (quantile, seconds) in quantiles(Some(latency)) {
                let labels = NodePart {
                    node: node.clone(),
                    part: part.clone(),
                    quantile,
                };
                self.parts.get_or_create(&labels).set(seconds);
            }
        }
        for (name, count) in &stats.counters {
            let labels = NodeCounter {
                node: node.clone(),
                name: name.clone(),
            };
            store(&self.own, &labels, *count);
        }
    }

    fn links(&self, view: &InstanceView, stats: &Stats) {
        let of = |link: &str| Link {
            system: view.system.clone(),
            link: link.to_owned(),
            instance: view.id.clone(),
        };
        for output in &stats.outputs {
            let link = of(&output.link);
            store(&self.produced, &link, output.produced);
            store(&self.delivered, &link, output.delivered);
            self.in_flight
                .get_or_create(&link)
                .set(output.in_flight as f64);
            self.drops(&link, output.dropped.iter());
        }
        for input in &stats.inputs {
            let link = of(&input.link);
            store(&self.received, &link, input.frames);
            self.drops(&link, input.dropped.iter());
            for (family, latency) in [(&self.hop, &input.hop), (&self.age, &input.age)] {
                for (quantile, seconds) in quantiles(latency.as_ref()) {
                    let labels = LinkQuantile {
                        link: link.clone(),
                        quantile,
                    };
                    family.get_or_create(&labels).set(seconds);
                }
            }
        }
    }

    fn drops<'a>(&self, link: &Link, dropped: impl Iterator<Item = (&'a String, &'a u64)>) {
        for (reason, count) in dropped {
            let labels = LinkDrop {
                link: link.clone(),
                reason: reason.clone(),
            };
            store(&self.dropped, &labels, *count);
        }
    }
}

/// In seconds. Nothing where nothing was measured in the last second.
fn quantiles(latency: Option<&Latency>) -> impl Iterator<Item = (&'static str, f64)> {
    let measured = latency.filter(|latency| latency.max_us > 0);
    measured.into_iter().flat_map(|latency| {
        [
            ("0.5", latency.p50_us),
            ("0.95", latency.p95_us),
            ("0.99", latency.p99_us),
        ]
        .map(|(quantile, us)| (quantile, f64::from(us) / 1e6))
    })
}

fn store<L: Clone + std::hash::Hash + Eq>(family: &Family<L, Count>, labels: &L, count: u64) {
    family
        .get_or_create(labels)
        .inner()
        .store(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use edgeflow_proto::v1::{InputStats, OutputStats};
    use edgeflow_runtime::metrics::Metrics;
    use edgeflow_spec::assignment::Instance;

    use super::*;

    fn view(stats: Stats) -> InstanceView {
        let instance: Instance = serde_json::from_value(serde_json::json!({
            "id": "door.detect.0", "system": "door", "node": "detect", "replica": 0, "revision": 1,
            "program": {"builtin": "detect"}, "params": {}, "env": {}, "restart": "always",
            "stop_grace_ms": 1000, "inputs": [], "outputs": []
        }))
        .unwrap();
        InstanceView {
            stats: Some(stats),
            ..InstanceView::pending(&instance, "hash")
        }
    }

    #[test]
    fn every_instance_and_link_has_its_series_until_it_is_gone() {
        let latency = Latency {
            p50_us: 2_000,
            p95_us: 3_000,
            p99_us: 4_000,
            max_us: 5_000,
        };
        let stats = Stats {
            frames: 7,
            loop_time: Some(latency),
            counters: [("lost".to_owned(), 3)].into(),
            parts: [("infer".to_owned(), latency)].into(),
            inputs: vec![InputStats {
                link: "camera->detect".to_owned(),
                frames: 7,
                age: Some(latency),
                hop: Some(Latency::default()),
                ..InputStats::default()
            }],
            outputs: vec![OutputStats {
                link: "detect->log".to_owned(),
                produced: 9,
                dropped: [("superseded".to_owned(), 2)].into(),
                ..OutputStats::default()
            }],
            ..Stats::default()
        };
        let (metrics, nodes) = (Metrics::new(), NodeMetrics::default());
        metrics.register(|registry| nodes.register(registry));
        nodes.set(&[view(stats)]);
        let text = metrics.render();
        let node = r#"system="door",node="detect",instance="door.detect.0""#;
        let link = r#"link="detect->log",instance="door.detect.0""#;
        for line in [
            format!("edgeflow_node_frames_total{{{node}}} 7"),
            format!(r#"edgeflow_node_loop_seconds{{{node},quantile="0.99"}} 0.004"#),
            format!(r#"edgeflow_node_part_seconds{{{node},part="infer",quantile="0.5"}} 0.002"#),
            format!(r#"edgeflow_node_counter_total{{{node},name="lost"}} 3"#),
            format!(r#"edgeflow_link_produced_total{{system="door",{link}}} 9"#),
            format!(r#"edgeflow_link_dropped_total{{system="door",{link},reason="superseded"}} 2"#),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert!(text.contains("edgeflow_link_age_seconds{"));
        assert!(
            !text.contains("edgeflow_link_hop_seconds{"),
            "nothing was measured"
        );
        nodes.set(&[]);
        assert!(!metrics.render().contains("door"));
    }
}
