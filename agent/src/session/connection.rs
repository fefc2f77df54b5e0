//! One session from its connection to its end. Sends what changed, takes what comes; a slow or
//! silent server ends it, and the next one starts with the whole state.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use edgeflow_proto::{
    SESSION_PROTOCOL_MAX, SESSION_PROTOCOL_MIN,
    v1::{
        AckResult, AgentMessage, Assignment, AssignmentAck, ControlMessage, Heartbeat, Hello,
        Welcome, agent_message, agent_service_client::AgentServiceClient, control_message,
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{Context, commands::Commands, convert, dial, fetch, renew};
use crate::{
    conditions,
    events::{Event, Severity},
    inventory,
    ledger::{MAX_BODY_BYTES, Refusal},
    links,
};

/// Messages that wait for the connection.
const OUTBOUND: usize = 64;
/// Events in one go; the rest follows on acknowledgement.
const EVENTS_IN_FLIGHT: usize = 32;
/// Spans that go with each status.
const SPANS_IN_A_REPORT: usize = 512;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Changes of a moment share a report.
const STATUS_DELAY: Duration = Duration::from_millis(10);
/// An assignment that could not be written is tried again this often.
const STORE_RETRY: Duration = Duration::from_secs(5);
const STATUS_PERIOD: Duration = Duration::from_secs(1);
/// Without instances there is little to tell.
const STATUS_PERIOD_IDLE: Duration = Duration::from_secs(5);
const FACTS_PERIOD: Duration = Duration::from_secs(30);
const MIN_HEARTBEAT: Duration = Duration::from_secs(1);
const MAX_HEARTBEAT: Duration = Duration::from_secs(300);
/// Heartbeats of the server that may be missing.
const MISSED_HEARTBEATS: u32 = 3;

/// How a session ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// There was a welcome.
    pub(super) established: bool,
    /// The server does not know or want this device.
    pub(super) refused: bool,
    /// In words.
    pub(super) reason: String,
}

impl Ended {
    fn new(established: bool, reason: impl Into<String>) -> Self {
        Self {
            established,
            refused: false,
            reason: reason.into(),
        }
    }

    fn status(established: bool, status: &Status) -> Self {
        Self {
            established,
            refused: matches!(
                status.code(),
                Code::Unauthenticated | Code::PermissionDenied
            ),
            reason: dial::words(status),
        }
    }
}

/// Connects and serves the session until it ends.
pub(super) async fn run(context: &Arc<Context>) -> Ended {
    let identity = context.identity.borrow().clone();
    let endpoint = match dial::endpoint(&context.server, &identity) {
        Ok(endpoint) => endpoint,
        Err(error) => return Ended::new(false, edgeflow_runtime::logging::chain(&error)),
    };
    let channel = match dial::connect(&context.server, &endpoint).await {
        Ok(channel) => channel,
        Err(error) => return Ended::new(false, edgeflow_runtime::logging::chain(&error)),
    };
    let (outbound, queue) = mpsc::channel(OUTBOUND);
    let found = tokio::net::lookup_host(&context.server).await;
    let server = found.ok().and_then(|mut found| found.next());
    let greeted = greet(context, channel.clone(), &outbound, queue, server);
    let (welcome, inbound) = match greeted.await {
        Ok(greeted) => greeted,
        Err(status) => return Ended::status(false, &status),
    };
    tracing::info!(
        server = context.server,
        device = welcome.device_name,
        epoch = welcome.connection_epoch,
        "session established"
    );
    context.metrics.connected.set(1);
    context.spans.want(welcome.spans);
    context.metrics.sessions.inc();
    if !welcome.device_name.is_empty() {
        context.device.send_replace(welcome.device_name.clone());
    }
    let interval = Duration::from_millis(u64::from(welcome.heartbeat_interval_ms))
        .clamp(MIN_HEARTBEAT, MAX_HEARTBEAT);
    let connection = Connection {
        // Views and logs get a connection of their own, made when the first one is asked for.
        commands: Commands::new(
            Arc::clone(context),
            endpoint.connect_lazy(),
            outbound.clone(),
        ),
        context: Arc::clone(context),
        outbound,
        last_event: 0,
        server,
        facts: None,
        facts_at: Instant::now(),
        unstored: None,
    };
    let models = endpoint.connect_lazy();
    tokio::select! {
        ended = connection.serve(inbound, interval) => ended,
        () = renew::run(context, channel) => Ended::new(true, "renewal ended"),
        () = fetch::run(context, models) => Ended::new(true, "fetching ended"),
    }
}

async fn greet(
    context: &Context,
    channel: Channel,
    outbound: &mpsc::Sender<AgentMessage>,
    queue: mpsc::Receiver<AgentMessage>,
    server: Option<SocketAddr>,
) -> Result<(Welcome, Streaming<ControlMessage>), Status> {
    let held = context.ledger.current();
    let hello = Hello {
        boot_id: inventory::boot_id(),
        protocol_min: SESSION_PROTOCOL_MIN,
        protocol_max: SESSION_PROTOCOL_MAX,
        applied_generation: held.as_ref().map_or(0, |held| held.generation),
        applied_hash: held
            .as_ref()
            .map_or_else(String::new, |held| held.hash.clone()),
        next_event_sequence: context.events.next_sequence(),
        facts: Some(convert::facts(facts(context, server))),
    };
    send(outbound, agent_message::Message::Hello(hello))
        .map_err(|_| Status::internal("the session's queue is closed"))?;
    let mut client =
        AgentServiceClient::new(channel).max_decoding_message_size(MAX_BODY_BYTES + 64 * 1024);
    let late = |_| Status::deadline_exceeded("the control plane does not answer");
    let mut inbound = timeout(ANSWER_TIMEOUT, client.session(ReceiverStream::new(queue)))
        .await
        .map_err(late)??
        .into_inner();
    let first = timeout(ANSWER_TIMEOUT, inbound.message())
        .await
        .map_err(late)??;
    match first.and_then(|first| first.message) {
        Some(control_message::Message::Welcome(welcome)) => Ok((welcome, inbound)),
        _ => Err(Status::internal("the control plane sent no welcome")),
    }
}

/// What this device is, with where other devices find it.
fn facts(context: &Context, server: Option<SocketAddr>) -> inventory::Facts {
    inventory::Facts {
        link_addresses: links::addresses(&context.links, server),
        cameras: context.cameras.borrow().clone(),
        ..inventory::facts()
    }
}

/// Fails when the server has not read for so long that the queue is full.
fn send(
    outbound: &mpsc::Sender<AgentMessage>,
    message: agent_message::Message,
) -> Result<(), Ended> {
    let message = AgentMessage {
        message: Some(message),
    };
    outbound
        .try_send(message)
        .map_err(|_| Ended::new(true, "the control plane does not read"))
}

struct Connection {
    context: Arc<Context>,
    commands: Commands,
    outbound: mpsc::Sender<AgentMessage>,
    last_event: u64,
    /// The control plane's address, for the way that leads there.
    server: Option<SocketAddr>,
    facts: Option<inventory::Facts>,
    facts_at: Instant,
    /// The newest assignment, while it could not be written.
    unstored: Option<Assignment>,
}

impl Connection {
    async fn serve(mut self, mut inbound: Streaming<ControlMessage>, interval: Duration) -> Ended {
        let context = Arc::clone(&self.context);
        let mut board = context.board.watch();
        let mut applied = context.applied.clone();
        let mut cameras = context.cameras.clone();
        let mut heartbeat = tokio::time::interval(interval.mul_f64(rand::random_range(0.8..1.0)));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retry = tokio::time::interval(STORE_RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let silence = interval * MISSED_HEARTBEATS;
        let mut heard = Instant::now();
        let mut status_at = Instant::now();
        if let Err(ended) = self.send_events() {
            return ended;
        }
        loop {
            let soon = Instant::now() + STATUS_DELAY;
            let done = tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => {
                        heard = Instant::now();
                        self.take(message).await
                    }
                    Ok(None) => Err(Ended::new(true, "the control plane ended the session")),
                    Err(status) => Err(Ended::status(true, &status)),
                },
                Ok(()) = board.changed() => { status_at = status_at.min(soon); Ok(()) }
                Ok(()) = applied.changed() => { status_at = status_at.min(soon); Ok(()) }
                Ok(()) = cameras.changed() => {
                    self.facts = None;
                    status_at = status_at.min(soon);
                    Ok(())
                }
                () = context.conditions.changed() => { status_at = status_at.min(soon); Ok(()) }
                () = context.events.added() => self.send_events(),
                () = tokio::time::sleep_until(status_at) => {
                    status_at = Instant::now() + self.status_period();
                    self.send_status().and_then(|()| self.send_spans())
                }
                _ = retry.tick(), if self.unstored.is_some() => self.store_again().await,
                _ = heartbeat.tick() => {
                    if heard.elapsed() > silence {
                        Err(Ended::new(true, "the control plane is silent"))
                    } else {
                        send(&self.outbound, agent_message::Message::Heartbeat(Heartbeat {}))
                    }
                }
            };
            if let Err(ended) = done {
                return ended;
            }
        }
    }

    fn status_period(&self) -> Duration {
        if self.context.board.running().is_empty() {
            STATUS_PERIOD_IDLE
        } else {
            STATUS_PERIOD
        }
    }

    /// The latest state wins: with a queue that is half full the next one will do.
    fn send_status(&mut self) -> Result<(), Ended> {
        if self.outbound.capacity() < OUTBOUND / 2 {
            return Ok(());
        }
        let mut changed = None;
        if self.facts.is_none() || self.facts_at.elapsed() >= FACTS_PERIOD {
            self.facts_at = Instant::now();
            let facts = facts(&self.context, self.server);
            if self.facts.as_ref() != Some(&facts) {
                changed = Some(facts.clone());
                self.facts = Some(facts);
            }
        }
        let status = convert::status(&self.context, changed);
        send(&self.outbound, agent_message::Message::Status(status))
    }

    /// What does not go now waits; what is over the queue's limit is lost and counted.
    fn send_spans(&mut self) -> Result<(), Ended> {
        if self.outbound.capacity() < OUTBOUND / 2 {
            return Ok(());
        }
        let (spans, lost) = self.context.spans.take(SPANS_IN_A_REPORT);
        if spans.is_empty() && lost == 0 {
            return Ok(());
        }
        let report = convert::spans(spans, lost);
        send(&self.outbound, agent_message::Message::Spans(report))
    }

    fn send_events(&mut self) -> Result<(), Ended> {
        let room = self.outbound.capacity().saturating_sub(OUTBOUND / 4);
        let events = self
            .context
            .events
            .after(self.last_event, room.min(EVENTS_IN_FLIGHT));
        for event in events {
            self.last_event = event.0.sequence;
            let picture = self.context.events.picture(self.last_event);
            let report = convert::event(event, picture);
            send(&self.outbound, agent_message::Message::Event(report))?;
        }
        Ok(())
    }

    /// A disk that was full may have room again; the server does not send the assignment twice.
    async fn store_again(&mut self) -> Result<(), Ended> {
        let Some(assignment) = self.unstored.clone() else {
            return Ok(());
        };
        let ack = accept(&self.context, assignment, Attempt::Again).await;
        if ack.result() == AckResult::FailedStore {
            return Ok(());
        }
        self.unstored = None;
        send(&self.outbound, agent_message::Message::Ack(ack))
    }

    async fn take(&mut self, message: ControlMessage) -> Result<(), Ended> {
        match message.message {
            Some(control_message::Message::Assignment(assignment)) => {
                let ack = accept(&self.context, assignment.clone(), Attempt::First).await;
                let failed = ack.result() == AckResult::FailedStore;
                self.unstored = failed.then_some(assignment);
                send(&self.outbound, agent_message::Message::Ack(ack))
            }
            Some(control_message::Message::Command(command)) => {
                self.commands.take(command);
                Ok(())
            }
            Some(control_message::Message::EventAck(ack)) => {
                self.context.events.acknowledge(ack.sequence);
                self.send_events()
            }
            // A message of a newer server is left out.
            Some(control_message::Message::Welcome(_) | control_message::Message::Heartbeat(_))
            | None => Ok(()),
        }
    }
}

/// Whether a failure is news.
#[derive(Clone, Copy, PartialEq)]
enum Attempt {
    First,
    Again,
}

/// Makes an assignment durable and says whether it is.
async fn accept(context: &Arc<Context>, assignment: Assignment, attempt: Attempt) -> AssignmentAck {
    let Assignment {
        generation,
        hash,
        body,
    } = assignment;
    let ledger = Arc::clone(&context.ledger);
    let sent_hash = hash.clone();
    let stored =
        tokio::task::spawn_blocking(move || ledger.accept(generation, &sent_hash, &body)).await;
    let refusal = match stored {
        Ok(Ok(_)) => None,
        Ok(Err(refusal)) => Some(refusal),
        Err(error) => Some(Refusal::Invalid(error.to_string())),
    };
    let (result, message) = match &refusal {
        None => {
            context.conditions.clear(conditions::ASSIGNMENT);
            context.wake.notify_one();
            (AckResult::Accepted, String::new())
        }
        Some(refusal) => {
            let message = edgeflow_runtime::logging::chain(refusal);
            context
                .conditions
                .set(conditions::ASSIGNMENT, message.clone());
            if attempt == Attempt::First {
                let reason = "AssignmentRefused";
                let event = Event::new(Severity::Error, reason, message.clone());
                context.events.add(event);
            }
            (result_of(refusal), message)
        }
    };
    AssignmentAck {
        generation,
        hash,
        result: result.into(),
        message,
    }
}

fn result_of(refusal: &Refusal) -> AckResult {
    match refusal {
        Refusal::Stale { .. } => AckResult::RefusedStale,
        Refusal::Conflict { .. } => AckResult::RefusedConflict,
        Refusal::Invalid(_) => AckResult::RefusedInvalid,
        Refusal::Store { .. } => AckResult::FailedStore,
    }
}
