//! The life of one instance: start, watch, restart, stop. One task owns it from its first start to
//! the last process's end, so there is never more than one process under an id.

use std::{
    collections::BTreeMap,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use edgeflow_spec::{
    assignment::Instance, broker::Broker, instance_config::ModelFile, params::MAX_PARAMETERS,
};
use rustix::process::Signal;
use tokio::{process::Child, sync::watch, task::JoinHandle};

use super::{
    Phase, Shared,
    exit::{Exit, OomWatch},
    incidents,
    launch::{self, Launched},
    node_events::NodeEvents,
    params::{Keeper, Known},
    policy::{Next, Policy},
    process, records,
};
use crate::{
    clock::unix_ms,
    conditions,
    events::{Event, Severity},
    inventory,
    logs::{Source, Tail, capture},
    session::node::{self, NodePhase, NodeUpdate, Parameter},
    spans::Origin,
};

/// A node that has not announced itself by then gets a plainer reason; it is not killed.
pub(super) const SETUP_IS_SLOW: Duration = Duration::from_secs(60);
/// What can't be started is tried again this often.
const FAILED_RETRY: Duration = Duration::from_secs(10);
/// Time to read the rest of a dead process's output.
const OUTPUT_REST: Duration = Duration::from_secs(1);
/// Time for the stop call itself; SIGTERM follows when it fails.
const STOP_CALL: Duration = Duration::from_secs(1);
/// Bytes of a node's declared parameters that are kept; those beyond are left out.
const MAX_DECLARATION_BYTES: usize = 16 * 1024;
const WAITING: &str = "waiting for the node to report ready on its socket";

enum Outcome {
    Stopped,
    Exited(Exit, Duration),
    CanNotStart(String),
}

/// Owns an instance.
pub(super) struct Life {
    shared: Arc<Shared>,
    /// What has to run; changes while it does.
    desired: watch::Receiver<Arc<Instance>>,
    /// What the present process was started with.
    instance: Instance,
    known: Known,
    /// Hash of the parameters that were desired when it was last started.
    tried: String,
    name: Arc<str>,
    hash: String,
    stop: watch::Receiver<Option<Duration>>,
    gone: Arc<AtomicBool>,
    policy: Policy,
    /// What was told of a start that failed, to tell it once.
    failure: Option<String>,
}

impl Life {
    pub(super) fn new(
        shared: Arc<Shared>,
        desired: watch::Receiver<Arc<Instance>>,
        hash: String,
        stop: watch::Receiver<Option<Duration>>,
        gone: Arc<AtomicBool>,
    ) -> Self {
        let instance = Instance::clone(&desired.borrow());
        Self {
            shared,
            name: Arc::from(instance.id.as_str()),
            desired,
            instance,
            known: Known::default(),
            tried: String::new(),
            hash,
            stop,
            gone,
            policy: Policy::default(),
            failure: None,
        }
    }

    pub(super) async fn run(mut self) {
        while self.stop.borrow().is_none() {
            let wait = match self.one_run().await {
                Outcome::Stopped => break,
                Outcome::Exited(exit, uptime) => self.exited(exit, uptime),
                Outcome::CanNotStart(reason) => Some(self.can_not_start(&reason)),
            };
            self.stop_or(wait).await;
        }
        launch::clean_up(&self.shared, &self.instance);
        self.shared.board.remove(&self.name);
        self.gone.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }

    /// Waits for a stop request, for `wait` at most; for ever without one. Other parameters may be
    /// what it takes to run, so they end the wait too.
    async fn stop_or(&mut self, wait: Option<Duration>) {
        let Self {
            stop,
            desired,
            tried,
            ..
        } = self;
        // A sender that is gone means that the agent ends: the process stays.
        let stopped = async {
            if stop.wait_for(Option::is_some).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let changed = async {
            let other = |instance: &Arc<Instance>| instance.params_hash() != *tried;
            if desired.wait_for(other).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let over = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stopped => {}
            () = changed => self.policy = Policy::default(),
            () = over => {}
        }
    }

    async fn one_run(&mut self) -> Outcome {
        let Some(models) = self.models().await else {
            return Outcome::Stopped;
        };
        let desired = Arc::clone(&self.desired.borrow());
        self.tried = desired.params_hash();
        self.instance = self.known.start_with(&desired);
        let has = self.instance.params_hash();
        let own_broker = match self.own_broker().await {
            Ok(broker) => broker,
            Err(reason) => return Outcome::CanNotStart(reason),
        };
        let launched = match launch::launch(&self.shared, &self.instance, own_broker, models) {
            Ok(launched) => launched,
            Err(error) => return Outcome::CanNotStart(error.to_string()),
        };
        let Launched {
            mut child,
            pid,
            socket,
        } = launched;
        let started = Instant::now();
        self.record(pid, &socket);
        self.shared
            .logs
            .note(&self.name, format!("started, pid {pid}"));
        self.failure = None;
        self.shared.board.update(&self.name, |view| {
            view.phase = Phase::Starting;
            view.reason = WAITING.to_owned();
            view.next_start_unix_ms = 0;
            view.announced = false;
            view.stats = None;
            view.pid = pid;
            view.started_unix_ms = unix_ms();
            view.params_hash.clone_from(&has);
        });
        let tail = Tail::default();
        let captures = self.capture(&mut child, &tail);
        let oom = OomWatch::new(pid);
        let watcher = tokio::spawn(node::watch(socket.clone(), self.on_update()));
        let spans = tokio::spawn(self.follow_spans(&socket));
        let events = tokio::spawn(self.follow_events(&socket));
        let keeper = tokio::spawn(self.keeper(&socket, has).run());
        let (status, stopped) = self.wait(&mut child, pid, &socket).await;
        watcher.abort();
        spans.abort();
        events.abort();
        keeper.abort();
        // Children of the node that outlived it.
        process::signal_group(pid, Signal::KILL);
        for capture in captures {
            let abort = capture.abort_handle();
            if tokio::time::timeout(OUTPUT_REST, capture).await.is_err() {
                abort.abort();
            }
        }
        self.forget();
        let uptime = started.elapsed();
        let struck = status.is_some_and(|status| oom.is_some_and(|oom| oom.has_struck(status)));
        let Some(status) = status else {
            return Outcome::Stopped;
        };
        let exit = Exit::new(status, uptime, struck && !stopped, tail.lines());
        self.shared.logs.note(&self.name, exit.message.clone());
        if stopped {
            return Outcome::Stopped;
        }
        Outcome::Exited(exit, uptime)
    }

    /// Waits until the models of the instance are here; `None`: stopped before that.
    async fn models(&mut self) -> Option<BTreeMap<String, ModelFile>> {
        let models = Arc::clone(&self.shared.models);
        let mut changed = models.watch();
        loop {
            let names = self.desired.borrow_and_update().models.clone();
            let waits = match models.files(&names) {
                Ok(files) => return Some(files),
                Err(waits) => waits,
            };
            self.shared.board.update(&self.name, |view| {
                view.phase = Phase::Pending;
                view.reason = waits;
                view.next_start_unix_ms = 0;
            });
            tokio::select! {
                Ok(_) = next_stop(&mut self.stop) => return None,
                Ok(()) = changed.changed() => {}
                Ok(()) = self.desired.changed() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// The device's own broker, if a link goes through it.
    async fn own_broker(&self) -> Result<Option<Broker>, String> {
        if !self.instance.needs_own_broker() {
            return Ok(None);
        }
        self.shared.broker.ready().await.map(Some)
    }

    fn follow_spans(&self, socket: &std::path::Path) -> impl Future<Output = ()> + Send + 'static {
        let spans = Arc::clone(&self.shared.spans);
        let origin = Arc::new(Origin::new(&self.instance));
        let wanted = spans.wanted();
        node::watch_spans(socket.to_owned(), wanted, move |some, lost| {
            spans.add(&origin, some, lost);
        })
    }

    fn follow_events(&self, socket: &std::path::Path) -> impl Future<Output = ()> + Send + 'static {
        let mut events = NodeEvents::new(Arc::clone(&self.shared.events), self.instance.clone());
        node::watch_events(socket.to_owned(), move |told| events.take(told))
    }

    fn keeper(&self, socket: &std::path::Path, has: String) -> Keeper {
        Keeper {
            shared: Arc::clone(&self.shared),
            socket: socket.to_owned(),
            known: self.known.clone(),
            desired: self.desired.clone(),
            has,
        }
    }

    /// Waits for the process's end, its own or the requested one.
    async fn wait(
        &mut self,
        child: &mut Child,
        pid: u32,
        socket: &std::path::Path,
    ) -> (Option<ExitStatus>, bool) {
        let slow = tokio::time::sleep(SETUP_IS_SLOW);
        tokio::pin!(slow);
        let mut told = false;
        loop {
            tokio::select! {
                status = child.wait() => return (known(status), false),
                () = &mut slow, if !told => {
                    told = true;
                    self.tell_slow_setup();
                }
                Ok(limit) = next_stop(&mut self.stop) => {
                    let grace = Duration::from_millis(self.instance.stop_grace_ms).min(limit);
                    self.shared.board.update(&self.name, |view| {
                        view.phase = Phase::Stopping;
                        view.reason = "stopping".to_owned();
                    });
                    return (stop_process(child, pid, socket, grace).await, true);
                }
            }
        }
    }

    fn tell_slow_setup(&self) {
        self.shared.board.update(&self.name, |view| {
            if view.phase == Phase::Starting && view.announced {
                view.reason = "setup still running".to_owned();
            } else if view.phase == Phase::Starting {
                view.reason = format!(
                    "{WAITING}, {} s after its start; a program has to use the EdgeFlow SDK to become ready",
                    SETUP_IS_SLOW.as_secs()
                );
            }
        });
    }

    fn on_update(&self) -> impl FnMut(NodeUpdate) + Send + 'static {
        let board = Arc::clone(&self.shared.board);
        let name = Arc::clone(&self.name);
        let events = Arc::clone(&self.shared.events);
        let instance = self.instance.clone();
        move |update| {
            let mut letters = Vec::new();
            board.update(&name, |view| {
                view.announced = true;
                letters = incidents::dead_letters(view.stats.as_ref(), update.stats.as_ref());
                view.stats = update.stats;
                view.parameters = bounded(update.parameters);
                match (view.phase, update.phase) {
                    (Phase::Starting, NodePhase::Ready) => {
                        view.phase = Phase::Ready;
                        view.reason.clear();
                    }
                    (Phase::Starting, NodePhase::Setup) if !update.message.is_empty() => {
                        view.reason = update.message;
                    }
                    (Phase::Starting, NodePhase::Setup) if view.reason == WAITING => {
                        view.reason = "setup is running".to_owned();
                    }
                    _ => {}
                }
            });
            for (link, count) in letters {
                let system = &instance.system;
                let text = format!(
                    "{count} frames of {link} were put aside because their consumer died with them; see `edgeflow deadletters list {system} {}`",
                    instance.node
                );
                events.add(Event::new(Severity::Warning, "DeadLetter", text).about(&instance));
            }
        }
    }

    fn capture(&self, child: &mut Child, tail: &Tail) -> Vec<JoinHandle<()>> {
        let mut captures = Vec::new();
        let name = || Arc::clone(&self.name);
        if let Some(output) = child.stdout.take() {
            let logs = self.shared.logs.clone();
            let run = capture(output, Source::Stdout, name(), logs, tail.clone());
            captures.push(tokio::spawn(run));
        }
        if let Some(output) = child.stderr.take() {
            let logs = self.shared.logs.clone();
            let run = capture(output, Source::Stderr, name(), logs, tail.clone());
            captures.push(tokio::spawn(run));
        }
        captures
    }

    fn record(&self, pid: u32, socket: &std::path::Path) {
        let record = records::Record {
            id: self.instance.id.clone(),
            pid,
            start_ticks: process::stat(pid).map_or(0, |stat| stat.start_ticks),
            boot_id: inventory::boot_id(),
            socket: socket.to_owned(),
            hash: self.hash.clone(),
        };
        if let Err(error) = records::write(&self.shared.paths.records(), &record) {
            // The next agent still finds the process by its environment.
            self.shared.conditions.set(
                conditions::DISK,
                format!("a process record can't be written: {error}; free some space"),
            );
        }
    }

    fn forget(&self) {
        if let Err(error) = records::remove(&self.shared.paths.records(), &self.instance.id) {
            tracing::warn!(instance = %self.name, %error, "a process record can't be removed");
        }
        self.shared.board.update(&self.name, |view| {
            view.pid = 0;
            view.started_unix_ms = 0;
            view.cpu = 0.0;
            view.rss_bytes = 0;
            view.stats = None;
        });
    }

    /// Notes an exit. Returns the time to the next start, `None` for never.
    fn exited(&mut self, exit: Exit, uptime: Duration) -> Option<Duration> {
        let restart = self.instance.restart;
        let next = self
            .policy
            .exited(Instant::now(), uptime, exit.is_success(), restart);
        let (phase, wait, reason) = match next {
            Next::Leave => (Phase::Stopped, None, exit.reason()),
            Next::Restart { after, crash_loop } => {
                let phase = if crash_loop {
                    Phase::CrashLoop
                } else {
                    Phase::Backoff
                };
                (phase, Some(after), exit.reason())
            }
        };
        self.tell_exit(&exit, phase);
        self.shared.board.update(&self.name, |view| {
            view.phase = phase;
            view.reason = reason;
            view.last_exit = Some(exit);
            if let Some(wait) = wait {
                view.restarts = view.restarts.saturating_add(1);
                view.next_start_unix_ms = unix_ms() + i64::try_from(wait.as_millis()).unwrap_or(0);
            }
        });
        wait
    }

    fn tell_exit(&self, exit: &Exit, phase: Phase) {
        let severity = match phase {
            Phase::CrashLoop => Severity::Error,
            _ if exit.is_success() => Severity::Info,
            _ => Severity::Warning,
        };
        let reason = if phase == Phase::CrashLoop {
            "InstanceCrashLoop"
        } else {
            "InstanceExited"
        };
        tracing::info!(instance = %self.name, exit = exit.message, phase = phase.as_str(), "instance ended");
        let event = self
            .event(severity, reason, &exit.message)
            .with_details(&exit.log_tail);
        self.shared.events.add(event);
    }

    fn can_not_start(&mut self, reason: &str) -> Duration {
        if self.failure.as_deref() != Some(reason) {
            self.failure = Some(reason.to_owned());
            tracing::warn!(instance = %self.name, reason, "instance can't be started");
            let event = self.event(Severity::Error, "InstanceFailed", reason);
            self.shared.events.add(event);
            self.shared.logs.note(&self.name, reason.to_owned());
        }
        let next = unix_ms() + i64::try_from(FAILED_RETRY.as_millis()).unwrap_or(0);
        self.shared.board.update(&self.name, |view| {
            view.phase = Phase::Failed;
            view.reason = reason.to_owned();
            view.next_start_unix_ms = next;
        });
        FAILED_RETRY
    }

    fn event(&self, severity: Severity, reason: &str, message: &str) -> Event {
        Event::new(severity, reason, message).about(&self.instance)
    }
}

/// What is kept of a node's declaration, and sent with every status.
fn bounded(mut parameters: Vec<Parameter>) -> Vec<Parameter> {
    let mut left = MAX_DECLARATION_BYTES;
    let mut fits = |parameter: &Parameter| {
        left = left.saturating_sub(node::size(parameter));
        left > 0
    };
    let kept = parameters
        .iter()
        .take(MAX_PARAMETERS)
        .take_while(|one| fits(one))
        .count();
    parameters.truncate(kept);
    parameters
}

async fn next_stop(
    stop: &mut watch::Receiver<Option<Duration>>,
) -> Result<Duration, watch::error::RecvError> {
    stop.wait_for(Option::is_some)
        .await
        .map(|limit| limit.unwrap_or_default())
}

/// Stop call, then SIGTERM to the group if the node does not take it or still runs at half time,
/// then SIGKILL.
async fn stop_process(
    child: &mut Child,
    pid: u32,
    socket: &std::path::Path,
    grace: Duration,
) -> Option<ExitStatus> {
    let deadline = tokio::time::Instant::now() + grace;
    let asked = tokio::time::timeout(STOP_CALL.min(grace), node::stop(socket, grace)).await;
    if asked == Ok(true)
        && let Ok(status) = tokio::time::timeout(grace / 2, child.wait()).await
    {
        return known(status);
    }
    process::signal_group(pid, Signal::TERM);
    if let Ok(status) = tokio::time::timeout_at(deadline, child.wait()).await {
        return known(status);
    }
    tracing::info!(pid, "the grace is over, killing the process group");
    process::signal_group(pid, Signal::KILL);
    known(child.wait().await)
}

fn known(status: std::io::Result<ExitStatus>) -> Option<ExitStatus> {
    status
        .inspect_err(|error| tracing::error!(%error, "a process can't be waited for"))
        .ok()
}
