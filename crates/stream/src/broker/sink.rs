//! The producer's side: a consumer of an output that adds every frame to a stream of the broker.
//!
//! A frame is acknowledged to the output once the broker has it. While the broker is away or its
//! stream is full nothing is acknowledged, so a durable output keeps the frames in its own window
//! and does what `on_full` says, a balanced one skips when it lags; a realtime frame is given up.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use edgeflow_spec::broker::Broker;
use edgeflow_spec::qos::LinkQos;
use redis::Connection;

use super::entry::{self, MAX_INLINE};
use super::{ANSWER_TIMEOUT, BrokerError, connect, describe, state_key};
use crate::clock;
use crate::frame::{Frame, Limits};
use crate::subscriber::{InputConfig, Received, Subscriber, SubscriberConfig};
use crate::transport::Dial;
use crate::wake::Waker;

/// Entries that a realtime stream keeps: the newest, and one that a reader may be at.
const REALTIME_ENTRIES: u32 = 2;
/// How often a full stream is looked at again.
const ROOM_PAUSE: Duration = Duration::from_millis(2);
/// Pauses before the broker is dialled again.
const MIN_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(1);
/// How long an idle sink waits for a frame.
const IDLE_WAIT: Duration = Duration::from_secs(1);

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
        let (stopping, lost) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (hurry, pause) = mpsc::channel();
        let worker = Worker {
            state: state_key(&config.key),
            broker: config.broker,
            key: config.key,
            group: config.group,
            qos: config.qos,
            report: config.report,
            subscriber,
            stopping: Arc::clone(&stopping),
            pause,
            lost: Arc::clone(&lost),
            connection: None,
            held: Held::default(),
            added: None,
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

/// What the stream holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    frames: u64,
    bytes: u64,
}

struct Worker {
    broker: Broker,
    key: String,
    state: String,
    group: String,
    qos: LinkQos,
    report: Report,
    subscriber: Subscriber,
    stopping: Arc<AtomicBool>,
    pause: mpsc::Receiver<()>,
    lost: Arc<AtomicU64>,
    connection: Option<Connection>,
    held: Held,
    /// Entries ever added, as the broker counts them.
    added: Option<u64>,
}

impl Worker {
    fn run(mut self) {
        self.keep_open();
        while !self.stopping() {
            match self.subscriber.recv(IDLE_WAIT) {
                Ok(Some(received)) => {
                    if self.deliver(&received) {
                        self.subscriber.ack();
                    } else {
                        self.subscriber.forget();
                    }
                }
                Ok(None) => self.keep_open(),
                Err(error) => {
                    (self.report)(Some(format!("the output can't be read: {error}")));
                    self.wait(MAX_RETRY);
                }
            }
        }
    }

    /// Connects while there is nothing to do, so that readers find the group and the clock, and a
    /// broker that is away is known before a frame needs it.
    fn keep_open(&mut self) {
        if self.connection.is_some() {
            return;
        }
        match self.open() {
            Ok(connection) => {
                self.connection = Some(connection);
                (self.report)(None);
            }
            Err(error) => (self.report)(Some(describe(&error))),
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

    /// Brings a frame into the broker. `false`: given up.
    fn deliver(&mut self, received: &Received) -> bool {
        let mut retry = MIN_RETRY;
        let hop = received.hop.unwrap_or_default().as_nanos();
        let sent = clock::monotonic_ns().saturating_sub(u64::try_from(hop).unwrap_or(0));
        while !self.stopping() {
            let error = match self.try_add(&received.frame, sent) {
                Ok(true) => {
                    (self.report)(None);
                    return true;
                }
                Ok(false) => {
                    self.wait(ROOM_PAUSE);
                    continue;
                }
                Err(error) => error,
            };
            self.connection = None;
            (self.report)(Some(describe(&error)));
            if !self.qos.keeps_frames() {
                self.wait(retry);
                return false;
            }
            self.wait(retry);
            retry = (retry * 2).min(MAX_RETRY);
        }
        false
    }

    /// Adds a frame if there is room.
    fn try_add(&mut self, frame: &Frame, sent_mono_ns: u64) -> Result<bool, BrokerError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open()?,
        };
        let bytes = frame.encoded_len() as u64;
        let keeps = self.qos.keeps_frames();
        if keeps && !self.has_room(bytes) {
            self.look(&mut connection)?;
            if !self.has_room(bytes) {
                self.connection = Some(connection);
                return Ok(false);
            }
        }
        if keeps {
            self.add_kept(&mut connection, frame, sent_mono_ns)?;
        } else {
            self.add_realtime(&mut connection, frame, sent_mono_ns)?;
        }
        self.connection = Some(connection);
        Ok(true)
    }

    fn open(&mut self) -> Result<Connection, BrokerError> {
        let mut connection = connect(&self.broker, ANSWER_TIMEOUT)?;
        self.announce(&mut connection)?;
        self.look(&mut connection)?;
        Ok(connection)
    }

    /// Makes the group, and leaves word of whose clock the entries have.
    fn announce(&self, connection: &mut Connection) -> Result<(), BrokerError> {
        create_group(connection, &self.key, &self.group)?;
        Ok(redis::cmd("HSET")
            .arg(&self.state)
            .arg("boot")
            .arg(clock::boot_id())
            .exec(connection)?)
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.held.frames == 0
            || (self.held.frames < u64::from(self.qos.window_frames)
                && self.held.bytes + bytes <= self.qos.window_bytes)
    }

    fn look(&mut self, connection: &mut Connection) -> Result<(), BrokerError> {
        let (frames, bytes): (u64, Option<i64>) = redis::pipe()
            .cmd("XLEN")
            .arg(&self.key)
            .cmd("HGET")
            .arg(&self.state)
            .arg("bytes")
            .query(connection)?;
        self.hold(frames, bytes.unwrap_or(0));
        Ok(())
    }

    fn hold(&mut self, frames: u64, bytes: i64) {
        // The count goes below zero when the broker was emptied between an entry and its end.
        let bytes = u64::try_from(bytes).unwrap_or(0);
        self.held = Held { frames, bytes };
    }

    fn add_kept(
        &mut self,
        connection: &mut Connection,
        frame: &Frame,
        sent_mono_ns: u64,
    ) -> Result<(), BrokerError> {
        let (head, body) = (entry::head(frame, sent_mono_ns), entry::body(frame));
        let mut pipe = redis::pipe();
        pipe.atomic();
        if body.len() > MAX_INLINE {
            let header = &frame.header;
            let (stream, epoch, seq) = (header.stream_id, header.epoch, header.seq);
            let blob = format!("{}:blob:{stream:x}.{epoch:x}.{seq}", self.key);
            pipe.cmd("SET").arg(&blob).arg(&body[..]).ignore();
            pipe.cmd("XADD").arg(&self.key).arg("*");
            pipe.arg(entry::HEAD)
                .arg(&head[..])
                .arg(entry::BLOB)
                .arg(&blob)
                .ignore();
        } else {
            pipe.cmd("XADD").arg(&self.key).arg("*");
            pipe.arg(entry::HEAD)
                .arg(&head[..])
                .arg(entry::BODY)
                .arg(&body[..])
                .ignore();
        }
        pipe.cmd("HINCRBY")
            .arg(&self.state)
            .arg("bytes")
            .arg(frame.encoded_len());
        pipe.cmd("HINCRBY").arg(&self.state).arg("added").arg(1);
        pipe.cmd("XLEN").arg(&self.key);
        let (bytes, added, frames): (i64, u64, u64) = pipe.query(connection)?;
        if self.added.is_some_and(|before| added <= before) {
            self.emptied(connection)?;
        }
        self.added = Some(added);
        self.hold(frames, bytes);
        Ok(())
    }

    /// The broker does not know of what it was given before.
    fn emptied(&mut self, connection: &mut Connection) -> Result<(), BrokerError> {
        let frames = self.held.frames;
        self.lost.fetch_add(frames, Ordering::Relaxed);
        tracing::warn!(stream = %self.key, frames, "the broker was emptied; up to so many frames are lost");
        self.announce(connection)
    }

    fn add_realtime(
        &self,
        connection: &mut Connection,
        frame: &Frame,
        sent_mono_ns: u64,
    ) -> Result<(), BrokerError> {
        let (head, body) = (entry::head(frame, sent_mono_ns), entry::body(frame));
        redis::cmd("XADD")
            .arg(&self.key)
            .arg("MAXLEN")
            .arg(REALTIME_ENTRIES)
            .arg("*")
            .arg(entry::HEAD)
            .arg(&head[..])
            .arg(entry::BODY)
            .arg(&body[..])
            .exec(connection)?;
        Ok(())
    }
}

/// Makes the consumer group, from the first entry on. It may be there.
pub(super) fn create_group(
    connection: &mut Connection,
    key: &str,
    group: &str,
) -> Result<(), BrokerError> {
    let made = redis::cmd("XGROUP")
        .arg("CREATE")
        .arg(key)
        .arg(group)
        .arg("0")
        .arg("MKSTREAM")
        .exec(connection);
    match made {
        Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
        made => Ok(made?),
    }
}
