//! The way of sampled frames at an OpenTelemetry collector that goes and comes back.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use edgeflow_testkit::{Collector, Exported, Fleet, until};

use crate::manifests::pipeline;

const NODES: [&str; 3] = ["camera", "motion", "log"];

/// Every frame is sampled.
fn manifest() -> String {
    pipeline(10, 0.0).replace("spec:\n", "spec:\n  tracing: {sample: 1}\n")
}

/// The spans of a frame that went all the way, in the order of its way, if there is one.
fn whole_way(spans: &[Exported]) -> Option<[Exported; 3]> {
    let mut traces: HashMap<&[u8], Vec<&Exported>> = HashMap::new();
    for exported in spans {
        let trace = traces.entry(&exported.span.trace_id).or_default();
        trace.push(exported);
    }
    traces.into_values().find_map(|trace| {
        let of = |node: &str| trace.iter().find(|it| it.resource("service.name") == node);
        let [camera, motion, log] = NODES.map(of);
        Some([camera?, motion?, log?].map(|it| Exported::clone(it)))
    })
}

#[test]
fn the_way_of_a_frame_is_told_to_a_collector_which_may_be_away_for_a_while() -> Result<()> {
    let mut collector = Collector::start(("api-key", "a secret"))?;
    let mut fleet = Fleet::with_variables(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20secret"),
    ])?;
    fleet.expect_log("spans can't be exported");
    fleet.add_device("edge-1")?;
    fleet.apply_ready(&manifest())?;
    let way = until("a whole way", || Ok(whole_way(&collector.spans())))?;
    let mut before: Option<&Exported> = None;
    for (node, exported) in NODES.iter().zip(&way) {
        let span = &exported.span;
        let parent = before.map(|it| it.span.span_id.clone()).unwrap_or_default();
        ensure!(span.parent_span_id == parent, "{node}: {span:?}");
        ensure!(
            span.start_time_unix_nano > 0 && span.end_time_unix_nano >= span.start_time_unix_nano
        );
        // One device, one clock: a frame is not anywhere before it was where it comes from.
        let earliest = before.map_or(0, |it| it.span.start_time_unix_nano);
        ensure!(span.start_time_unix_nano >= earliest, "{node}: {span:?}");
        ensure!(exported.resource("service.namespace") == "demo");
        ensure!(exported.resource("host.name") == "edge-1");
        let instance = exported.resource("service.instance.id");
        ensure!(instance == format!("demo.{node}.0@edge-1"), "{instance}");
        before = Some(exported);
    }

    collector.stop();
    until("a word about it", || {
        let said = fleet.plane.output().contains("spans can't be exported");
        Ok(said.then_some(()))
    })?;
    let known = collector.spans().len();
    collector.start_again()?;
    until("spans again", || {
        Ok((collector.spans().len() > known).then_some(()))
    })?;
    let output = fleet.plane.output();
    ensure!(!output.contains("a secret") && !output.contains("a%20secret"));
    fleet.finish()
}

#[test]
fn a_refused_export_is_counted_and_harms_nothing() -> Result<()> {
    let collector = Collector::start(("api-key", "another"))?;
    let mut fleet = Fleet::with_variables(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())])?;
    fleet.expect_log("spans can't be exported");
    fleet.add_device("edge-1")?;
    fleet.apply_ready(&manifest())?;
    let refused = |metrics: &str| {
        let line = metrics.lines().find(|line| {
            line.starts_with("edgeflow_spans_lost_total") && line.contains("\"refused\"")
        })?;
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    until("refused spans", || {
        let metrics = fleet.plane.metrics()?;
        Ok(refused(&metrics).filter(|count| *count > 0))
    })?;
    ensure!(collector.spans().is_empty());
    let camera = fleet.instance("demo", "camera")?;
    let stats = camera.stats.context("no figures")?;
    ensure!(stats.errors == 0 && camera.restarts == 0);
    fleet.finish()
}
