//! What instances print: captured line by line, kept in bounded rotated files, read back by tail,
//! since and follow. One thread does all file work, so that a slow or full disk holds up neither
//! nodes nor the agent: lines that it can't take are dropped and counted.

mod capture;
mod store;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::conditions::Conditions;

pub use capture::{Tail, capture};
pub use store::{FILE_BYTES, FILES_PER_INSTANCE};

/// Longest line; the rest of a longer one is left out.
pub const MAX_LINE_BYTES: usize = 16 * 1024;
/// Lines that wait for the disk.
const QUEUE_LINES: usize = 512;
/// Lines that a slow reader may lag behind before it loses some.
const FOLLOW_LINES: usize = 1024;
/// Most lines that one read returns.
pub const MAX_READ_LINES: usize = 10_000;
/// How long a node's output waits for the disk before a line is dropped.
const QUEUE_PATIENCE: Duration = Duration::from_millis(250);

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
    /// The agent, about the process.
    Agent,
}

impl Source {
    /// As the protocol spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Agent => "agent",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When the agent read it.
    pub at_unix_ms: i64,
    /// Whose it is.
    pub instance: Arc<str>,
    /// Where it came from.
    pub source: Source,
    /// Without the line end.
    pub text: String,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct Query {
    /// Instances.
    pub instances: Vec<String>,
    /// Newest lines an instance.
    pub tail: usize,
    /// Not older than this; 0: all.
    pub since_unix_ms: i64,
    /// Also hand out what comes later.
    pub follow: bool,
}

/// The answer to a query: the past in order of time, then the future.
#[derive(Debug)]
pub struct Answer {
    /// Past lines.
    pub lines: Vec<Line>,
    /// Later lines of all instances, starting right after the past ones.
    pub follow: Option<broadcast::Receiver<Arc<Line>>>,
}

enum Job {
    Line(Line),
    Read(Query, oneshot::Sender<Answer>),
    Prune(Vec<String>),
}

/// The way to the log thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Logs {
    jobs: mpsc::Sender<Job>,
    dropped: Arc<AtomicU64>,
}

impl Logs {
    /// Starts the log thread; it ends when every clone is gone.
    pub fn start(root: PathBuf, conditions: Arc<Conditions>) -> std::io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel(QUEUE_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("logs".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || {
                let (follow, _) = broadcast::channel(FOLLOW_LINES);
                let mut store = store::Store::new(root, conditions);
                while let Some(job) = queue.blocking_recv() {
                    match job {
                        Job::Line(line) => {
                            if !store.append(&line) {
                                counter.fetch_add(1, Ordering::Relaxed);
                            }
                            if follow.receiver_count() > 0 {
                                // Fails only when the last reader has just gone.
                                let _ = follow.send(Arc::new(line));
                            }
                        }
                        Job::Read(query, reply) => {
                            let answer = Answer {
                                lines: store.read(&query),
                                follow: query.follow.then(|| follow.subscribe()),
                            };
                            // The reader may have gone.
                            let _ = reply.send(answer);
                        }
                        Job::Prune(keep) => store.prune(&keep),
                    }
                }
            })?;
        Ok(Self { jobs, dropped })
    }

    /// Hands a line to the disk, waiting a moment for room.
    pub async fn write(&self, line: Line) {
        let sent = tokio::time::timeout(QUEUE_PATIENCE, self.jobs.send(Job::Line(line))).await;
        if !matches!(sent, Ok(Ok(()))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands a line of the agent's own to the disk if there is room.
    pub fn note(&self, instance: &Arc<str>, text: String) {
        let line = Line {
            at_unix_ms: crate::clock::unix_ms(),
            instance: Arc::clone(instance),
            source: Source::Agent,
            text,
        };
        if self.jobs.try_send(Job::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads lines. `None` when the log thread is gone.
    pub async fn read(&self, query: Query) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Read(query, reply)).await.ok()?;
        answer.await.ok()
    }

    /// Forgets the oldest logs of instances that are not in `keep`.
    pub fn prune(&self, keep: Vec<String>) {
        // A full queue means that it happens at the next change instead.
        let _ = self.jobs.try_send(Job::Prune(keep));
    }

    /// Lines lost so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
