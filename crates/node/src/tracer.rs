//! The hops of sampled frames: decides at a source which frames are sampled, adds this node's hop
//! to what is sent on, and tells of the stay as a span. A frame that is not sampled costs a
//! comparison. Never fails a frame: what does not fit is left out.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use edgeflow_proto::v1::Span;
use edgeflow_spec::instance_config::InstanceConfig;
use edgeflow_stream::frame::{DEFAULT_MAX_META, FLAG_SAMPLED};
use edgeflow_stream::meta::{Hop, MAX_HOPS_BYTES, short_boot};
use edgeflow_stream::{ClockOffset, Frame, clock};

use crate::NodeError;
use crate::spans::Spans;

/// No source goes longer without a sampled frame, so that a slow one shows something too.
const LONGEST_GAP_NS: u64 = 10_000_000_000;
/// No output samples more often, whatever its share says.
const SHORTEST_GAP_NS: u64 = 10_000_000;

/// Trace of a frame that was made here and not sent yet.
const NO_TRACE: [u8; 16] = [0; 16];

/// How a frame came to the loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    /// On the monotonic clock, of sampled frames.
    pub(crate) ns: u64,
    pub(crate) clock: Option<ClockOffset>,
}

/// The sampled frame that is in the loop.
#[derive(Debug)]
struct Current {
    trace_id: [u8; 16],
    before: Vec<Hop>,
    own: Hop,
    payload_bytes: usize,
    codec: &'static str,
}

/// Follows the frames of one node.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    /// One in so many frames is sampled; 0: none.
    every: u32,
    me: Hop,
    /// Whether the loop makes frames, and does not get any.
    source: bool,
    /// Frames of each port since the last sampled one, and its time.
    ports: Vec<(u32, u64)>,
    current: Option<Current>,
    began: Option<Instant>,
    /// The span of a frame that begins here and has no trace before it is sent.
    begun: Option<Span>,
    spans: Spans,
    /// What span ids are made with.
    key: RandomState,
    made: u64,
}

impl Tracer {
    pub(crate) fn new(config: &InstanceConfig, spans: Spans) -> Self {
        let me = Hop {
            node: config.instance.node.clone(),
            replica: config.instance.replica,
            device: config.device.clone(),
            boot: short_boot(clock::boot_id()),
            ..Hop::default()
        };
        Self {
            every: config.instance.trace_every,
            me,
            source: config.input_sockets.is_empty(),
            spans,
            ..Self::default()
        }
    }

    /// A round of the loop begins, with a frame unless it is a source's.
    pub(crate) fn begin(&mut self, start: Instant, frame: Option<(&Frame, &Arrived)>) {
        self.began = Some(start);
        self.current = None;
        let Some((frame, arrived)) = frame.filter(|(frame, _)| frame.is_sampled()) else {
            return;
        };
        let hops = frame.read_meta().map(|meta| meta.hops());
        let own = Hop {
            in_ns: arrived.ns,
            // Work on a frame may have begun in another thread, a while ago.
            start_ns: clock::monotonic_ns().saturating_sub(nanos(start.elapsed())),
            // Told the other way round: ours minus the producer's.
            clock_offset_ns: arrived
                .clock
                .map(|clock| clock.monotonic_ns.saturating_neg()),
            clock_error_us: arrived
                .clock
                .map(|clock| u32::try_from(clock.error_ns.div_ceil(1000)).unwrap_or(u32::MAX)),
            ..self.stay()
        };
        self.current = Some(Current {
            trace_id: frame.header.trace_id,
            before: hops.unwrap_or_default(),
            own,
            payload_bytes: frame.payload.len(),
            codec: frame.header.codec.name(),
        });
    }

    /// The frame in the loop is one of a set.
    pub(crate) fn fused_with<'f>(
        &mut self,
        others: impl Iterator<Item = (&'f str, Option<&'f Frame>)>,
    ) {
        if let Some(current) = &mut self.current {
            let words = others.filter_map(|(input, frame)| {
                Some(format!("{input}={}", hex(&frame?.header.trace_id)))
            });
            current.own.fused_with = words.collect();
        }
    }

    /// Looks at a frame that is about to be sent, and adds this node's hop if it is sampled.
    pub(crate) fn sending(&mut self, port: usize, frame: &mut Frame) {
        let sampled = frame.is_sampled();
        if !sampled && self.current.is_none() {
            let begins = self.source || frame.header.trace_id == NO_TRACE;
            if !begins || !self.is_due(port, frame.header.capture_mono_ns) {
                return;
            }
        }
        let out_ns = clock::monotonic_ns();
        let trace_id = frame.header.trace_id;
        if let Some(current) = &mut self.current {
            if current.trace_id == trace_id {
                current.own.out_ns = out_ns;
                attach(frame, &current.before, &current.own);
                return;
            }
            if !sampled && trace_id != NO_TRACE {
                return;
            }
        }
        self.begin_trace(frame, out_ns);
    }

    /// The frame that [`Self::sending`] has seen is sent; `trace_id` is the one that it got then.
    pub(crate) fn sent(&mut self, trace_id: impl FnOnce() -> [u8; 16]) {
        if let Some(mut span) = self.begun.take() {
            if span.trace_id == NO_TRACE {
                span.trace_id = trace_id().to_vec();
            }
            self.spans.send(span);
        }
    }

    /// The loop is done with what it began.
    pub(crate) fn end(&mut self, error: Option<&NodeError>) {
        let Some(current) = self.current.take() else {
            return;
        };
        if !self.spans.are_wanted() {
            return;
        }
        let Current {
            trace_id,
            before,
            mut own,
            payload_bytes,
            codec,
        } = current;
        own.out_ns = clock::monotonic_ns();
        self.spans.send(Span {
            error: error.map(NodeError::chain).unwrap_or_default(),
            payload_bytes: payload_bytes as u64,
            codec: codec.to_owned(),
            ..span(trace_id, before.last(), &own)
        });
    }

    /// A frame that was made here, or one that the loop kept from an earlier round.
    fn begin_trace(&mut self, frame: &mut Frame, out_ns: u64) {
        let took = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        let own = Hop {
            start_ns: out_ns.saturating_sub(nanos(took)),
            out_ns,
            ..self.stay()
        };
        let mut before = Vec::new();
        if let Ok(mut meta) = frame.read_meta() {
            if self.source {
                // A recording: its own way is history.
                meta.archive_hops();
                frame.set_meta(&meta);
            } else {
                before = meta.hops();
            }
        }
        if self.spans.are_wanted() {
            self.begun = Some(Span {
                payload_bytes: frame.payload.len() as u64,
                codec: frame.header.codec.name().to_owned(),
                ..span(frame.header.trace_id, before.last(), &own)
            });
        }
        attach(frame, &before, &own);
    }

    fn is_due(&mut self, port: usize, now_ns: u64) -> bool {
        if self.every == 0 {
            return false;
        }
        if self.ports.len() <= port {
            // The first frame of a port is sampled.
            self.ports.resize(port + 1, (u32::MAX, 0));
        }
        let (count, last_ns) = &mut self.ports[port];
        *count = count.saturating_add(1);
        let gap = now_ns.saturating_sub(*last_ns);
        let due = *count >= self.every || gap >= LONGEST_GAP_NS && now_ns != 0;
        if !due || gap < SHORTEST_GAP_NS && now_ns != 0 {
            return false;
        }
        (*count, *last_ns) = (0, now_ns);
        true
    }

    /// A new stay at this node, with its clock against UTC as of now.
    fn stay(&mut self) -> Hop {
        let mono = i64::try_from(clock::monotonic_ns()).unwrap_or(i64::MAX);
        self.made += 1;
        Hop {
            // Zero would be no span.
            span: format!("{:016x}", self.key.hash_one(self.made).max(1)),
            unix_zero_ns: clock::unix_ns().saturating_sub(mono),
            ..self.me.clone()
        }
    }
}

/// The span of a stay that has ended.
fn span(trace_id: [u8; 16], before: Option<&Hop>, own: &Hop) -> Span {
    let utc = |ns: u64| u64::try_from(i128::from(own.unix_zero_ns) + i128::from(ns)).unwrap_or(0);
    let began_ns = if own.in_ns == 0 {
        own.start_ns
    } else {
        own.in_ns
    };
    Span {
        trace_id: trace_id.to_vec(),
        span_id: id_of(own),
        parent_span_id: before.map_or(0, id_of),
        start_unix_ns: utc(began_ns),
        loop_unix_ns: utc(own.start_ns),
        end_unix_ns: utc(own.out_ns),
        fused_with: own.fused_with.clone(),
        clock_offset_ns: own.clock_offset_ns,
        clock_error_us: own.clock_error_us.unwrap_or_default(),
        ..Span::default()
    }
}

/// 0 for a stay that has none, as of an older node.
fn id_of(hop: &Hop) -> u64 {
    u64::from_str_radix(&hop.span, 16).unwrap_or_default()
}

/// Writes the hops into a frame and marks it, if they fit.
fn attach(frame: &mut Frame, before: &[Hop], own: &Hop) {
    if frame.meta.len() + MAX_HOPS_BYTES > DEFAULT_MAX_META as usize {
        return;
    }
    let Ok(mut meta) = frame.read_meta() else {
        return;
    };
    let hops: Vec<Hop> = before.iter().chain([own]).cloned().collect();
    if meta.set_hops(&hops).unwrap_or(false) {
        frame.set_meta(&meta);
        frame.header.flags |= FLAG_SAMPLED;
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "tracer_tests.rs"]
mod tests;

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(0)
}
