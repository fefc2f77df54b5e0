//! The producer's side: a consumer of an output that adds every frame to a stream of the broker.
//!
//! A frame is acknowledged to the output once the broker has it. While the broker is away or its
//! stream is full nothing is acknowledged, so a durable output keeps the frames in its own window
//! and does what `on_full` says, a balanced one skips when it lags; a realtime frame is given up.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edgeflow_spec::broker::Broker;
use edgeflow_spec::qos::LinkQos;

use super::describe;
use super::stream::{Item, Stream};
use crate::clock;
use crate::frame::Limits;
use crate::publisher::PublisherHandle;
use crate::subscriber::{Held, InputConfig, Received, Subscriber, SubscriberConfig};
use crate::transport::Dial;
use crate::wake::Waker;

/// Frames and bytes that go to the broker together at most; one frame always goes.
const MAX_BATCH: usize = 32;
const MAX_BATCH_BYTES: usize = 512 * 1024;
/// How soon a full stream is looked at again, longer each time that nothing has left it.
const MIN_ROOM_PAUSE: Duration = Duration::from_micros(250);
const MAX_ROOM_PAUSE: Duration = Duration::from_millis(8);
/// Pauses before the broker is dialled again.
const MIN_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(1);
/// How long an idle sink waits for a frame.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// How often a sink looks for dead letters.
const DEAD_EVERY: Duration = Duration::from_secs(2);

/// What a sink reports: a problem, or that it is over.
pub type Report = Box<dyn Fn(Option<String>) + Send>;

/// One link of one output.
pub struct SinkConfig {
    /// Where to.
    pub broker: Broker,
    /// The stream, see [`super::stream_key`].
    pub key: String,
    /// Link id.
    pub link: String,
    /// Consumer group: the consuming node.
    pub group: String,
    /// Quality of service. A durable or balanced stream holds up to the window in frames and bytes, beside
    /// what the output itself holds.
    pub qos: LinkQos,
    /// The output's own socket.
    pub dial: Box<dyn Dial>,
    /// The output itself, which keeps the dead letters.
    pub output: PublisherHandle,
    /// Told of changes.
    pub report: Report,
}

impl std::fmt::Debug for SinkConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkConfig")
            .field("key", &self.key)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// A running sink.
#[derive(Debug)]
pub struct Sink {
    stopping: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    waker: Waker,
    // Dropped to end a pause.
    hurry: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Starts the thread. The broker need not be there yet.
    pub fn start(config: SinkConfig) -> io::Result<Self> {
        let subscriber_config = SubscriberConfig {
            member: format!("{}@broker", config.group),
            limits: Limits::default(),
        };
        let input = InputConfig {
            port: "in".to_owned(),
            link: config.link.clone(),
            group: config.group.clone(),
            // There is one output: order is restored where its replicas come together.
            qos: LinkQos {
                order_timeout_ms: None,
                ..config.qos.clone()
            },
            from: config.key.clone(),
            dial: config.dial,
        };
        let subscriber = Subscriber::new(&subscriber_config, vec![input])?;
        let waker = subscriber.waker();
        let stopping = Arc::new(AtomicBool::new(false));
        let lost = Arc::new(AtomicU64::new(0));
        let (hurry, pause) = mpsc::channel();
        let keeps = config.qos.keeps_frames();
        let worker = Worker {
            keeps,
            link: config.link.clone(),
            output: config.output,
            looked_at: Instant::now(),
            stream: Stream::new(
                config.broker,
                config.key,
                config.group,
                config.qos,
                Arc::clone(&lost),
            ),
            report: config.report,
            subscriber,
            stopping: Arc::clone(&stopping),
            pause,
        };
        let thread = std::thread::Builder::new()
            .name("broker-sink".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self {
            stopping,
            lost,
            waker,
            hurry: Some(hurry),
            thread: Some(thread),
        })
    }

    /// Frames that were in the broker and are not there any more although nobody took them, at
    /// most: it was emptied, or restarted without its data.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.hurry = None;
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by then.
            let _ = thread.join();
        }
    }
}

struct Worker {
    stream: Stream,
    link: String,
    output: PublisherHandle,
    /// When it was last looked for dead letters.
    looked_at: Instant,
    /// Every frame has to arrive: not realtime.
    keeps: bool,
    report: Report,
    subscriber: Subscriber,
    stopping: Arc<AtomicBool>,
    pause: mpsc::Receiver<()>,
}

impl Worker {
    fn run(mut self) {
        self.keep_open();
        while !self.stopping() {
            self.collect_dead();
            let done = if self.keeps {
                self.pass_on_kept()
            } else {
                self.pass_on_newest()
            };
            if let Err(error) = done {
                (self.report)(Some(format!("the output can't be read: {error}")));
                self.wait(MAX_RETRY);
            }
        }
    }

    /// Connects while there is nothing to do, so that readers find the group and the clock, and a
    /// broker that is away is known before a frame needs it.
    fn keep_open(&mut self) {
        if self.stream.is_open() {
            return;
        }
        match self.stream.open() {
            Ok(()) => (self.report)(None),
            Err(error) => (self.report)(Some(describe(&error))),
        }
    }

    /// Puts frames aside that consumers died with too often.
    fn collect_dead(&mut self) {
        if !self.keeps || self.looked_at.elapsed() < DEAD_EVERY {
            return;
        }
        self.looked_at = Instant::now();
        let Self {
            stream,
            output,
            link,
            ..
        } = self;
        let put = |frame, deliveries| {
            let put = output.put_dead_letter(link, frame, deliveries);
            put.inspect_err(
                |error| tracing::warn!(%link, %error, "a dead letter can't be put aside"),
            )
        };
        let collected = stream.collect_dead(put, |id| output.remove_dead_letter(link, id));
        if let Err(error) = collected {
            (self.report)(Some(describe(&error)));
        }
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits, or less when the sink stops.
    fn wait(&self, time: Duration) {
        // A timeout is the usual end.
        let _ = self.pause.recv_timeout(time);
    }

    /// A realtime frame that the broker does not take at once is of no use any more.
    fn pass_on_newest(&mut self) -> io::Result<()> {
        let Some(received) = self.subscriber.recv(IDLE_WAIT)? else {
            self.keep_open();
            return Ok(());
        };
        match self.stream.add_newest(&item(&received)) {
            Ok(()) => {
                (self.report)(None);
                self.subscriber.ack();
            }
            Err(error) => {
                (self.report)(Some(describe(&error)));
                self.wait(MIN_RETRY);
                self.subscriber.forget();
            }
        }
        Ok(())
    }

    /// Brings what the output has to the broker, and tries until that has it.
    fn pass_on_kept(&mut self) -> io::Result<()> {
        let batch = self
            .subscriber
            .recv_batch(IDLE_WAIT, MAX_BATCH, MAX_BATCH_BYTES)?;
        if batch.is_empty() {
            self.keep_open();
            return Ok(());
        }
        let (mut items, mut held): (VecDeque<Item>, VecDeque<Held>) = batch
            .into_iter()
            .map(|(received, held)| (item(&received), held))
            .unzip();
        let mut retry = MIN_RETRY;
        let mut pause = MIN_ROOM_PAUSE;
        while !items.is_empty() && !self.stopping() {
            match self.stream.add(items.make_contiguous()) {
                Ok(0) => {
                    self.wait(pause);
                    pause = (pause * 2).min(MAX_ROOM_PAUSE);
                }
                Ok(added) => {
                    (self.report)(None);
                    pause = MIN_ROOM_PAUSE;
                    items.drain(..added);
                    self.subscriber.release_all(held.drain(..added));
                }
                Err(error) => {
                    (self.report)(Some(describe(&error)));
                    self.wait(retry);
                    retry = (retry * 2).min(MAX_RETRY);
                }
            }
        }
        Ok(())
    }
}

fn item(received: &Received) -> Item {
    let hop = received.hop.unwrap_or_default().as_nanos();
    Item {
        frame: received.frame.clone(),
        sent_mono_ns: clock::monotonic_ns().saturating_sub(u64::try_from(hop).unwrap_or(0)),
    }
}
