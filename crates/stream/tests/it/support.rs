//! Transports under test and helpers that wait on state.

use std::time::{Duration, Instant};

use edgeflow_spec::broker::Broker;
use edgeflow_spec::qos::{LinkQos, OnFull};
use edgeflow_stream::broker::{RedisDial, Sink, SinkConfig, stream_key};
use edgeflow_stream::stats::GroupStats;
use edgeflow_stream::transport::shm::SharedMemory;
use edgeflow_stream::transport::unix::{UnixDial, UnixListen};
use edgeflow_stream::transport::{Dial, Listen, memory};
use edgeflow_stream::{
    Codec, Frame, GroupConfig, InputConfig, Limits, Publisher, PublisherConfig, Received,
    Subscriber, SubscriberConfig,
};

/// Longest wait for a state that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for a frame that must not come.
pub(crate) const QUIET: Duration = Duration::from_millis(100);

/// A way to connect that a link must work over.
pub(crate) trait Transport {
    fn listen(&mut self) -> Box<dyn Listen>;
    fn dial(&self) -> Box<dyn Dial>;
    fn shared_memory(&self) -> Option<SharedMemory> {
        None
    }
    /// The same for one link, where links have a way each.
    fn dial_link(&self, _link: &str) -> Box<dyn Dial> {
        self.dial()
    }
    /// Told when the producer listens, with the groups that it knows.
    fn serve(&mut self, _publisher: &Publisher, _groups: &[GroupConfig]) {}
}

pub(crate) struct Memory(Option<memory::MemoryDial>);

impl Memory {
    pub(crate) fn new() -> Self {
        Self(None)
    }

    /// With a listener that nobody serves.
    pub(crate) fn connected() -> Self {
        let (_, dial) = memory::pair().unwrap();
        Self(Some(dial))
    }
}

impl Transport for Memory {
    fn listen(&mut self) -> Box<dyn Listen> {
        let (listen, dial) = memory::pair().unwrap();
        self.0 = Some(dial);
        Box::new(listen)
    }

    fn dial(&self) -> Box<dyn Dial> {
        Box::new(self.0.clone().unwrap())
    }
}

pub(crate) struct Unix(tempfile::TempDir, Option<std::path::PathBuf>);

impl Unix {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), None)
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        let other = self.1.clone();
        other.unwrap_or_else(|| self.0.path().join("out"))
    }
}

impl Transport for Unix {
    fn listen(&mut self) -> Box<dyn Listen> {
        Box::new(UnixListen::bind(&self.path()).unwrap())
    }

    fn dial(&self) -> Box<dyn Dial> {
        Box::new(UnixDial::new(self.path()))
    }
}

/// The same, with every payload in shared memory.
pub(crate) struct Shm {
    unix: Unix,
    memory: SharedMemory,
}

impl Shm {
    pub(crate) fn new() -> Self {
        Self::with_budget(None)
    }

    pub(crate) fn with_budget(budget: Option<u64>) -> Self {
        Self {
            unix: Unix::new(),
            memory: SharedMemory {
                min_payload: 1,
                budget,
            },
        }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.unix.path()
    }

    /// Uses the socket of another process.
    pub(crate) fn connect_to(&mut self, path: std::path::PathBuf) {
        self.unix.1 = Some(path);
    }
}

impl Transport for Shm {
    fn listen(&mut self) -> Box<dyn Listen> {
        self.unix.listen()
    }

    fn dial(&self) -> Box<dyn Dial> {
        self.unix.dial()
    }

    fn shared_memory(&self) -> Option<SharedMemory> {
        Some(self.memory.clone())
    }
}

/// Streams of a real redis-server.
pub(crate) struct Redis {
    // Dropped before the server.
    sinks: Vec<Sink>,
    unix: Unix,
    redis: edgeflow_testkit::Redis,
    _dir: tempfile::TempDir,
}

impl Redis {
    /// `None`, with a note, where there is no redis-server.
    pub(crate) fn new() -> Option<Self> {
        if !edgeflow_testkit::Redis::is_installed() {
            eprintln!("skipped: redis-server is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        Some(Self {
            sinks: Vec::new(),
            unix: Unix::new(),
            redis: edgeflow_testkit::Redis::start(dir.path(), &[]).unwrap(),
            _dir: dir,
        })
    }

    fn broker(&self) -> Broker {
        Broker::at(self.redis.address())
    }
}

impl Transport for Redis {
    fn listen(&mut self) -> Box<dyn Listen> {
        self.unix.listen()
    }

    fn dial(&self) -> Box<dyn Dial> {
        self.dial_link("p->c")
    }

    fn dial_link(&self, link: &str) -> Box<dyn Dial> {
        let key = stream_key("dev", "s.p.0", link);
        Box::new(RedisDial::new(self.broker(), key))
    }

    fn serve(&mut self, publisher: &Publisher, groups: &[GroupConfig]) {
        for group in groups {
            let config = SinkConfig {
                broker: self.broker(),
                key: stream_key("dev", "s.p.0", &group.link),
                link: group.link.clone(),
                group: group.group.clone(),
                qos: group.qos.clone(),
                dial: self.unix.dial(),
                output: publisher.handle(),
                report: Box::new(|_| {}),
            };
            self.sinks.push(Sink::start(config).unwrap());
        }
    }
}

pub(crate) fn durable(window_frames: u32, on_full: OnFull) -> LinkQos {
    LinkQos {
        window_frames,
        on_full,
        ..LinkQos::durable()
    }
}

pub(crate) fn group(name: &str, qos: &LinkQos) -> GroupConfig {
    GroupConfig {
        link: format!("p->{name}"),
        group: name.to_owned(),
        qos: qos.clone(),
    }
}

pub(crate) fn publisher(transport: &mut dyn Transport, groups: Vec<GroupConfig>) -> Publisher {
    let config = PublisherConfig {
        name: "s.p.0/out".to_owned(),
        groups,
        limits: Limits::default(),
        shared_memory: transport.shared_memory(),
    };
    let groups = config.groups.clone();
    let publisher = Publisher::new(config, transport.listen()).unwrap();
    transport.serve(&publisher, &groups);
    publisher
}

/// A publisher that keeps things on disk in `store`.
pub(crate) fn stored(
    transport: &mut dyn Transport,
    store: &std::path::Path,
    groups: Vec<GroupConfig>,
) -> Publisher {
    let config = PublisherConfig {
        name: "s.p.0/out".to_owned(),
        groups,
        limits: Limits::default(),
        shared_memory: transport.shared_memory(),
    };
    let groups = config.groups.clone();
    let publisher = Publisher::with_store(config, store, transport.listen()).unwrap();
    transport.serve(&publisher, &groups);
    publisher
}

pub(crate) fn subscriber(
    transport: &dyn Transport,
    member: &str,
    group: &str,
    qos: &LinkQos,
) -> Subscriber {
    subscriber_with(transport, member, group, qos, Limits::default())
}

pub(crate) fn subscriber_with(
    transport: &dyn Transport,
    member: &str,
    group: &str,
    qos: &LinkQos,
    limits: Limits,
) -> Subscriber {
    let config = SubscriberConfig {
        member: member.to_owned(),
        limits,
    };
    Subscriber::new(&config, vec![input(transport, "in", group, qos)]).unwrap()
}

pub(crate) fn input(
    transport: &dyn Transport,
    port: &str,
    group: &str,
    qos: &LinkQos,
) -> InputConfig {
    InputConfig {
        port: port.to_owned(),
        link: format!("p->{group}"),
        group: group.to_owned(),
        qos: qos.clone(),
        from: "s.p.0".to_owned(),
        dial: transport.dial_link(&format!("p->{group}")),
    }
}

/// A frame that carries a number.
pub(crate) fn numbered(number: u32) -> Frame {
    sized(number, 4)
}

pub(crate) fn sized(number: u32, len: usize) -> Frame {
    let mut payload = vec![u8::try_from(number % 251).unwrap(); len.max(4)];
    payload[..4].copy_from_slice(&number.to_le_bytes());
    Frame::new(Codec::Bytes, payload)
}

pub(crate) fn number(received: &Received) -> u32 {
    u32::from_le_bytes(*received.frame.payload.first_chunk().unwrap())
}

/// Runs the consumer until it is connected and asked for a frame.
pub(crate) fn connect(subscriber: &mut Subscriber) {
    let start = Instant::now();
    while !subscriber.is_connected() {
        assert!(start.elapsed() < PATIENCE, "not connected");
        let early = subscriber.recv(Duration::from_millis(5)).unwrap();
        assert!(early.is_none(), "a frame although none was sent");
    }
    // Once more, so that credit was granted.
    assert!(subscriber.recv(Duration::ZERO).unwrap().is_none());
}

/// The next frame, which has to come.
pub(crate) fn expect(subscriber: &mut Subscriber) -> Received {
    subscriber.recv(PATIENCE).unwrap().expect("a frame in time")
}

/// Numbers of the next `count` frames.
pub(crate) fn expect_numbers(subscriber: &mut Subscriber, count: usize) -> Vec<u32> {
    (0..count).map(|_| number(&expect(subscriber))).collect()
}

pub(crate) fn stats_of(publisher: &Publisher, group: &str) -> GroupStats {
    let all = publisher.stats();
    all.into_iter().find(|stats| stats.group == group).unwrap()
}

/// Waits until the counters of a group are as wanted; they have to add up all the time.
pub(crate) fn wait_for(
    publisher: &Publisher,
    group: &str,
    wanted: impl Fn(&GroupStats) -> bool,
) -> GroupStats {
    let start = Instant::now();
    loop {
        let stats = publisher.stats().into_iter().find(|s| s.group == group);
        if let Some(stats) = stats {
            assert!(stats.is_conserved(), "{stats:?}");
            if wanted(&stats) {
                return stats;
            }
            assert!(start.elapsed() < PATIENCE, "still {stats:?}");
        }
        assert!(start.elapsed() < PATIENCE, "no such group");
        std::thread::yield_now();
    }
}
