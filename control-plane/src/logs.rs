//! Log lines on their way from agents to a reader. Bounded: a slow reader slows the agents down,
//! which drop lines and say how many.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edgeflow_proto::v1::{self, command};
use futures_util::{Stream, StreamExt};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    clock::now_ms,
    service::{DeviceState, Service, ServiceError},
};

/// Batches of lines between agents and a reader.
const QUEUE: usize = 64;
/// Time for an agent to begin after it was asked.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines an instance when none are asked for.
const DEFAULT_TAIL: u32 = 200;
/// Most lines an instance.
const MAX_TAIL: u32 = 100_000;
/// Devices that one call reads.
const MAX_DEVICES: usize = 256;

type Batch = Vec<v1::LogLine>;

#[derive(Debug)]
struct Sink {
    device_id: String,
    device_name: String,
    lines: mpsc::Sender<Batch>,
}

/// The readers that wait for agents.
#[derive(Debug)]
pub struct Logs {
    service: Arc<Service>,
    sinks: Mutex<HashMap<String, Sink>>,
}

/// Lines for one reader. Dropping it stops the agents.
#[derive(Debug)]
pub struct LogStream {
    logs: Arc<Logs>,
    lines: mpsc::Receiver<Batch>,
    sources: Vec<Source>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Source {
    command_id: String,
    device_id: String,
}

impl Logs {
    /// No readers.
    pub fn new(service: Arc<Service>) -> Self {
        Self {
            service,
            sinks: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Sink>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks every device that runs what is wanted.
    pub fn open(self: &Arc<Self>, request: &v1::LogsRequest) -> Result<LogStream, ServiceError> {
        let devices = self.targets(request)?;
        let (sender, lines) = mpsc::channel(QUEUE);
        let mut stream = LogStream {
            logs: Arc::clone(self),
            lines,
            sources: Vec::new(),
            deadline: Some(Instant::now() + ATTACH_TIMEOUT),
        };
        let mut offline = Vec::new();
        for device in &devices {
            let command_id = uuid::Uuid::new_v4().simple().to_string();
            let name = &device.row.name;
            self.lock().insert(
                command_id.clone(),
                Sink {
                    device_id: device.row.id.clone(),
                    device_name: name.clone(),
                    lines: sender.clone(),
                },
            );
            let command = start(&command_id, request);
            match self.service.fleet().command(&device.row.id, command) {
                Ok(()) => stream.sources.push(Source {
                    command_id,
                    device_id: device.row.id.clone(),
                }),
                Err(error) => {
                    self.lock().remove(&command_id);
                    offline.push((name.clone(), error));
                }
            }
        }
        if stream.sources.is_empty()
            && let Some((name, error)) = offline.first()
        {
            return Err(ServiceError::Unavailable(format!(
                "the logs of {name} can't be read: {error}"
            )));
        }
        for (name, error) in offline {
            let text = format!("the logs of {name} can't be read: {error}");
            // Fewer than QUEUE, or the rest is dropped: it is the same line again.
            let _ = sender.try_send(vec![note(&name, text)]);
        }
        Ok(stream)
    }

    fn targets(&self, request: &v1::LogsRequest) -> Result<Vec<Arc<DeviceState>>, ServiceError> {
        let world = self.service.world();
        if !request.system.is_empty() {
            let system = self.service.system(&request.system)?;
            if !request.node.is_empty() && !system.spec.nodes.contains_key(&request.node) {
                return Err(ServiceError::NotFound(format!(
                    "system {} has no node {}",
                    request.system, request.node
                )));
            }
        }
        let devices: Vec<_> = if request.device.is_empty() {
            world.devices.values().cloned().collect()
        } else {
            vec![self.service.device(&request.device)?]
        };
        let found: Vec<_> = devices
            .into_iter()
            .filter(|device| {
                device.desired.instances.iter().any(|instance| {
                    (request.system.is_empty() || instance.system == request.system)
                        && (request.node.is_empty() || instance.node == request.node)
                        && (request.instance.is_empty() || instance.id == request.instance)
                })
            })
            .take(MAX_DEVICES)
            .collect();
        if found.is_empty() {
            return Err(ServiceError::NotFound(
                "no device runs what you asked the logs of; see `edgeflow get systems`".to_owned(),
            ));
        }
        Ok(found)
    }

    /// Takes lines that a device pushes. Returns whether anybody had asked this device.
    pub async fn receive<S, E>(&self, device_id: &str, first: v1::PushLogs, mut inbound: S) -> bool
    where
        S: Stream<Item = Result<v1::PushLogs, E>> + Unpin + Send,
    {
        let sink = {
            let mut sinks = self.lock();
            match sinks.get(&first.command_id) {
                Some(sink) if sink.device_id == device_id => sinks.remove(&first.command_id),
                _ => None,
            }
        };
        let Some(sink) = sink else { return false };
        let mut message = first;
        loop {
            let mut batch = message.lines;
            for line in &mut batch {
                line.device_name.clone_from(&sink.device_name);
            }
            if message.dropped > 0 {
                let text = format!(
                    "{} lines were dropped: the reader is too slow",
                    message.dropped
                );
                batch.insert(0, note(&sink.device_name, text));
            }
            if !batch.is_empty() && sink.lines.send(batch).await.is_err() {
                return true;
            }
            tokio::select! {
                next = inbound.next() => match next {
                    Some(Ok(next)) => message = next,
                    Some(Err(_)) | None => return true,
                },
                () = sink.lines.closed() => return true,
            }
        }
    }
}

impl LogStream {
    /// The next lines; none at the end.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            let deadline = self.deadline;
            let late = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                batch = self.lines.recv() => return batch,
                () = late => {
                    self.deadline = None;
                    let missing = self.give_up();
                    if !missing.is_empty() {
                        return Some(missing);
                    }
                }
            }
        }
    }

    fn give_up(&self) -> Batch {
        let mut sinks = self.logs.lock();
        self.sources
            .iter()
            .filter_map(|source| sinks.remove(&source.command_id))
            .map(|sink| {
                let text = format!("device {} did not answer", sink.device_name);
                note(&sink.device_name, text)
            })
            .collect()
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        for source in &self.sources {
            self.logs.lock().remove(&source.command_id);
            let stop = v1::Command {
                id: source.command_id.clone(),
                command: Some(command::Command::StopLogs(v1::StopLogs {})),
            };
            // An agent that is gone has stopped by itself.
            let _ = self.logs.service.fleet().command(&source.device_id, stop);
        }
    }
}

fn start(command_id: &str, request: &v1::LogsRequest) -> v1::Command {
    let tail = match request.tail {
        0 => DEFAULT_TAIL,
        tail => tail.min(MAX_TAIL),
    };
    let instances = if request.instance.is_empty() {
        Vec::new()
    } else {
        vec![request.instance.clone()]
    };
    v1::Command {
        id: command_id.to_owned(),
        command: Some(command::Command::StartLogs(v1::StartLogs {
            instances,
            system: request.system.clone(),
            node: request.node.clone(),
            tail,
            since_unix_ms: request.since_unix_ms,
            follow: request.follow,
        })),
    }
}

fn note(device_name: &str, text: String) -> v1::LogLine {
    v1::LogLine {
        at_unix_ms: now_ms(),
        device_name: device_name.to_owned(),
        stream: "agent".to_owned(),
        text,
        ..v1::LogLine::default()
    }
}
