//! Instances: a copy of a node on a device, with its statistics.

use std::collections::BTreeMap;

use edgeflow_proto::v1;
use edgeflow_spec::quantity::rounded_bytes;
use serde::Serialize;

use super::sorted;
use crate::output::{
    Row,
    colour::Style,
    table::Cell,
    time::{age, now_ms, rfc3339},
};

/// A running (or not running) copy of a node.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InstanceView {
    pub(crate) id: String,
    pub(crate) system: String,
    pub(crate) node: String,
    pub(crate) replica: u32,
    pub(crate) revision: u64,
    pub(crate) device: String,
    pub(crate) device_id: String,
    /// pending | starting | ready | backoff | crash_loop | failed | stopping | stopped | unknown
    pub(crate) phase: &'static str,
    pub(crate) reason: String,
    pub(crate) pid: u32,
    pub(crate) started_at: Option<String>,
    pub(crate) restarts: u32,
    pub(crate) next_start_at: Option<String>,
    pub(crate) last_exit: Option<ExitView>,
    /// Share of one core.
    pub(crate) cpu: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) fps: f64,
    pub(crate) frames: u64,
    pub(crate) errors: u64,
    pub(crate) condition: String,
    /// What the node itself counts.
    pub(crate) counters: BTreeMap<String, u64>,
    /// What is so while it runs, such as the model and its runtime.
    pub(crate) facts: BTreeMap<String, String>,
    /// Times in parts of the node's loop.
    pub(crate) parts: BTreeMap<String, PartView>,
    /// Names the parameters that it works with.
    pub(crate) params_hash: String,
    /// Why it did not take newer ones; empty otherwise.
    pub(crate) params_refusal: String,
    pub(crate) inputs: Vec<InputView>,
    pub(crate) outputs: Vec<OutputView>,
    #[serde(skip)]
    started_unix_ms: i64,
}

/// Time in a part of a node's loop, over the last second.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PartView {
    pub(crate) p50_us: u32,
    pub(crate) p99_us: u32,
}

/// How the process ended last time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ExitView {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) out_of_memory: bool,
    pub(crate) message: String,
    pub(crate) log_tail: Vec<String>,
    pub(crate) at: Option<String>,
}

/// The receiving side of a link.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InputView {
    pub(crate) link: String,
    pub(crate) port: String,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) fps: f64,
    pub(crate) dropped: BTreeMap<String, u64>,
    pub(crate) hop_p50_us: u32,
    pub(crate) hop_p99_us: u32,
    pub(crate) age_p50_us: u32,
    pub(crate) age_p99_us: u32,
    pub(crate) connected: u32,
    pub(crate) expected: u32,
    /// The producer's UTC minus this device's, when it is on another machine.
    pub(crate) clock_offset_us: Option<i64>,
    /// Bound of the error of the offset.
    pub(crate) clock_error_us: u64,
}

/// The sending side of a link.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OutputView {
    pub(crate) link: String,
    pub(crate) port: String,
    pub(crate) qos: String,
    pub(crate) transport: String,
    pub(crate) produced: u64,
    pub(crate) delivered: u64,
    pub(crate) in_flight: u64,
    pub(crate) dropped: BTreeMap<String, u64>,
    pub(crate) bytes: u64,
    pub(crate) fps: f64,
    pub(crate) consumers: u32,
    /// Of those in flight, frames that are on the producer's disk only.
    pub(crate) spilled: u64,
    pub(crate) spilled_bytes: u64,
}

impl From<v1::InstanceStatus> for InstanceView {
    fn from(status: v1::InstanceStatus) -> Self {
        let phase = phase_name(status.phase());
        let stats = status.stats.unwrap_or_default();
        let params = status.params.unwrap_or_default();
        Self {
            phase,
            id: status.id,
            system: status.system,
            node: status.node,
            replica: status.replica,
            revision: status.revision,
            device: status.device_name,
            device_id: status.device_id,
            reason: status.reason,
            pid: status.pid,
            started_at: rfc3339(status.started_unix_ms),
            restarts: status.restarts,
            next_start_at: rfc3339(status.next_start_unix_ms),
            last_exit: status.last_exit.map(ExitView::from),
            cpu: status.cpu,
            rss_bytes: status.rss_bytes,
            fps: stats.fps,
            frames: stats.frames,
            errors: stats.errors,
            condition: stats.condition,
            counters: sorted(stats.counters),
            facts: stats.facts.into_iter().collect(),
            parts: stats.parts.into_iter().map(part).collect(),
            params_hash: params.hash,
            params_refusal: params.refusal,
            inputs: stats.inputs.into_iter().map(InputView::from).collect(),
            outputs: stats.outputs.into_iter().map(OutputView::from).collect(),
            started_unix_ms: status.started_unix_ms,
        }
    }
}

fn part((name, times): (String, v1::Latency)) -> (String, PartView) {
    let view = PartView {
        p50_us: times.p50_us,
        p99_us: times.p99_us,
    };
    (name, view)
}

impl From<v1::ExitInfo> for ExitView {
    fn from(exit: v1::ExitInfo) -> Self {
        Self {
            code: exit.code,
            signal: exit.signal,
            out_of_memory: exit.out_of_memory,
            message: exit.message,
            log_tail: exit.log_tail,
            at: rfc3339(exit.at_unix_ms),
        }
    }
}

impl From<v1::InputStats> for InputView {
    fn from(stats: v1::InputStats) -> Self {
        let hop = stats.hop.unwrap_or_default();
        let age = stats.age.unwrap_or_default();
        Self {
            link: stats.link,
            port: stats.port,
            frames: stats.frames,
            bytes: stats.bytes,
            fps: stats.fps,
            dropped: sorted(stats.dropped),
            hop_p50_us: hop.p50_us,
            hop_p99_us: hop.p99_us,
            age_p50_us: age.p50_us,
            age_p99_us: age.p99_us,
            connected: stats.connected,
            expected: stats.expected,
            clock_offset_us: stats.clock_offset_us,
            clock_error_us: stats.clock_error_us,
        }
    }
}

impl From<v1::OutputStats> for OutputView {
    fn from(stats: v1::OutputStats) -> Self {
        Self {
            link: stats.link,
            port: stats.port,
            qos: stats.qos,
            transport: stats.transport,
            produced: stats.produced,
            delivered: stats.delivered,
            in_flight: stats.in_flight,
            dropped: sorted(stats.dropped),
            bytes: stats.bytes,
            fps: stats.fps,
            consumers: stats.consumers,
            spilled: stats.spilled,
            spilled_bytes: stats.spilled_bytes,
        }
    }
}

/// The name of a phase, the same in tables and JSON.
pub(crate) fn phase_name(phase: v1::InstancePhase) -> &'static str {
    match phase {
        v1::InstancePhase::Pending => "pending",
        v1::InstancePhase::Starting => "starting",
        v1::InstancePhase::Ready => "ready",
        v1::InstancePhase::Backoff => "backoff",
        v1::InstancePhase::CrashLoop => "crash_loop",
        v1::InstancePhase::Failed => "failed",
        v1::InstancePhase::Stopping => "stopping",
        v1::InstancePhase::Stopped => "stopped",
        v1::InstancePhase::Unspecified => "unknown",
    }
}

impl InstanceView {
    /// `node.replica`, or only the node for the first replica.
    pub(crate) fn short_name(&self) -> String {
        if self.replica == 0 {
            self.node.clone()
        } else {
            format!("{}.{}", self.node, self.replica)
        }
    }

    pub(crate) fn phase_style(&self) -> Style {
        match self.phase {
            "ready" => Style::Good,
            "backoff" | "starting" | "stopping" => Style::Warn,
            "crash_loop" | "failed" => Style::Bad,
            _ => Style::Dim,
        }
    }

    pub(crate) fn is_bad(&self) -> bool {
        matches!(self.phase, "backoff" | "crash_loop" | "failed")
    }

    /// The reason it is not ready, or the problem it lives with.
    pub(crate) fn words(&self) -> String {
        if !self.reason.is_empty() {
            self.reason.clone()
        } else if self.params_refusal.is_empty() {
            self.condition.clone()
        } else {
            format!("refused new parameters: {}", self.params_refusal)
        }
    }

    pub(crate) fn fps_text(&self) -> String {
        if self.phase == "ready" {
            format!("{:.1}", self.fps)
        } else {
            "-".to_owned()
        }
    }
}

impl Row for InstanceView {
    fn name(&self) -> String {
        self.id.clone()
    }

    fn header(wide: bool) -> Vec<&'static str> {
        if wide {
            vec![
                "INSTANCE", "DEVICE", "PHASE", "FPS", "RESTARTS", "AGE", "PID", "CPU", "MEMORY",
                "REVISION", "REASON",
            ]
        } else {
            vec![
                "INSTANCE", "DEVICE", "PHASE", "FPS", "RESTARTS", "AGE", "REASON",
            ]
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells = vec![
            Cell::from(self.id.as_str()),
            self.device.as_str().into(),
            Cell::styled(self.phase, self.phase_style()),
            self.fps_text().into(),
            self.restarts.to_string().into(),
            age(self.started_unix_ms, now_ms()).into(),
        ];
        if wide {
            cells.extend([
                Cell::from(self.pid.to_string()),
                format!("{:.0}%", self.cpu * 100.0).into(),
                rounded_bytes(self.rss_bytes).into(),
                self.revision.to_string().into(),
            ]);
        }
        cells.push(self.words().into());
        cells
    }
}
