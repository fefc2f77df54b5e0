//! One session of one agent: what arrives is applied, what is desired is sent. Ends when the agent
//! falls silent, when a newer session opens, or when the device is no longer trusted.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use edgeflow_proto::{
    SESSION_PROTOCOL_MAX, SESSION_PROTOCOL_MIN,
    v1::{self, agent_message::Message as Up, control_message::Message as Down},
};
use edgeflow_runtime::logging::chain;
use futures_util::{Stream, StreamExt};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{Opened, Refusal};
use crate::{
    clock::now_ms,
    service::{Service, ServiceError, SessionStart},
    traces::Traces,
};

/// How often an agent of a small fleet says that it is there.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Heartbeats a second of the whole fleet: a larger fleet beats more slowly.
const HEARTBEATS_PER_SECOND: f64 = 50.0;
/// However large the fleet is, so that an agent's end is known within [`MISSED_HEARTBEATS`] of these.
const MAX_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
/// Silent for this many intervals: gone.
const MISSED_HEARTBEATS: u32 = 3;
/// Time for the first message.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Events that wait while the database can't take them.
const MAX_PENDING_EVENTS: usize = 1_000;
/// How often waiting events are tried again.
const EVENT_RETRY: Duration = Duration::from_secs(2);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The first message was late or another one.
    #[error("the first message of a session has to be Hello, within {HELLO_TIMEOUT:?}")]
    NoHello,
    /// No common protocol.
    #[error(
        "the agent speaks session protocol {min} to {max}, this control plane {SESSION_PROTOCOL_MIN} to {SESSION_PROTOCOL_MAX}; upgrade the older one"
    )]
    Protocol {
        /// Lowest of the agent.
        min: u32,
        /// Highest of the agent.
        max: u32,
    },
    /// A newer session of the same device.
    #[error("a newer session of this device has taken over")]
    Superseded,
    /// The device was deleted or its certificate revoked, or the server stops.
    #[error("the session was closed by the control plane")]
    Closed,
    /// Silence.
    #[error("no heartbeat for {0:?}")]
    Silent(Duration),
    /// Too many events that can't be stored.
    #[error("the database can't take events; they stay on the device")]
    EventsBlocked,
    /// The rules refuse.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// A device's place in the fleet while its stream lasts.
#[derive(Debug)]
pub struct Session {
    service: Arc<Service>,
    traces: Arc<Traces>,
    device: SessionStart,
    opened: Opened,
    out: mpsc::Sender<v1::ControlMessage>,
    heartbeat: Duration,
    stored_sequence: u64,
    // The generation and hash that are durable on the device, as far as we know.
    durable: (u64, String),
    pending: VecDeque<v1::EventReport>,
}

/// Runs a session until it ends. The error is for the agent; a stream that just ended is none.
pub async fn run<S, E>(
    service: Arc<Service>,
    traces: Arc<Traces>,
    device_id: &str,
    mut inbound: S,
    out: mpsc::Sender<v1::ControlMessage>,
) -> Result<(), SessionError>
where
    S: Stream<Item = Result<v1::AgentMessage, E>> + Unpin + Send,
{
    let first = timeout(HELLO_TIMEOUT, inbound.next()).await;
    let Ok(Some(Ok(v1::AgentMessage {
        message: Some(Up::Hello(hello)),
    }))) = first
    else {
        return Err(SessionError::NoHello);
    };
    let protocol = negotiate(&hello)?;
    let device = service.start_session(device_id, &hello).await?;
    let Some(opened) = service.fleet().open(device_id, device.epoch) else {
        return Err(SessionError::Superseded);
    };
    let epoch = device.epoch;
    tracing::info!(device = %device.name, epoch, "agent connected");
    let mut session = Session {
        stored_sequence: device.event_sequence,
        durable: (hello.applied_generation, hello.applied_hash),
        service: Arc::clone(&service),
        traces,
        device,
        opened,
        out,
        heartbeat: heartbeat_interval(service.fleet().online().len()),
        pending: VecDeque::new(),
    };
    let result = session.serve(protocol, &mut inbound).await;
    let name = session.device.name.clone();
    if service.fleet().close(device_id, epoch) {
        let reason = match &result {
            Ok(()) => "the connection ended".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::info!(device = %name, epoch, reason, "agent disconnected");
        service.end_session(device_id, &reason).await;
    }
    result
}

/// The interval for a session that opens while `connected` agents are there.
fn heartbeat_interval(connected: usize) -> Duration {
    let shared = Duration::from_secs_f64(connected as f64 / HEARTBEATS_PER_SECOND);
    shared.clamp(HEARTBEAT_INTERVAL, MAX_HEARTBEAT_INTERVAL)
}

fn negotiate(hello: &v1::Hello) -> Result<u32, SessionError> {
    let highest = hello.protocol_max.min(SESSION_PROTOCOL_MAX);
    if highest < hello.protocol_min.max(SESSION_PROTOCOL_MIN) {
        return Err(SessionError::Protocol {
            min: hello.protocol_min,
            max: hello.protocol_max,
        });
    }
    Ok(highest)
}

impl Session {
    async fn serve<S, E>(&mut self, protocol: u32, inbound: &mut S) -> Result<(), SessionError>
    where
        S: Stream<Item = Result<v1::AgentMessage, E>> + Unpin + Send,
    {
        self.send(Down::Welcome(v1::Welcome {
            connection_epoch: self.device.epoch,
            heartbeat_interval_ms: u32::try_from(self.heartbeat.as_millis()).unwrap_or(u32::MAX),
            server_unix_ms: now_ms(),
            protocol,
            device_name: self.device.name.clone(),
            spans: self.traces.are_wanted(),
        }))
        .await?;
        self.opened.desired.mark_changed();
        let silence = self.heartbeat * MISSED_HEARTBEATS;
        let mut last_heard = Instant::now();
        let mut retry = interval(EVENT_RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.opened.cancel.cancelled() => {
                    let superseded = self.service.fleet().live(&self.device.id).epoch > self.device.epoch;
                    return Err(if superseded { SessionError::Superseded } else { SessionError::Closed });
                }
                () = tokio::time::sleep_until(last_heard + silence) => {
                    return Err(SessionError::Silent(silence));
                }
                message = inbound.next() => {
                    last_heard = Instant::now();
                    match message {
                        Some(Ok(message)) => self.receive(message).await?,
                        Some(Err(_)) | None => return Ok(()),
                    }
                }
                changed = self.opened.desired.changed() => {
                    if changed.is_err() {
                        return Err(SessionError::Closed);
                    }
                    self.send_desired().await?;
                }
                Some(command) = self.opened.commands.recv() => self.send(Down::Command(command)).await?,
                _ = retry.tick(), if !self.pending.is_empty() => self.store_events().await?,
            }
        }
    }

    async fn send(&self, message: Down) -> Result<(), SessionError> {
        let message = v1::ControlMessage {
            message: Some(message),
        };
        let silence = self.heartbeat * MISSED_HEARTBEATS;
        match timeout(silence, self.out.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(SessionError::Closed),
            Err(_) => Err(SessionError::Silent(silence)),
        }
    }

    async fn send_desired(&mut self) -> Result<(), SessionError> {
        let Some(desired) = self.opened.desired.borrow_and_update().clone() else {
            return Ok(());
        };
        if self.durable.0 == desired.generation && self.durable.1 == desired.hash {
            return Ok(());
        }
        self.send(Down::Assignment(desired)).await
    }

    async fn receive(&mut self, message: v1::AgentMessage) -> Result<(), SessionError> {
        let id = self.device.id.clone();
        let service = Arc::clone(&self.service);
        match message.message {
            Some(Up::Heartbeat(_)) => {
                service.fleet().seen(&id, self.device.epoch);
                self.send(Down::Heartbeat(v1::Heartbeat {})).await
            }
            Some(Up::Status(status)) => {
                if let Some(facts) = &status.facts {
                    // Facts of a bad report are not worth a session.
                    if let Err(error) = service.set_facts(&id, facts).await {
                        tracing::warn!(device = %self.device.name, error = chain(&error), "facts were not stored");
                    }
                }
                service.fleet().report(&id, self.device.epoch, status);
                Ok(())
            }
            Some(Up::DeadLetters(report)) => {
                service.dead_letters().answered(&id, report);
                Ok(())
            }
            Some(Up::Spans(report)) => {
                self.traces.add(&self.device.name, report);
                Ok(())
            }
            Some(Up::Ack(ack)) => self.acknowledged(ack).await,
            Some(Up::Event(event)) => {
                if self.pending.len() >= MAX_PENDING_EVENTS {
                    return Err(SessionError::EventsBlocked);
                }
                let waiting = !self.pending.is_empty();
                self.pending.push_back(event);
                if waiting {
                    // The timer tries all of them together.
                    return Ok(());
                }
                self.store_events().await
            }
            // A second Hello, or something newer than this version.
            Some(Up::Hello(_)) | None => Ok(()),
        }
    }

    async fn acknowledged(&mut self, ack: v1::AssignmentAck) -> Result<(), SessionError> {
        let epoch = self.device.epoch;
        let id = &self.device.id;
        if ack.result() == v1::AckResult::Accepted {
            self.durable = (ack.generation, ack.hash);
            self.service.fleet().refused(id, epoch, None);
            return Ok(());
        }
        let reason = match ack.result() {
            v1::AckResult::RefusedStale => "it has a newer one",
            v1::AckResult::RefusedConflict => "it has another one with the same generation",
            v1::AckResult::RefusedInvalid => "it can't read it",
            v1::AckResult::FailedStore => "it can't store it",
            _ => "for an unknown reason",
        };
        let detail = if ack.message.is_empty() {
            String::new()
        } else {
            format!(": {}", ack.message)
        };
        let refusal = Refusal {
            generation: ack.generation,
            message: format!(
                "the device refused assignment {}, {reason}{detail}",
                ack.generation
            ),
            since_ms: now_ms(),
        };
        self.service
            .fleet()
            .refused(id, epoch, Some(refusal.clone()));
        // The reason shows on the device even if the event can't be stored.
        if let Err(error) = self.service.assignment_refused(id, &refusal.message).await {
            tracing::warn!(device = %self.device.name, error = chain(&error), "an event was not stored");
        }
        Ok(())
    }

    /// Stores what waits, and acknowledges only what is stored.
    async fn store_events(&mut self) -> Result<(), SessionError> {
        let events: Vec<_> = self.pending.iter().cloned().collect();
        match self
            .service
            .store_device_events(&self.device.id, self.stored_sequence, &events)
            .await
        {
            Ok(sequence) => {
                self.pending.clear();
                self.stored_sequence = sequence;
                self.send(Down::EventAck(v1::EventAck { sequence })).await
            }
            Err(ServiceError::Store(error)) => {
                tracing::warn!(device = %self.device.name, waiting = events.len(), error = chain(&error), "events can't be stored yet");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_beats_more_slowly_up_to_a_limit() {
        assert_eq!(heartbeat_interval(0), HEARTBEAT_INTERVAL);
        assert_eq!(heartbeat_interval(200), HEARTBEAT_INTERVAL);
        assert_eq!(heartbeat_interval(1_000), Duration::from_secs(20));
        assert_eq!(heartbeat_interval(100_000), MAX_HEARTBEAT_INTERVAL);
    }
}
