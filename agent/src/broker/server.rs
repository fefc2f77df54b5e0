//! The process of the device's own broker: start, watch, start again, end.
//!
//! It listens on a socket in the run folder and on no port. Frames are in its memory only, as those
//! of every other link; at an orderly end it writes them, and the next start reads them back. One
//! that an earlier agent left is ended in this way before it is started again.

use std::{
    fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use edgeflow_spec::broker::Broker;
use edgeflow_stream::broker::{BrokerError, admin};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{
    process::{Child, Command},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::{Context, State, memory, program};
use crate::{
    conditions,
    events::{Event, Severity},
    files, inventory,
    logs::{Source, Tail, capture},
    supervisor::process,
};

/// Name of its log.
const LOG: &str = "redis-server";
/// The file with what it had when it ended. Not kept while it runs.
const DUMP: &str = "frames.rdb";
/// The file that tells the next agent of it.
const RECORD: &str = "server.json";
const MAX_RECORD_BYTES: u64 = 16 * 1024;
const MAX_CLIENTS: &str = "1024";
/// Time until a server that was started answers; reading frames back is part of it.
const START_LIMIT: Duration = Duration::from_secs(30);
const START_POLL: Duration = Duration::from_millis(20);
/// Time to write the frames and end.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Pauses before it is started again; a run of `STABLE` begins anew.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(30);
const STABLE: Duration = Duration::from_secs(10);
/// How long it stays when no link needs it any more: instances that end still write.
const LINGER: Duration = Duration::from_secs(10);

/// Why it does not run.
#[derive(Debug, Error)]
enum ServerError {
    #[error(transparent)]
    Program(#[from] program::ProgramError),
    #[error("the folder of the device's own broker can't be prepared")]
    Folder(#[source] io::Error),
    #[error("redis-server can't be started")]
    Spawn(#[source] io::Error),
    #[error("redis-server does not answer: {log}")]
    Silent {
        log: String,
        #[source]
        source: BrokerError,
    },
    #[error("redis-server ended ({exit}): {log}")]
    Ended { exit: String, log: String },
}

/// What the next agent has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pid: u32,
    start_ticks: u64,
    boot_id: String,
}

/// The server, running or not.
#[derive(Debug)]
pub struct Server {
    context: Context,
    state: watch::Sender<State>,
    dir: PathBuf,
    broker: Broker,
    running: Option<Running>,
    delay: Duration,
}

#[derive(Debug)]
struct Running {
    child: Child,
    pid: u32,
    started: Instant,
    limit: u64,
    tail: Tail,
}

impl Server {
    /// Not started.
    pub(super) fn new(context: Context, state: watch::Sender<State>) -> Self {
        Self {
            dir: context.shared.paths.broker(),
            broker: context.shared.broker.address(),
            context,
            state,
            running: None,
            delay: FIRST_DELAY,
        }
    }

    /// Runs it while links need it, until the token is cancelled.
    pub(super) async fn run(mut self, token: CancellationToken) -> Self {
        self.end_left_over().await;
        while !token.is_cancelled() {
            let needed = memory(&self.context.assignment());
            let step = async {
                match needed {
                    Some(limit) => self.keep_running(limit).await,
                    None => self.keep_away().await,
                }
            };
            tokio::select! {
                () = step => {}
                () = token.cancelled() => {}
            }
        }
        self
    }

    /// Ends it, for an agent that takes its nodes with it. Its frames are kept for the next start.
    pub async fn stop(mut self) {
        match self.running.take() {
            Some(running) => self.end(running).await,
            // It may just have been started.
            None => self.end_left_over().await,
        }
    }

    async fn keep_running(&mut self, limit: u64) {
        if self.running.is_none() {
            match self.start(limit).await {
                Ok(()) => {
                    self.context.shared.conditions.clear(conditions::BROKER);
                    self.state.send_replace(State::Running);
                }
                Err(error) => {
                    self.failed(&error).await;
                    return;
                }
            }
        }
        self.set_limit(limit).await;
        let Some(running) = &mut self.running else {
            return;
        };
        let status = tokio::select! {
            status = running.child.wait() => status,
            () = self.context.changed() => return,
        };
        self.ended(status.ok()).await;
    }

    /// It is not needed: ends it after a while, with all that it has.
    async fn keep_away(&mut self) {
        self.context.changed().await;
        let idle = memory(&self.context.assignment()).is_none();
        if idle && self.running.is_some() {
            tokio::time::sleep(LINGER).await;
            if memory(&self.context.assignment()).is_some() {
                return;
            }
            if let Some(running) = self.running.take() {
                self.end(running).await;
            }
        }
        // Without an assignment nobody knows whether its frames are wanted.
        if idle && self.context.ledger.current().is_some() {
            self.state.send_replace(State::Starting);
            self.context.shared.conditions.clear(conditions::BROKER);
            if let Err(error) = remove_dir(&self.dir) {
                tracing::warn!(path = %self.dir.display(), %error, "the folder of the device's own broker can't be removed");
            }
        }
    }

    async fn start(&mut self, limit: u64) -> Result<(), ServerError> {
        let (program, version) = program::find()?;
        files::private_dir(&self.dir).map_err(|error| {
            let text = edgeflow_runtime::logging::chain(&error);
            ServerError::Folder(io::Error::other(text))
        })?;
        let mut command = Command::new(program);
        command
            .args(options(
                &self.dir,
                &self.context.shared.paths.broker_socket(),
                limit,
            ))
            .env_clear()
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().map_err(ServerError::Spawn)?;
        let pid = child.id().unwrap_or_default();
        self.record(pid);
        let tail = Tail::default();
        self.capture(&mut child, &tail);
        let mut running = Running {
            child,
            pid,
            started: Instant::now(),
            limit,
            tail,
        };
        if let Err(error) = self.wait_for_answer(&mut running).await {
            process::signal_group(pid, Signal::KILL);
            let _ = running.child.wait().await;
            return Err(error);
        }
        // It is in memory. A later crash must not bring back what has been delivered since.
        if let Err(error) = files::remove_if_there(&self.dir.join(DUMP)) {
            tracing::warn!(%error, "the frames that the broker has read can't be removed from disk");
        }
        tracing::info!(
            pid,
            version,
            limit_bytes = limit,
            "the device's own broker runs"
        );
        self.running = Some(running);
        Ok(())
    }

    async fn wait_for_answer(&self, running: &mut Running) -> Result<(), ServerError> {
        loop {
            if let Ok(Some(status)) = running.child.try_wait() {
                return Err(ServerError::Ended {
                    exit: exit_words(status),
                    log: last_line(&running.tail),
                });
            }
            match self.ask(admin::ping).await {
                Ok(()) => return Ok(()),
                Err(source) if running.started.elapsed() > START_LIMIT => {
                    let log = last_line(&running.tail);
                    return Err(ServerError::Silent { log, source });
                }
                Err(_) => tokio::time::sleep(START_POLL).await,
            }
        }
    }

    /// Talks to the server, away from the agent's only thread.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Broker) -> Result<T, BrokerError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let broker = self.broker.clone();
        let answer = tokio::task::spawn_blocking(move || question(&broker)).await;
        answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    async fn set_limit(&mut self, limit: u64) {
        if self.running.as_ref().is_none_or(|it| it.limit == limit) {
            return;
        }
        match self
            .ask(move |broker| admin::limit_memory(broker, limit))
            .await
        {
            Ok(()) => {
                if let Some(running) = &mut self.running {
                    running.limit = limit;
                }
                tracing::info!(
                    limit_bytes = limit,
                    "the limit of the device's own broker changed"
                );
            }
            // Tried again with the next look.
            Err(error) => tracing::debug!(%error, "the broker's limit can't be changed now"),
        }
    }

    async fn failed(&mut self, error: &ServerError) {
        let text = edgeflow_runtime::logging::chain(error);
        self.context
            .shared
            .conditions
            .set(conditions::BROKER, text.clone());
        self.state.send_replace(State::Failed(text));
        tokio::time::sleep(self.delay).await;
        self.delay = (self.delay * 2).min(MAX_DELAY);
    }

    /// It ended although it is needed.
    async fn ended(&mut self, status: Option<ExitStatus>) {
        let Some(running) = self.running.take() else {
            return;
        };
        self.state.send_replace(State::Starting);
        if running.started.elapsed() >= STABLE {
            self.delay = FIRST_DELAY;
        }
        let exit = status.map_or_else(|| "unknown".to_owned(), exit_words);
        let message = format!("the device's own broker ended ({exit}) and is started again");
        tracing::info!(exit, "the device's own broker ended");
        let event = Event::new(Severity::Warning, "BrokerExited", message);
        let event = event.with_details(&running.tail.lines());
        self.context.shared.events.add(event);
        tokio::time::sleep(self.delay).await;
        self.delay = (self.delay * 2).min(MAX_DELAY);
    }

    async fn end(&self, mut running: Running) {
        if self.ask(admin::shut_down).await.is_err() {
            process::signal_group(running.pid, Signal::TERM);
        }
        if tokio::time::timeout(END_LIMIT, running.child.wait())
            .await
            .is_err()
        {
            process::signal_group(running.pid, Signal::KILL);
            let _ = running.child.wait().await;
        }
        tracing::info!(pid = running.pid, "the device's own broker ended");
        let _ = files::remove_if_there(&self.dir.join(RECORD));
    }

    /// Ends the server of an earlier agent, whose log nobody reads any more.
    async fn end_left_over(&self) {
        let file = self.dir.join(RECORD);
        let bytes = files::read_bounded(&file, MAX_RECORD_BYTES).unwrap_or_default();
        let Ok(record) = serde_json::from_slice::<Record>(&bytes) else {
            return;
        };
        let lives = record.boot_id == inventory::boot_id()
            && process::stat(record.pid).is_some_and(|stat| stat.start_ticks == record.start_ticks);
        if lives {
            if self.ask(admin::shut_down).await.is_err() {
                process::signal_group(record.pid, Signal::TERM);
            }
            if !process::group_gone(record.pid, END_LIMIT).await {
                process::signal_group(record.pid, Signal::KILL);
                process::group_gone(record.pid, END_LIMIT).await;
            }
        }
        let _ = files::remove_if_there(&file);
    }

    fn record(&self, pid: u32) {
        let record = Record {
            pid,
            start_ticks: process::stat(pid).map_or(0, |stat| stat.start_ticks),
            boot_id: inventory::boot_id(),
        };
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        if let Err(error) = fs::write(self.dir.join(RECORD), bytes) {
            let text = format!("a process record can't be written: {error}; free some space");
            self.context.shared.conditions.set(conditions::DISK, text);
        }
    }

    /// What it prints goes where the output of instances goes, with the same bounds.
    fn capture(&self, child: &mut Child, tail: &Tail) {
        let logs = &self.context.shared.logs;
        if let Some(output) = child.stdout.take() {
            let run = capture(
                output,
                Source::Stdout,
                Arc::from(LOG),
                logs.clone(),
                tail.clone(),
            );
            tokio::spawn(run);
        }
        if let Some(output) = child.stderr.take() {
            let run = capture(
                output,
                Source::Stderr,
                Arc::from(LOG),
                logs.clone(),
                tail.clone(),
            );
            tokio::spawn(run);
        }
    }
}

fn options(dir: &Path, socket: &Path, limit: u64) -> Vec<String> {
    let (dir, socket) = (dir.display().to_string(), socket.display().to_string());
    let limit = limit.to_string();
    let options: [(&str, &str); 16] = [
        ("--port", "0"),
        ("--unixsocket", &socket),
        ("--unixsocketperm", "600"),
        ("--dir", &dir),
        ("--dbfilename", DUMP),
        ("--databases", "1"),
        ("--save", ""),
        ("--appendonly", "no"),
        ("--rdbcompression", "no"),
        ("--maxmemory", &limit),
        ("--maxmemory-policy", "noeviction"),
        ("--maxclients", MAX_CLIENTS),
        ("--daemonize", "no"),
        ("--always-show-logo", "no"),
        ("--logfile", ""),
        // It is about forks, of which there are none.
        ("--ignore-warnings", "ARM64-COW-BUG"),
    ];
    let words = options.iter().flat_map(|(name, value)| [*name, *value]);
    words.map(str::to_owned).collect()
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn last_line(tail: &Tail) -> String {
    tail.lines().pop().unwrap_or_default()
}

fn exit_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}
