//! Waits until systems run, and shows the way there. The server does the waiting; this draws it,
//! and dials again when the connection is lost meanwhile.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use edgeflow_proto::v1;
use tokio::sync::mpsc;

use crate::{
    client::{Client, Reconnect},
    failure::{Exit, Failure, Outcome},
    output::{
        self,
        colour::{self, Paint},
        live::Live,
        table::{Cell, Table},
        time::elapsed,
    },
    view::{instance::InstanceView, system::SystemView},
};

/// How long a lost connection is dialled again before the wait fails.
const RECONNECT_FOR: Duration = Duration::from_secs(30);
const RECONNECT_EVERY: Duration = Duration::from_millis(500);
/// The clock in the live table moves this often.
const TICK: Duration = Duration::from_millis(500);
/// What the client grants the server beyond the timeout it was told.
const GRACE: Duration = Duration::from_secs(3);
/// Updates that may be queued for drawing.
const QUEUE: usize = 64;
/// Log lines of a failed instance that are shown.
const TAIL_LINES: usize = 10;
/// Failed instances that are shown with their log lines.
const MAX_SHOWN: usize = 5;

/// What a follower of a system reports.
#[derive(Debug)]
enum Update {
    /// The system as it is now; `settled` on the last one.
    System {
        system: Box<SystemView>,
        settled: bool,
    },
    /// It can't be followed any more.
    Failed(Failure),
}

/// Follows one system and sends what it sees until it is settled.
async fn follow(
    client: Client,
    name: String,
    revision: u64,
    deadline: Instant,
    updates: mpsc::Sender<Update>,
) {
    let mut reconnect = Reconnect::new(RECONNECT_FOR, RECONNECT_EVERY);
    loop {
        let watched = watch_once(&client, &name, revision, deadline, &updates, &mut reconnect);
        let status = match watched.await {
            Ok(()) => return,
            Err(status) => status,
        };
        if !reconnect.again(&status).await {
            let failure = client.failure(&format!("follow the system {name}"), &status);
            let _ = updates.send(Update::Failed(failure)).await;
            return;
        }
    }
}

async fn watch_once(
    client: &Client,
    name: &str,
    revision: u64,
    deadline: Instant,
    updates: &mpsc::Sender<Update>,
    reconnect: &mut Reconnect,
) -> Result<(), tonic::Status> {
    let left = deadline.saturating_duration_since(Instant::now());
    let request = v1::WatchSystemRequest {
        name: name.to_owned(),
        until_settled: true,
        revision,
        // 0 would be no limit.
        timeout_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1),
    };
    let mut stream = client.api().watch_system(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        reconnect.heard();
        let system = Box::new(SystemView::from(message.system.unwrap_or_default()));
        let settled = message.settled;
        if updates
            .send(Update::System { system, settled })
            .await
            .is_err()
            || settled
        {
            return Ok(());
        }
    }
    Err(tonic::Status::unavailable(
        "the control plane ended the watch",
    ))
}

/// Waits until each system has settled at its revision, or time is up.
pub(crate) async fn until_settled(
    client: &Client,
    systems: &[(String, u64)],
    timeout: Duration,
) -> Outcome<Vec<SystemView>> {
    let started = Instant::now();
    let deadline = started + timeout;
    let (sender, mut updates) = mpsc::channel(QUEUE);
    let mut tasks = tokio::task::JoinSet::new();
    for (name, revision) in systems {
        tasks.spawn(follow(
            client.clone(),
            name.clone(),
            *revision,
            deadline,
            sender.clone(),
        ));
    }
    drop(sender);
    let mut board = Board::new(started);
    let mut settled = Vec::new();
    let mut failure = None;
    let over = tokio::time::sleep(timeout + GRACE);
    tokio::pin!(over);
    while settled.len() < systems.len() && failure.is_none() {
        tokio::select! {
            update = updates.recv() => match update {
                Some(Update::System { system, settled: true }) => {
                    board.update(&system);
                    settled.push(*system);
                }
                Some(Update::System { system, settled: false }) => board.update(&system),
                Some(Update::Failed(cause)) => failure = Some(cause),
                None => break,
            },
            () = tokio::time::sleep(TICK) => board.draw(),
            () = &mut over => failure = Some(Failure::new(Exit::Timeout, "")),
        }
    }
    board.live.clear();
    match failure {
        Some(failure) if failure.exit == Exit::Timeout => Err(timed_out(&board, timeout)),
        Some(failure) => Err(failure),
        None => verdict(settled, started),
    }
}

fn timed_out(board: &Board, timeout: Duration) -> Failure {
    let waiting: Vec<String> = board
        .systems
        .values()
        .filter(|system| system.phase != "ready")
        .map(|system| {
            format!(
                "{}: {} ready. {}",
                system.name,
                system.ready_text(),
                system.message
            )
        })
        .chain(
            board
                .instances()
                .filter(|one| one.phase != "ready")
                .map(describe),
        )
        .collect();
    Failure::new(
        Exit::Timeout,
        format!("not ready after {}", elapsed(timeout)),
    )
    .why(waiting.join("\n"))
    .next("the change itself is done, and devices go on with it: edgeflow get instances")
    .next("wait longer with --timeout 10m, or not at all with --no-wait")
}

/// Turns settled systems into success or the reasons why not.
fn verdict(systems: Vec<SystemView>, started: Instant) -> Outcome<Vec<SystemView>> {
    let paint = colour::stderr();
    for system in systems.iter().filter(|system| system.phase == "ready") {
        output::note(format!(
            "{} {}: {} ready on {} in {}",
            paint.bold(&system.name),
            paint.good("runs"),
            system.ready_text(),
            count(system.devices_ready, "device"),
            elapsed(started.elapsed()),
        ));
    }
    let unplaced = systems.iter().find(|system| system.phase == "unplaced");
    let bad: Vec<&SystemView> = systems.iter().filter(|one| one.phase != "ready").collect();
    if bad.is_empty() {
        return Ok(systems);
    }
    if let Some(system) = unplaced {
        let selector = if system.selector.is_empty() {
            "no device has joined yet".to_owned()
        } else {
            format!("no device matches the selector `{}`", system.selector)
        };
        return Err(Failure::failed(format!("{} runs nowhere", system.name))
            .why(selector)
            .next("see the devices and their labels: edgeflow get devices")
            .next("it starts by itself as soon as a device matches; add one: edgeflow token create")
            .next("to apply ahead of the devices on purpose, use --no-wait"));
    }
    let names: Vec<&str> = bad.iter().map(|system| system.name.as_str()).collect();
    let reasons: Vec<String> = bad.iter().map(|system| reasons(system)).collect();
    let first = bad.first().map_or("", |system| system.name.as_str());
    Err(
        Failure::failed(format!("{} does not run", names.join(", ")))
            .why(reasons.join("\n"))
            .next(format!("read what the nodes say: edgeflow logs {first}"))
            .next(format!(
                "go back to what ran before: edgeflow rollback {first}"
            )),
    )
}

fn reasons(system: &SystemView) -> String {
    let mut lines = vec![format!("{}: {}", system.name, system.message)];
    let bad: Vec<&InstanceView> = system.instances.iter().filter(|one| one.is_bad()).collect();
    for instance in bad.iter().take(MAX_SHOWN) {
        lines.push(describe(instance));
        if let Some(exit) = &instance.last_exit {
            let skip = exit.log_tail.len().saturating_sub(TAIL_LINES);
            lines.extend(
                exit.log_tail
                    .iter()
                    .skip(skip)
                    .map(|line| format!("    | {line}")),
            );
        }
    }
    if bad.len() > MAX_SHOWN {
        lines.push(format!("… and {} more", bad.len() - MAX_SHOWN));
    }
    lines.join("\n")
}

fn describe(instance: &InstanceView) -> String {
    let words = instance.words();
    let colon = if words.is_empty() { "" } else { ": " };
    format!(
        "  {} on {} is {}{colon}{words}",
        instance.short_name(),
        instance.device,
        instance.phase
    )
}

/// `1 device`, `2 devices`.
pub(crate) fn count(number: u32, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The table that is redrawn on a terminal, or the lines that say what changed without one.
#[derive(Debug)]
pub(crate) struct Board {
    started: Instant,
    pub(crate) live: Live,
    systems: BTreeMap<String, SystemView>,
    said: BTreeMap<String, String>,
}

impl Board {
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            started,
            live: Live::new(),
            systems: BTreeMap::new(),
            said: BTreeMap::new(),
        }
    }

    /// Takes a new state and shows it.
    pub(crate) fn update(&mut self, system: &SystemView) {
        if !self.live.is_terminal() {
            self.say(system);
        }
        self.systems.insert(system.name.clone(), system.clone());
        self.draw();
    }

    /// No longer there.
    pub(crate) fn remove(&mut self, system: &str) {
        self.systems.remove(system);
        self.draw();
    }

    fn instances(&self) -> impl Iterator<Item = &InstanceView> {
        self.systems.values().flat_map(|system| &system.instances)
    }

    pub(crate) fn draw(&mut self) {
        let paint = colour::stderr();
        let mut lines = Vec::new();
        for system in self.systems.values() {
            lines.push(headline(system, self.started, paint));
            if !system.instances.is_empty() {
                lines.extend(
                    table(system)
                        .lines(paint)
                        .into_iter()
                        .map(|line| format!("  {line}")),
                );
            }
        }
        self.live.draw(&lines);
    }

    fn say(&mut self, system: &SystemView) {
        let mut now = BTreeMap::new();
        let place = format!("{} {}", system.phase, system.message);
        now.insert(
            system.name.clone(),
            format!("{} {}", system.ready_text(), place.trim()),
        );
        for instance in &system.instances {
            let key = format!(
                "{}/{} on {}",
                system.name,
                instance.short_name(),
                instance.device
            );
            now.insert(key, format!("{} {}", instance.phase, instance.words()));
        }
        for (key, text) in now {
            if self.said.get(&key) != Some(&text) {
                output::note(format!("{key}: {}", text.trim()));
                self.said.insert(key, text);
            }
        }
    }
}

fn headline(system: &SystemView, started: Instant, paint: Paint) -> String {
    format!(
        "{}  revision {}  {}  {} ready  {}  {}",
        paint.bold(&system.name),
        system.revision,
        paint.style(system.phase_style(), system.phase),
        system.ready_text(),
        paint.dim(&elapsed(started.elapsed())),
        system.message,
    )
}

fn table(system: &SystemView) -> Table {
    let mut table = Table::new(vec!["NODE", "DEVICE", "PHASE", "FPS", "RESTARTS", "REASON"]);
    for instance in &system.instances {
        table.push(vec![
            Cell::from(instance.short_name()),
            instance.device.as_str().into(),
            Cell::styled(instance.phase, instance.phase_style()),
            instance.fps_text().into(),
            instance.restarts.to_string().into(),
            instance.words().into(),
        ]);
    }
    table
}
