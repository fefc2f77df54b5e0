//! Taps: a live view as one more realtime consumer of an instance's output. Costs nothing while
//! nobody looks, and asks the producer for a frame only when the viewer has granted one.

use std::{
    sync::{Arc, mpsc as std_mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::{
    InputConfig, Limits, Subscriber, SubscriberConfig, transport::unix::UnixDial,
};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::{
    paths::{Paths, SocketPathError},
    supervisor::{Board, Phase},
};

/// Credits that a viewer can have.
const MAX_CREDITS: u32 = 8;
/// Without a frame for so long the viewer is told why.
const NO_SIGNAL: Duration = Duration::from_secs(2);
/// How soon a tap notices that it is not wanted any more.
const WAIT: Duration = Duration::from_millis(500);
const STACK_BYTES: usize = 256 * 1024;
const OUTPUTS: usize = 2;

/// Why there is no view.
#[derive(Debug, Error)]
pub enum TapError {
    /// Not on this device.
    #[error("{0} does not run on this device")]
    NoInstance(String),
    /// The output's socket has no usable path.
    #[error(transparent)]
    Socket(#[from] SocketPathError),
    /// Out of threads or files.
    #[error("the live view can't be started: {0}")]
    Start(#[source] std::io::Error),
}

/// What a tap yields.
#[derive(Debug)]
pub enum Output {
    /// An encoded frame.
    Frame(Bytes),
    /// Why there is none.
    NoSignal(String),
}

/// A running tap; dropping it ends it.
#[derive(Debug)]
pub struct Tap {
    credits: std_mpsc::SyncSender<()>,
    outputs: mpsc::Receiver<Output>,
}

impl Tap {
    /// Subscribes to an output port as the group `view:ID`.
    pub fn start(
        paths: &Paths,
        board: &Arc<Board>,
        id: &str,
        instance: &str,
        port: &str,
    ) -> Result<Self, TapError> {
        if board.get(instance).is_none() {
            return Err(TapError::NoInstance(instance.to_owned()));
        }
        let port = if port.is_empty() { "out" } else { port };
        let socket = paths.output_socket(instance, port)?;
        let group = format!("view:{id}");
        let config = SubscriberConfig {
            member: group.clone(),
            limits: Limits::default(),
        };
        let input = InputConfig {
            port: "in".to_owned(),
            link: group.clone(),
            group,
            qos: LinkQos::realtime(),
            from: instance.to_owned(),
            dial: Box::new(UnixDial::new(socket)),
        };
        let subscriber = Subscriber::new(&config, vec![input]).map_err(TapError::Start)?;
        let (credits, credit_queue) = std_mpsc::sync_channel(MAX_CREDITS as usize);
        let (output, outputs) = mpsc::channel(OUTPUTS);
        let worker = Worker {
            subscriber,
            credits: credit_queue,
            output,
            board: Arc::clone(board),
            instance: instance.to_owned(),
        };
        std::thread::Builder::new()
            .name("view".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || worker.run())
            .map_err(TapError::Start)?;
        Ok(Self { credits, outputs })
    }

    /// Lets so many frames through; what exceeds the limit is left out.
    pub fn grant(&mut self, frames: u32) {
        for _ in 0..frames.min(MAX_CREDITS) {
            if self.credits.try_send(()).is_err() {
                return;
            }
        }
    }

    /// The next frame or reason; `None` when the tap has ended.
    pub async fn next(&mut self) -> Option<Output> {
        self.outputs.recv().await
    }
}

struct Worker {
    subscriber: Subscriber,
    credits: std_mpsc::Receiver<()>,
    output: mpsc::Sender<Output>,
    board: Arc<Board>,
    instance: String,
}

impl Worker {
    /// Ends when the tap is dropped.
    fn run(mut self) {
        while self.credits.recv().is_ok() {
            if !self.one_frame() {
                return;
            }
        }
    }

    fn one_frame(&mut self) -> bool {
        let begin = Instant::now();
        let mut told = String::new();
        while !self.output.is_closed() {
            match self.subscriber.recv(WAIT) {
                Ok(Some(received)) => {
                    // Asks for no other frame before the viewer does.
                    self.subscriber.ack();
                    let frame = received.frame.encode();
                    return self.output.blocking_send(Output::Frame(frame)).is_ok();
                }
                Ok(None) if begin.elapsed() >= NO_SIGNAL => {
                    let reason = self.reason();
                    if reason != told && !self.tell(&reason) {
                        return false;
                    }
                    told = reason;
                }
                Ok(None) => {}
                Err(error) => {
                    self.tell(&format!("the live view failed: {error}"));
                    return false;
                }
            }
        }
        false
    }

    fn tell(&self, reason: &str) -> bool {
        let output = Output::NoSignal(reason.to_owned());
        self.output.blocking_send(output).is_ok()
    }

    fn reason(&self) -> String {
        let Some(view) = self.board.get(&self.instance) else {
            return format!("{} does not run on this device any more", self.instance);
        };
        let condition = view.stats.map(|stats| stats.condition).unwrap_or_default();
        match view.phase {
            Phase::Ready if !condition.is_empty() => condition,
            Phase::Ready if self.subscriber.is_connected() => {
                format!("{} sends no frames", view.node)
            }
            Phase::Ready => format!("{} does not offer this output", view.node),
            phase if view.reason.is_empty() => format!("{} is {}", view.node, phase.as_str()),
            phase => format!("{} is {}: {}", view.node, phase.as_str(), view.reason),
        }
    }
}
