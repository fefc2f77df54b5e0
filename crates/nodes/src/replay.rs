//! `replay`: sends the frames of a recording again, at the pace of their capture times. What is
//! damaged is left out, counted and shown; a segment that was not closed is played as far as it goes.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edgeflow::{
    Condition, Context, Frame, NodeError, Outputs, Source, Step, Stop, clock, quantity, tracing,
};
use serde::Deserialize;

use crate::record::unreadable;
use crate::recording::folder;
use crate::recording::reader::{Item, ReadError, Recorded, SegmentReader};
use crate::recording::summary::Summary;

/// Fastest and slowest pace.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=1000.0;
/// A longer pause in the recording is made this short.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Metadata key with the capture time in the recording, in nanoseconds, of a frame that got a new
/// one.
const RECORDED: &str = "recorded_ns";

/// Parameters of `replay`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    path: String,
    #[serde(default = "one")]
    speed: f64,
    #[serde(default = "yes", rename = "loop")]
    repeat: bool,
    #[serde(default = "yes")]
    retime: bool,
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

/// The node.
#[derive(Debug)]
pub(crate) struct Replay {
    path: PathBuf,
    /// `None`: as fast as the consumers take it.
    speed: Option<f64>,
    repeat: bool,
    retime: bool,
    topics: Vec<String>,
    from: Duration,
    to: Option<Duration>,
    condition: Condition,
    stop: Stop,
    pass: Pass,
}

/// One way through the recording.
#[derive(Debug, Default)]
struct Pass {
    begun: bool,
    files: VecDeque<PathBuf>,
    reader: Option<(PathBuf, SegmentReader)>,
    /// Capture time of the recording's first frame.
    first_ns: Option<u64>,
    pace: Option<Pace>,
    sent: u64,
    damaged: u64,
}

/// Which moment of the recording is which moment now.
#[derive(Clone, Copy, Debug)]
struct Pace {
    at: Instant,
    recorded_ns: u64,
}

impl Source for Replay {
    type Params = Params;

    fn setup(ctx: &mut Context, params: Params) -> Result<Self, NodeError> {
        if params.speed != 0.0 && !SPEEDS.contains(&params.speed) {
            return Err(NodeError::new(format!(
                "parameter `speed`: {} is neither 0 nor from {} to {}",
                params.speed,
                SPEEDS.start(),
                SPEEDS.end()
            )));
        }
        let offset = |name, text: &Option<String>| {
            let text = text.as_deref();
            text.map(|text| {
                quantity::parse_long_duration_ms(text)
                    .map(Duration::from_millis)
                    .map_err(|error| unreadable(name, text, &error))
            })
            .transpose()
        };
        let (from, to) = (offset("from", &params.from)?, offset("to", &params.to)?);
        let from = from.unwrap_or_default();
        if to.is_some_and(|to| to <= from) {
            return Err(NodeError::new("parameter `to`: it is not after `from`"));
        }
        let path = ctx.asset(&params.path)?;
        files(&path)
            .map_err(|error| error.context(format!("{} can't be replayed", path.display())))?;
        Ok(Self {
            path,
            speed: (params.speed > 0.0).then_some(params.speed),
            repeat: params.repeat,
            retime: params.retime,
            topics: params.topics,
            from,
            to,
            condition: ctx.condition(),
            stop: ctx.stop(),
            pass: Pass::default(),
        })
    }

    fn produce(&mut self, out: &mut Outputs) -> Result<Step, NodeError> {
        if !self.pass.begun {
            self.pass.files = files(&self.path)?.into();
            self.pass.begun = true;
        }
        let Some(recorded) = self.next()? else {
            return self.at_end();
        };
        if self.wait_for(recorded.log_time) {
            // Stopped; the frame has not left the recording.
            return Ok(Step::Continue);
        }
        self.pass.sent += 1;
        out.send("out", self.restamp(recorded))?;
        Ok(Step::Continue)
    }

    fn teardown(&mut self) {
        tracing::info!(
            frames = self.pass.sent,
            damaged = self.pass.damaged,
            "replay stopped"
        );
    }
}

impl Replay {
    /// The next frame that is asked for; `None` at the end.
    fn next(&mut self) -> Result<Option<Recorded>, NodeError> {
        while !self.stop.is_requested() {
            let Some((path, mut reader)) = self.pass.reader.take() else {
                match self.pass.files.pop_front() {
                    Some(path) => self.open(path),
                    None => return Ok(None),
                }
                continue;
            };
            match reader.next() {
                Ok(Some(item)) => {
                    self.pass.reader = Some((path, reader));
                    if let Item::Frame(recorded) = item
                        && self.wants(&recorded)
                    {
                        return Ok(Some(recorded));
                    }
                }
                Ok(None) => self.finished(&path, &reader),
                Err(error) => self.unreadable(&path, error),
            }
        }
        Ok(None)
    }

    /// Whether a frame is in the part and of the topics that are asked for.
    fn wants(&mut self, recorded: &Recorded) -> bool {
        let first = *self.pass.first_ns.get_or_insert(recorded.log_time);
        let at = Duration::from_nanos(recorded.log_time.saturating_sub(first));
        let topics = &self.topics;
        at >= self.from
            && self.to.is_none_or(|to| at < to)
            && (topics.is_empty() || topics.iter().any(|topic| **topic == *recorded.topic))
    }

    fn open(&mut self, path: PathBuf) {
        let opened = SegmentReader::open(&path).and_then(|mut reader| {
            let summary = Summary::read(&path)?.unwrap_or_default();
            let Some((start, end)) = summary.times else {
                return Ok(Some(reader));
            };
            let first = *self.pass.first_ns.get_or_insert(start);
            let offset = |time: Duration| first.saturating_add(time.as_nanos() as u64);
            if end < offset(self.from) || self.to.is_some_and(|to| start >= offset(to)) {
                return Ok(None);
            }
            if start < offset(self.from) {
                reader.seek(&summary, offset(self.from))?;
            }
            Ok(Some(reader))
        });
        match opened {
            Ok(reader) => self.pass.reader = reader.map(|reader| (path, reader)),
            Err(error) => self.unreadable(&path, error),
        }
    }

    fn finished(&mut self, path: &Path, reader: &SegmentReader) {
        if reader.torn() > 0 {
            let (segment, bytes) = (path.display(), reader.torn());
            tracing::info!(%segment, bytes, "the segment is incomplete: its end is no whole frame");
        }
        if reader.foreign() > 0 {
            let (segment, messages) = (path.display(), reader.foreign());
            tracing::info!(%segment, messages, "the file has messages of other programs: they are left out");
        }
        self.damage(path, reader.damaged(), "damaged parts left out");
    }

    fn unreadable(&mut self, path: &Path, error: ReadError) {
        self.damage(path, 1, &NodeError::from(error).chain());
    }

    /// Counts what was left out, and shows it.
    fn damage(&mut self, path: &Path, places: u64, what: &str) {
        if places == 0 {
            return;
        }
        self.pass.damaged += places;
        let name = path.file_name().unwrap_or_default().display();
        let total = self.pass.damaged;
        self.condition.set(format!(
            "{total} damaged places were left out, the last in {name}: {what}"
        ));
    }

    /// Waits until it is time for a frame; true: the node has to stop.
    fn wait_for(&mut self, recorded_ns: u64) -> bool {
        let Some(speed) = self.speed else {
            return false;
        };
        let now = Instant::now();
        let pace = self.pass.pace.get_or_insert(Pace {
            at: now,
            recorded_ns,
        });
        let ahead = recorded_ns.saturating_sub(pace.recorded_ns);
        let ahead = Duration::from_nanos(ahead).div_f64(speed);
        let due = pace.at.checked_add(ahead).unwrap_or(now);
        if due.saturating_duration_since(now) > MAX_PAUSE {
            let pause_s = due.saturating_duration_since(now).as_secs();
            tracing::info!(pause_s, "a long pause in the recording is shortened");
            *pace = Pace {
                at: now + MAX_PAUSE,
                recorded_ns,
            };
            return self.stop.sleep(MAX_PAUSE);
        }
        self.stop.sleep_until(due)
    }

    fn restamp(&self, recorded: Recorded) -> Frame {
        let mut frame = recorded.frame;
        if self.retime {
            if let Ok(mut meta) = frame.read_meta()
                && meta.set(RECORDED, &frame.header.capture_ns).is_ok()
            {
                frame.set_meta(&meta);
            }
            frame.header.capture_ns = clock::unix_ns();
            frame.header.capture_mono_ns = clock::monotonic_ns();
            frame.header.clock_error_us = 0;
        }
        frame
    }

    fn at_end(&mut self) -> Result<Step, NodeError> {
        if self.stop.is_requested() {
            return Ok(Step::Continue);
        }
        let (frames, damaged) = (self.pass.sent, self.pass.damaged);
        tracing::info!(frames, damaged, "the recording has ended");
        if frames == 0 {
            let text = format!("no frame to replay in {}", self.path.display());
            return Err(NodeError::new(text).fatal());
        }
        if !self.repeat {
            return Ok(Step::End);
        }
        self.pass = Pass::default();
        Ok(Step::Continue)
    }
}

/// The files of a recording, oldest first.
fn files(path: &Path) -> Result<Vec<PathBuf>, NodeError> {
    if !path.is_dir() {
        std::fs::metadata(path)?;
        return Ok(vec![path.to_owned()]);
    }
    let segments = folder::list(path)?;
    if segments.is_empty() {
        return Err(NodeError::new(format!(
            "{} has no segments",
            path.display()
        )));
    }
    Ok(segments.into_iter().map(|segment| segment.path).collect())
}

#[cfg(test)]
mod tests;
