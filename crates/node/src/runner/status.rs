//! What the agent is told: the node's state and a second's statistics. Counts for the loop, reads
//! the links' counters once a second.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use edgeflow_proto::v1::{InputStats, Latency, NodeReport, NodeState, NodeStats, OutputStats};
use edgeflow_spec::params::{MAX_PARAMETERS, Parameter};
use edgeflow_stream::broker;
use edgeflow_stream::clock;
use edgeflow_stream::histogram::{Histogram, Summary};
use edgeflow_stream::publisher::{PublisherHandle, VIEW_PREFIX};
use edgeflow_stream::stats::{Dropped, GroupStats};
use edgeflow_stream::subscriber::SubscriberStats;
use tokio::sync::watch;

use crate::Condition;
use crate::shown::Shown;
use crate::spans::Spans;

pub(super) struct Status {
    report: watch::Sender<NodeReport>,
    counts: Mutex<Counts>,
    links: Mutex<Links>,
    condition: Condition,
    shown: Shown,
    spans: Spans,
}

#[derive(Default)]
struct Counts {
    frames: u64,
    errors: u64,
    loop_time: Histogram,
}

#[derive(Default)]
struct Links {
    outputs: Vec<(String, PublisherHandle)>,
    inputs: Option<SubscriberStats>,
    /// Links of the outputs that go on through a broker.
    carried: HashSet<String>,
    rates: Rates,
}

/// Rates from the growth of counters since the last look.
#[derive(Default)]
struct Rates {
    at: Option<Instant>,
    elapsed: Duration,
    before: HashMap<String, u64>,
}

impl Rates {
    fn begin(&mut self, now: Instant) {
        self.elapsed = self.at.map_or(Duration::ZERO, |at| now - at);
        self.at = Some(now);
    }

    fn per_second(&mut self, key: String, count: u64) -> f64 {
        let before = self.before.insert(key, count).unwrap_or(0);
        if self.elapsed.is_zero() {
            return 0.0;
        }
        // Frame counts stay far below 2^53.
        count.saturating_sub(before) as f64 / self.elapsed.as_secs_f64()
    }
}

impl Status {
    pub(super) fn new(condition: Condition) -> Self {
        let report = NodeReport {
            state: NodeState::Setup.into(),
            message: String::new(),
            stats: Some(NodeStats::default()),
            pid: std::process::id(),
            parameters: Vec::new(),
        };
        Self {
            report: watch::Sender::new(report),
            counts: Mutex::default(),
            links: Mutex::default(),
            condition,
            shown: Shown::default(),
            spans: Spans::default(),
        }
    }

    /// What the node shows of itself.
    pub(super) fn shown(&self) -> Shown {
        self.shown.clone()
    }

    /// Where the node's spans go.
    pub(super) fn spans(&self) -> Spans {
        self.spans.clone()
    }

    pub(super) fn watch_links(
        &self,
        outputs: Vec<(String, PublisherHandle)>,
        inputs: SubscriberStats,
        carried: HashSet<String>,
    ) {
        let mut links = lock(&self.links);
        links.outputs = outputs;
        links.inputs = Some(inputs);
        links.carried = carried;
        links.rates.begin(Instant::now());
    }

    pub(super) fn declare(&self, parameters: &[Parameter]) {
        self.report.send_modify(|report| {
            let parameters = parameters.iter().take(MAX_PARAMETERS);
            report.parameters = parameters.cloned().map(Into::into).collect();
        });
    }

    /// The publishers of the outputs.
    pub(super) fn outputs(&self) -> Vec<PublisherHandle> {
        let links = lock(&self.links);
        links
            .outputs
            .iter()
            .map(|(_, handle)| handle.clone())
            .collect()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<NodeReport> {
        self.report.subscribe()
    }

    pub(super) fn state(&self) -> NodeState {
        self.report.borrow().state()
    }

    pub(super) fn set_state(&self, state: NodeState) {
        let stats = self.stats();
        self.report.send_modify(|report| {
            report.set_state(state);
            report.stats = Some(stats);
        });
    }

    pub(super) fn count_frame(&self, time: Duration) {
        let mut counts = lock(&self.counts);
        counts.frames += 1;
        counts.loop_time.record(time);
    }

    pub(super) fn count_error(&self) {
        lock(&self.counts).errors += 1;
    }

    /// A second has passed.
    pub(super) fn tick(&self) {
        let stats = self.stats();
        self.report.send_modify(|report| report.stats = Some(stats));
    }

    fn stats(&self) -> NodeStats {
        let (frames, errors, loop_time) = {
            let mut counts = lock(&self.counts);
            (counts.frames, counts.errors, counts.loop_time.take())
        };
        let mut links = lock(&self.links);
        let Links {
            outputs,
            inputs,
            carried,
            rates,
        } = &mut *links;
        rates.begin(Instant::now());
        let fps = rates.per_second(String::new(), frames);
        let inputs = inputs.iter().flat_map(SubscriberStats::take);
        let inputs = inputs.map(|input| input_stats(input, rates)).collect();
        let groups: Vec<_> = outputs
            .iter()
            .flat_map(|(port, handle)| {
                let groups = handle.stats().into_iter();
                groups.map(move |group| (port.clone(), group))
            })
            .collect();
        let trouble = groups.iter().find_map(|(_, group)| group.trouble.clone());
        let outputs = groups
            .into_iter()
            .filter(|(_, group)| !group.group.starts_with(VIEW_PREFIX))
            .map(|(port, mut group)| {
                if carried.contains(&group.link) {
                    group.transport = broker::TRANSPORT;
                    group.transport_reason.clear();
                }
                output_stats(port, group, rates)
            })
            .collect();
        NodeStats {
            fps,
            frames,
            errors,
            loop_time: Some(latency(loop_time)),
            inputs,
            outputs,
            // A link that loses frames or holds the node up is the more urgent.
            condition: trouble.unwrap_or_else(|| self.condition.text()),
            at_unix_ms: clock::unix_ns() / 1_000_000,
            counters: self.shown.counted(),
            facts: self.shown.facts(),
            parts: self
                .shown
                .timed()
                .into_iter()
                .map(|(name, times)| (name, latency(times)))
                .collect(),
        }
    }
}

fn input_stats(input: edgeflow_stream::stats::InputStats, rates: &mut Rates) -> InputStats {
    let fps = rates.per_second(format!("in {} {}", input.port, input.link), input.frames);
    InputStats {
        link: input.link,
        port: input.port,
        frames: input.frames,
        bytes: input.bytes,
        fps,
        dropped: dropped(&input.dropped),
        hop: Some(latency(input.hop)),
        age: Some(latency(input.age)),
        missing: input.missing,
        connected: input.connected,
        expected: input.expected,
        clock_offset_us: input.clock.map(|clock| clock.utc_ns / 1000),
        clock_error_us: input.clock.map_or(0, |clock| clock.error_ns.div_ceil(1000)),
    }
}

fn output_stats(port: String, group: GroupStats, rates: &mut Rates) -> OutputStats {
    let fps = rates.per_second(format!("out {port} {}", group.link), group.produced);
    let transport = transport(&group);
    OutputStats {
        link: group.link,
        port,
        qos: group.qos.name().to_owned(),
        transport,
        produced: group.produced,
        delivered: group.delivered,
        in_flight: group.in_flight,
        dropped: dropped(&group.dropped),
        bytes: group.bytes,
        fps,
        consumers: group.consumers,
        spilled: group.spilled,
        spilled_bytes: group.spilled_bytes,
    }
}

/// The transport in use, with the reason why it is not a faster one.
fn transport(group: &GroupStats) -> String {
    if group.transport_reason.is_empty() {
        group.transport.to_owned()
    } else {
        format!("{} ({})", group.transport, group.transport_reason)
    }
}

fn dropped(dropped: &Dropped) -> HashMap<String, u64> {
    dropped
        .iter()
        .map(|(reason, count)| (reason.name().to_owned(), *count))
        .collect()
}

fn latency(summary: Summary) -> Latency {
    Latency {
        p50_us: summary.p50_us,
        p95_us: summary.p95_us,
        p99_us: summary.p99_us,
        max_us: summary.max_us,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
