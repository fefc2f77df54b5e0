//! A producer whose output goes to a real redis-server.

use std::sync::mpsc;
use std::time::Instant;

use edgeflow_spec::broker::Broker;
use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::broker::{RedisDial, Sink, SinkConfig, stream_key};
use edgeflow_stream::transport::unix::UnixDial;
use edgeflow_stream::{InputConfig, Limits, Publisher, Subscriber, SubscriberConfig};
use edgeflow_testkit::Redis;

use crate::support::*;

pub(crate) const GROUP: &str = "c";

/// A producer whose output goes to a broker.
pub(crate) struct Fixture {
    // Dropped in this order: the sink before its output, all before the folder.
    pub(crate) sink: Option<Sink>,
    pub(crate) publisher: Publisher,
    pub(crate) redis: Redis,
    pub(crate) broker: Broker,
    pub(crate) qos: LinkQos,
    pub(crate) reports: mpsc::Receiver<Option<String>>,
    _output: Unix,
    _dir: tempfile::TempDir,
}

impl Fixture {
    /// `None`, with a note, where there is no redis-server.
    pub(crate) fn start(qos: LinkQos) -> Option<Self> {
        Self::start_with(qos, &[], None)
    }

    pub(crate) fn start_with(
        qos: LinkQos,
        options: &[&str],
        password: Option<&str>,
    ) -> Option<Self> {
        if !Redis::is_installed() {
            eprintln!("skipped: redis-server is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let redis = Redis::start(dir.path(), options).unwrap();
        let password_file = password.map(|password| {
            let path = dir.path().join("password");
            std::fs::write(&path, password).unwrap();
            path
        });
        let broker = Broker {
            password_file,
            ..Broker::at(redis.address())
        };
        Some(Self::over(redis, broker, qos, dir))
    }

    /// A producer whose output goes to this broker.
    pub(crate) fn over(redis: Redis, broker: Broker, qos: LinkQos, dir: tempfile::TempDir) -> Self {
        let mut output = Unix::new();
        let store = dir.path().join("store");
        let publisher = stored(&mut output, &store, vec![group(GROUP, &qos)]);
        let (report, reports) = mpsc::channel();
        let sink = Sink::start(SinkConfig {
            broker: broker.clone(),
            key: key(),
            link: format!("p->{GROUP}"),
            group: GROUP.to_owned(),
            qos: qos.clone(),
            dial: Box::new(UnixDial::new(output.path())),
            output: publisher.handle(),
            report: Box::new(move |problem| {
                let _ = report.send(problem);
            }),
        });
        Self {
            sink: Some(sink.unwrap()),
            publisher,
            redis,
            broker,
            qos,
            reports,
            _output: output,
            _dir: dir,
        }
    }

    pub(crate) fn consumer(&self, member: &str) -> Subscriber {
        self.consumer_of(member, self.dial())
    }

    /// Another life of a consumer's process.
    pub(crate) fn dial(&self) -> RedisDial {
        RedisDial::new(self.broker.clone(), key())
            .from_device("d")
            .giving_up_after(self.qos.max_deliveries)
    }

    pub(crate) fn consumer_of(&self, member: &str, dial: RedisDial) -> Subscriber {
        let config = SubscriberConfig {
            member: member.to_owned(),
            limits: Limits::default(),
        };
        let input = InputConfig {
            port: "in".to_owned(),
            link: format!("p->{GROUP}"),
            group: GROUP.to_owned(),
            qos: self.qos.clone(),
            from: "s.p.0".to_owned(),
            dial: Box::new(dial),
        };
        Subscriber::new(&config, vec![input]).unwrap()
    }

    pub(crate) fn send(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.publisher.send(numbered(number)).unwrap();
        }
    }

    /// Waits until all that was sent is in the broker.
    pub(crate) fn stored(&self, frames: u64) {
        wait_for(&self.publisher, GROUP, |stats| stats.delivered >= frames);
    }

    pub(crate) fn length(&self) -> u64 {
        self.redis
            .command(&["xlen", &key()])
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Waits until nothing is left of what was acknowledged.
    pub(crate) fn drained(&self) {
        let start = Instant::now();
        while self.length() > 0 {
            assert!(start.elapsed() < PATIENCE, "entries are left");
            std::thread::yield_now();
        }
        let keys = self.redis.command(&["keys", "*blob*"]).unwrap();
        assert_eq!(keys, "", "payloads are left");
        let state = format!("{}:state", key());
        assert_eq!(self.redis.command(&["hget", &state, "bytes"]).unwrap(), "0");
    }

    /// The next report that says something.
    pub(crate) fn problem(&self) -> String {
        loop {
            if let Some(text) = self.reports.recv_timeout(PATIENCE).unwrap() {
                return text;
            }
        }
    }
}

pub(crate) fn key() -> String {
    stream_key("dev", "s.p.0", "p->c")
}
