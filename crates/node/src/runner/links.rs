//! Opens the links of an instance: a publisher for every output port, one subscriber for all inputs.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use edgeflow_spec::assignment::OutputGroup;
use edgeflow_spec::instance_config::{InputSocket, InstanceConfig, OutputSocket};
use edgeflow_stream::broker::{RedisDial, Sink as BrokerSink, SinkConfig, stream_key};
use edgeflow_stream::publisher::{self, PublisherHandle};
use edgeflow_stream::stats::DropReason;
use edgeflow_stream::transport::Dial;
use edgeflow_stream::transport::unix::{UnixDial, UnixListen};
use edgeflow_stream::{
    Buffer, Frame, GroupConfig, InputConfig, Limits, Publisher, PublisherConfig, SendError,
    Subscriber, SubscriberConfig,
};

use crate::outputs::Sink;
use crate::{Condition, NodeError};

/// Folder of the node's own folder with what its outputs keep on disk, by port.
const STORE_FOLDER: &str = "links";

/// Why links can't be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("output `{port}` can't listen on {path}")]
    Listen {
        port: String,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the links to the broker can't be started")]
    Broker(#[source] std::io::Error),
    #[error("inputs can't be prepared")]
    Inputs(#[source] std::io::Error),
}

pub(super) struct Links {
    pub(super) sink: LinkSink,
    pub(super) subscriber: Subscriber,
}

pub(super) fn open(config: &InstanceConfig, condition: &Condition) -> Result<Links, LinkError> {
    let mut publishers = Vec::new();
    let mut sinks = Vec::new();
    for socket in &config.output_sockets {
        let publisher = open_output(config, socket).map_err(|source| LinkError::Listen {
            port: socket.port.clone(),
            path: socket.path.clone(),
            source,
        })?;
        let opened = open_sinks(config, socket, &publisher.handle(), condition);
        publishers.push((socket.port.clone(), Some(publisher)));
        sinks.extend(opened.map_err(LinkError::Broker)?);
    }
    let repeatable = !config.input_sockets.is_empty()
        && config.input_sockets.iter().all(|it| it.qos.is_lossless());
    let inputs = config.input_sockets.iter().map(|input| InputConfig {
        port: input.port.clone(),
        link: input.link.clone(),
        group: input.group.clone(),
        qos: input.qos.clone(),
        from: input.from.clone(),
        dial: dial(config, input),
    });
    let subscriber_config = SubscriberConfig {
        member: config.instance.id.clone(),
        limits: Limits::default(),
    };
    let subscriber =
        Subscriber::new(&subscriber_config, inputs.collect()).map_err(LinkError::Inputs)?;
    Ok(Links {
        sink: LinkSink {
            marks: vec![0; publishers.len()],
            publishers,
            sinks,
            repeatable,
        },
        subscriber,
    })
}

fn dial(config: &InstanceConfig, input: &InputSocket) -> Box<dyn Dial> {
    let Some(broker) = config.broker(&input.qos) else {
        return match &input.device {
            Some(_) => Box::new(UnixDial::relayed(&input.path)),
            None => Box::new(UnixDial::new(&input.path)),
        };
    };
    let producer = input.device.as_ref().unwrap_or(&config.device);
    let key = stream_key(producer, &input.from, &input.link);
    Box::new(
        RedisDial::new(broker.clone(), key)
            .from_device(&config.device)
            .giving_up_after(input.qos.max_deliveries),
    )
}

/// One sink for every link of an output that a broker carries.
fn open_sinks(
    config: &InstanceConfig,
    socket: &OutputSocket,
    output: &PublisherHandle,
    condition: &Condition,
) -> std::io::Result<Vec<BrokerSink>> {
    let start = |group: &OutputGroup| {
        let broker = config.broker(&group.qos)?;
        let condition = condition.clone();
        let away = AtomicBool::new(false);
        Some(BrokerSink::start(SinkConfig {
            broker: broker.clone(),
            key: stream_key(&config.device, &config.instance.id, &group.link),
            link: group.link.clone(),
            group: group.group.clone(),
            qos: group.qos.clone(),
            dial: Box::new(UnixDial::new(&socket.path)),
            output: output.clone(),
            report: Box::new(move |problem| match problem {
                Some(text) => {
                    away.store(true, Ordering::Relaxed);
                    condition.set(text);
                }
                // Somebody else's condition is left alone.
                None if away.swap(false, Ordering::Relaxed) => condition.clear(),
                None => {}
            }),
        }))
    };
    groups(config, socket).filter_map(start).collect()
}

/// Groups of the outputs that a broker carries.
pub(super) fn carried(config: &InstanceConfig) -> HashSet<String> {
    let groups = config.instance.outputs.iter().flat_map(|out| &out.groups);
    groups
        .filter(|group| config.broker(&group.qos).is_some())
        .map(|group| group.link.clone())
        .collect()
}

fn groups<'c>(
    config: &'c InstanceConfig,
    socket: &'c OutputSocket,
) -> impl Iterator<Item = &'c OutputGroup> {
    let outputs = config.instance.outputs.iter();
    outputs
        .filter(|output| output.port == socket.port)
        .flat_map(|output| &output.groups)
}

fn open_output(config: &InstanceConfig, socket: &OutputSocket) -> std::io::Result<Publisher> {
    let groups = groups(config, socket).map(|group| GroupConfig {
        link: group.link.clone(),
        group: group.group.clone(),
        qos: group.qos.clone(),
    });
    let publisher_config = PublisherConfig {
        name: format!("{}/{}", config.instance.id, socket.port),
        groups: groups.collect(),
        limits: Limits::default(),
        shared_memory: Some(edgeflow_stream::transport::shm::SharedMemory::default()),
    };
    let store = config.state_dir.join(STORE_FOLDER).join(&socket.port);
    let spilling = publisher_config.groups.iter();
    let spilling: Vec<_> = spilling
        .filter(|group| group.qos.spills())
        .map(|group| (group.group.clone(), group.link.clone()))
        .collect();
    for path in publisher::left_behind(&store, &spilling) {
        tracing::warn!(path = %path.display(), "frames on disk are of a link that is gone or keeps none there now");
    }
    let listen = Box::new(UnixListen::bind(&socket.path)?);
    Publisher::with_store(publisher_config, &store, listen)
}

/// Output ports that are links.
pub(super) struct LinkSink {
    publishers: Vec<(String, Option<Publisher>)>,
    /// What brings frames to the broker; ended after the outputs.
    sinks: Vec<BrokerSink>,
    /// The last frame of each port.
    marks: Vec<u64>,
    /// Whether everything is made of durable inputs, which come again if need be.
    repeatable: bool,
}

impl LinkSink {
    pub(super) fn ports(&self) -> Vec<String> {
        self.publishers
            .iter()
            .map(|(port, _)| port.clone())
            .collect()
    }

    /// The ports with what counts their frames.
    pub(super) fn handles(&self) -> Vec<(String, PublisherHandle)> {
        let open = self.publishers.iter();
        open.filter_map(|(port, publisher)| Some((port.clone(), publisher.as_ref()?.handle())))
            .collect()
    }
}

impl Sink for LinkSink {
    fn send(&mut self, port: usize, frame: Frame) -> Result<(), NodeError> {
        let publisher = self.publishers.get(port).and_then(|(_, p)| p.as_ref());
        let Some(publisher) = publisher else {
            return Err(NodeError::stopping());
        };
        match publisher.send(frame) {
            Ok(seq) => {
                self.marks[port] = seq;
                Ok(())
            }
            Err(SendError::Closing) => Err(NodeError::stopping()),
            Err(error) => Err(error.into()),
        }
    }

    fn buffer(&self, port: usize, len: usize) -> Buffer {
        let publisher = self.publishers.get(port).and_then(|(_, p)| p.as_ref());
        publisher.map_or_else(|| Buffer::own(len), |publisher| publisher.buffer(len))
    }

    fn is_wanted(&self, port: usize) -> bool {
        let publisher = self.publishers.get(port).and_then(|(_, p)| p.as_ref());
        publisher.is_some_and(|publisher| publisher.handle().is_wanted())
    }

    fn marks(&self) -> Vec<u64> {
        self.marks.clone()
    }

    fn trace_id(&self, port: usize) -> [u8; 16] {
        let publisher = self.publishers.get(port).and_then(|(_, p)| p.as_ref());
        publisher.map_or([0; 16], |publisher| publisher.trace_id(self.marks[port]))
    }

    fn close(&mut self, drain: Duration) {
        let deadline = Instant::now() + drain;
        for (port, publisher) in &mut self.publishers {
            let Some(publisher) = publisher.take() else {
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            for group in publisher.close(left) {
                let lost = group.dropped.get(&DropReason::Undelivered);
                if let Some(frames) =
                    lost.filter(|_| group.qos == edgeflow_spec::qos::QosMode::Durable)
                {
                    if self.repeatable {
                        tracing::info!(port = %port, link = %group.link, frames, "stopped with frames that are made again from their input");
                    } else {
                        tracing::warn!(port = %port, link = %group.link, frames, "stopped with frames that nobody took");
                    }
                }
                if group.spilled > 0 {
                    let frames = group.spilled;
                    tracing::info!(port = %port, link = %group.link, frames, "frames stay on disk for the next start");
                }
            }
        }
        self.sinks.clear();
    }
}
