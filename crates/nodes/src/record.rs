//! `record`: writes every frame to disk. The frame counts as delivered once it is written; while it
//! can't be written (a full disk) the node waits with it and shows why, so that a durable link's
//! window does its work and nothing is lost in silence.

mod recorder;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use edgeflow::{
    Condition, Context, Frame, Input, Node, NodeError, Outputs, Stop, quantity, tracing,
};
use recorder::{Limits, Recorder};
use serde::Deserialize;

/// Pause before a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often segments are looked after, at least.
const CARE_INTERVAL: Duration = Duration::from_secs(1);
/// How often they are looked after, at most.
const MIN_CARE_INTERVAL: Duration = Duration::from_millis(10);

/// Parameters of `record`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    path: PathBuf,
    #[serde(default = "default_keep")]
    keep: String,
    #[serde(default)]
    keep_for: Option<String>,
    #[serde(default = "default_segment")]
    segment: String,
    #[serde(default = "default_segment_for")]
    segment_for: String,
    #[serde(default = "default_sync")]
    sync: String,
}

fn default_keep() -> String {
    "10GiB".to_owned()
}

fn default_segment() -> String {
    "256MiB".to_owned()
}

fn default_segment_for() -> String {
    "10m".to_owned()
}

fn default_sync() -> String {
    "1s".to_owned()
}

/// The node.
#[derive(Debug)]
pub(crate) struct Record {
    recorder: Arc<Mutex<Recorder>>,
    condition: Condition,
    stop: Stop,
    path: PathBuf,
    sync_every_frame: bool,
    waiting: bool,
    care: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Node for Record {
    type Params = Params;

    fn setup(ctx: &mut Context, params: Params) -> Result<Self, NodeError> {
        let limits = Limits {
            keep: bytes("keep", &params.keep)?,
            keep_for: params
                .keep_for
                .map(|text| duration("keep_for", &text))
                .transpose()?,
            segment: bytes("segment", &params.segment)?,
            segment_for: duration("segment_for", &params.segment_for)?,
        };
        let sync = duration("sync", &params.sync)?;
        // A relative path belongs to the node.
        let path = ctx.state_dir().join(&params.path);
        let (recorder, recovered) = Recorder::open(&path, limits, about(ctx), topics(ctx))?;
        for found in recovered {
            tracing::info!(
                segment = %found.path.display(),
                frames = found.frames,
                damaged = found.damaged,
                torn_bytes = found.torn,
                without_index = found.no_index.map(|error| error.to_string()),
                "a segment was not closed: what is whole in it is kept"
            );
        }
        tracing::info!(path = %path.display(), bytes = recorder.bytes(), "recording");
        let recorder = Arc::new(Mutex::new(recorder));
        let (end, ended) = mpsc::channel();
        let care = Care {
            recorder: Arc::clone(&recorder),
            condition: ctx.condition(),
            path: path.clone(),
            sync: (!sync.is_zero()).then_some(sync),
        };
        let thread = std::thread::Builder::new()
            .name("record-care".to_owned())
            .spawn(move || care.run(&ended))?;
        Ok(Self {
            recorder,
            condition: ctx.condition(),
            stop: ctx.stop(),
            path,
            sync_every_frame: sync.is_zero(),
            waiting: false,
            care: Some((end, thread)),
        })
    }

    fn process(&mut self, input: Input, _: &mut Outputs) -> Result<(), NodeError> {
        self.store(&input.frame)
    }

    fn process_error(&mut self, input: Input, _: &mut Outputs) -> Result<(), NodeError> {
        self.store(&input.frame)
    }

    fn teardown(&mut self) {
        if let Some((end, thread)) = self.care.take() {
            drop(end);
            // A thread that failed has said so.
            let _ = thread.join();
        }
        let mut recorder = lock(&self.recorder);
        if let Err(error) = recorder.close() {
            tracing::warn!(%error, "the last segment can't be closed: it is whole, but has no index until the next start");
        }
        let (bytes, repeated) = (recorder.bytes(), recorder.repeated());
        tracing::info!(bytes, repeated, "recording ended");
    }
}

impl Record {
    /// Returns once the frame is written, or the node has to stop.
    fn store(&mut self, frame: &Frame) -> Result<(), NodeError> {
        self.until_done(|recorder| recorder.write(frame))?;
        if self.sync_every_frame {
            self.until_done(|recorder| {
                let Some(file) = recorder.unsynced() else {
                    return Ok(());
                };
                file.sync_data().inspect_err(|_| recorder.sync_failed())
            })?;
        }
        Ok(())
    }

    fn until_done(
        &mut self,
        step: impl Fn(&mut Recorder) -> io::Result<()>,
    ) -> Result<(), NodeError> {
        loop {
            // The lock ends with the statement: looking after the folder goes on while this waits.
            let result = step(&mut lock(&self.recorder));
            match result {
                Ok(()) => {
                    if self.waiting {
                        self.waiting = false;
                        self.condition.clear();
                    }
                    return Ok(());
                }
                Err(error) => {
                    self.waiting = true;
                    self.condition.set(why(&self.path, &error));
                    if self.stop.sleep(RETRY) {
                        return Err(NodeError::stopping());
                    }
                }
            }
        }
    }
}

/// Looks after the recording while no frames come: brings data to the disk, closes and removes
/// segments whose time is over.
struct Care {
    recorder: Arc<Mutex<Recorder>>,
    condition: Condition,
    path: PathBuf,
    sync: Option<Duration>,
}

impl Care {
    fn run(&self, ended: &mpsc::Receiver<()>) {
        let interval = self.sync.unwrap_or(CARE_INTERVAL);
        let interval = interval.clamp(MIN_CARE_INTERVAL, CARE_INTERVAL);
        let mut failed = false;
        while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            let outcome = self.once();
            match outcome {
                Ok(()) if failed => {
                    failed = false;
                    self.condition.clear();
                }
                Ok(()) => {}
                Err(error) => {
                    failed = true;
                    self.condition.set(why(&self.path, &error));
                }
            }
        }
    }

    fn once(&self) -> io::Result<()> {
        let file = {
            let mut recorder = lock(&self.recorder);
            recorder.tick(SystemTime::now())?;
            self.sync.and_then(|_| recorder.unsynced())
        };
        let Some(file) = file else { return Ok(()) };
        // Without the lock: a slow disk must not hold the loop up.
        file.sync_data()
            .inspect_err(|_| lock(&self.recorder).sync_failed())
    }
}

/// What a person can do about a write that failed.
fn why(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!(
                "disk full: recording waits until there is room for {path}; free some or lower `keep`"
            )
        }
        _ => format!("recording waits: {path} can't be written: {error}"),
    }
}

fn about(ctx: &Context) -> Vec<(String, String)> {
    let fields = [
        ("system", ctx.system()),
        ("node", ctx.node()),
        ("device", ctx.device()),
        ("instance", ctx.instance()),
    ];
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Topics by stream: `node/port` of the producer, with its replica if that is not the first.
fn topics(ctx: &Context) -> HashMap<u32, String> {
    let producers = ctx.producers().into_iter();
    producers
        .map(|producer| {
            let node = match producer.replica {
                0 => producer.node,
                replica => format!("{}.{replica}", producer.node),
            };
            (producer.stream_id, format!("{node}/{}", producer.port))
        })
        .collect()
}

fn bytes(name: &str, text: &str) -> Result<u64, NodeError> {
    quantity::parse_bytes(text).map_err(|error| unreadable(name, text, &error))
}

fn duration(name: &str, text: &str) -> Result<Duration, NodeError> {
    quantity::parse_long_duration_ms(text)
        .map(Duration::from_millis)
        .map_err(|error| unreadable(name, text, &error))
}

/// A parameter that the plan could not check.
pub(crate) fn unreadable(name: &str, text: &str, error: &quantity::QuantityError) -> NodeError {
    NodeError::new(format!(
        "parameter `{name}`: `{text}` can't be read: {error}"
    ))
}

fn lock(recorder: &Mutex<Recorder>) -> MutexGuard<'_, Recorder> {
    recorder
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests;
