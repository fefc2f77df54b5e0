//! Links over a real redis-server: killed, emptied, full, hostile. Skipped where none is installed.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use edgeflow_spec::broker::Broker;
use edgeflow_spec::qos::{LinkQos, OnFull};
use edgeflow_stream::broker::{RedisDial, Sink, SinkConfig, stream_key};
use edgeflow_stream::transport::unix::UnixDial;
use edgeflow_stream::{
    InputConfig, Limits, Publisher, Received, SendError, Subscriber, SubscriberConfig,
};
use edgeflow_testkit::Redis;

use crate::support::*;

const GROUP: &str = "c";

/// A producer whose output goes to a broker.
struct Fixture {
    // Dropped in this order: the sink before its output, all before the folder.
    sink: Option<Sink>,
    publisher: Publisher,
    redis: Redis,
    broker: Broker,
    qos: LinkQos,
    reports: mpsc::Receiver<Option<String>>,
    _output: Unix,
    _dir: tempfile::TempDir,
}

impl Fixture {
    /// `None`, with a note, where there is no redis-server.
    fn start(qos: LinkQos) -> Option<Self> {
        Self::start_with(qos, &[], None)
    }

    fn start_with(qos: LinkQos, options: &[&str], password: Option<&str>) -> Option<Self> {
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
        let mut output = Unix::new();
        let publisher = publisher(&mut output, vec![group(GROUP, &qos)]);
        let (report, reports) = mpsc::channel();
        let sink = Sink::start(SinkConfig {
            broker: broker.clone(),
            key: key(),
            link: format!("p->{GROUP}"),
            group: GROUP.to_owned(),
            qos: qos.clone(),
            dial: Box::new(UnixDial::new(output.path())),
            report: Box::new(move |problem| {
                let _ = report.send(problem);
            }),
        });
        Some(Self {
            sink: Some(sink.unwrap()),
            publisher,
            redis,
            broker,
            qos,
            reports,
            _output: output,
            _dir: dir,
        })
    }

    fn consumer(&self, member: &str) -> Subscriber {
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
            dial: Box::new(RedisDial::new(self.broker.clone(), key())),
        };
        Subscriber::new(&config, vec![input]).unwrap()
    }

    fn send(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.publisher.send(numbered(number)).unwrap();
        }
    }

    /// Waits until all that was sent is in the broker.
    fn stored(&self, frames: u64) {
        wait_for(&self.publisher, GROUP, |stats| stats.delivered >= frames);
    }

    fn length(&self) -> u64 {
        self.redis
            .command(&["xlen", &key()])
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Waits until nothing is left of what was acknowledged.
    fn drained(&self) {
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
    fn problem(&self) -> String {
        loop {
            if let Some(text) = self.reports.recv_timeout(PATIENCE).unwrap() {
                return text;
            }
        }
    }
}

fn key() -> String {
    stream_key("dev", "s.p.0", "p->c")
}

fn expect_in_order(consumer: &mut Subscriber, numbers: std::ops::Range<u32>) {
    for wanted in numbers {
        assert_eq!(number(&expect(consumer)), wanted);
    }
}

#[test]
fn a_frame_of_any_size_arrives_as_it_was_sent_and_leaves_nothing_behind() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    let mut consumer = fixture.consumer("c.0");
    for len in [4, 1000, 50_000, 900_000, 6_000_000] {
        let mut frame = sized(7, len);
        frame.header.width = 640;
        let mut meta = frame.read_meta().unwrap();
        meta.set("key", "value").unwrap();
        frame.set_meta(&meta);
        let seq = fixture.publisher.send(frame.clone()).unwrap();
        let received = expect(&mut consumer);
        assert_eq!(received.frame.payload, frame.payload);
        assert_eq!(received.frame.meta, frame.meta);
        assert_eq!(
            (received.frame.header.seq, received.frame.header.width),
            (seq, 640)
        );
        assert!(
            received.hop.unwrap() < PATIENCE,
            "both ends are on one clock"
        );
    }
    consumer.ack();
    fixture.drained();
}

#[test]
fn frames_wait_for_a_consumer_and_keep_their_order() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.send(0..50);
    fixture.stored(50);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..50);
    fixture.send(50..80);
    expect_in_order(&mut consumer, 50..80);
    consumer.ack();
    fixture.drained();
}

#[test]
fn balanced_keeps_everything_within_its_lag() {
    let Some(fixture) = Fixture::start(LinkQos::balanced()) else {
        return;
    };
    fixture.send(0..20);
    fixture.stored(20);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..20);
    consumer.ack();
    fixture.drained();
}

#[test]
fn realtime_jumps_to_the_newest() {
    let Some(fixture) = Fixture::start(LinkQos::realtime()) else {
        return;
    };
    wait_for(&fixture.publisher, GROUP, |stats| stats.consumers == 1);
    let mut consumer = fixture.consumer("c.0");
    for sent in 0..40 {
        // The sink has taken the one before, so that every frame reaches the broker.
        fixture.send(sent..sent + 1);
        fixture.stored(u64::from(sent) + 1);
    }
    assert_eq!(number(&expect(&mut consumer)), 39);
    assert!(fixture.length() <= 2);
    fixture.send(40..41);
    assert_eq!(number(&expect(&mut consumer)), 40);
}

#[test]
fn replicas_share_the_frames() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    let (mut first, mut second) = (fixture.consumer("c.0"), fixture.consumer("c.1"));
    fixture.send(0..60);
    let mut seen = vec![];
    let start = Instant::now();
    while seen.len() < 60 {
        assert!(start.elapsed() < PATIENCE, "only {seen:?}");
        for consumer in [&mut first, &mut second] {
            let received = consumer.recv(Duration::from_millis(5)).unwrap();
            seen.extend(received.as_ref().map(number));
        }
    }
    first.ack();
    second.ack();
    seen.sort_unstable();
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    fixture.drained();
}

#[test]
fn what_a_lost_consumer_had_comes_again_to_its_next_life() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.send(0..20);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..5);
    // Number 4 is in the loop, and more are on the way.
    drop(consumer);
    let mut consumer = fixture.consumer("c.0");
    let again: Received = expect(&mut consumer);
    assert_eq!((number(&again), again.redelivered), (4, true));
    expect_in_order(&mut consumer, 5..20);
    consumer.ack();
    fixture.drained();
}

#[test]
fn a_broker_that_is_killed_three_times_loses_nothing() {
    const FRAMES: u32 = 3000;
    let Some(mut fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    let mut consumer = fixture.consumer("c.0");
    let handle = std::thread::spawn(move || {
        let numbers = expect_numbers(&mut consumer, FRAMES as usize);
        consumer.ack();
        (numbers, consumer)
    });
    for quarter in 0..4 {
        let (from, to) = (quarter * FRAMES / 4, (quarter + 1) * FRAMES / 4);
        fixture.send(from..to);
        if quarter < 3 {
            fixture.redis.kill9().unwrap();
            fixture.redis.restart().unwrap();
        }
    }
    let (numbers, _consumer) = handle.join().unwrap();
    assert_eq!(numbers, (0..FRAMES).collect::<Vec<_>>());
    assert_eq!(fixture.sink.as_ref().unwrap().lost(), 0);
    fixture.drained();
}

#[test]
fn a_full_stream_makes_the_output_full() {
    let Some(fixture) = Fixture::start(durable(4, OnFull::Fail)) else {
        return;
    };
    // Four in the broker, four in the window of the output.
    let start = Instant::now();
    let mut sent = 0;
    while sent < 8 {
        assert!(start.elapsed() < PATIENCE, "only {sent} were taken");
        match fixture.publisher.send(numbered(sent)) {
            Ok(_) => sent += 1,
            Err(SendError::Full { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    let full = fixture.publisher.send(numbered(8));
    assert!(matches!(full, Err(SendError::Full { .. })), "{full:?}");
    assert_eq!(fixture.length(), 4);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..8);
    consumer.ack();
    fixture.drained();
}

#[test]
fn a_broker_that_is_away_is_reported_and_waited_for() {
    let Some(mut fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.send(0..5);
    fixture.stored(5);
    fixture.redis.kill9().unwrap();
    fixture.send(5..20);
    let problem = fixture.problem();
    assert!(problem.contains("broker"), "{problem}");
    fixture.redis.restart().unwrap();
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..20);
}

#[test]
fn a_broker_that_does_not_answer_is_reported_and_holds_up_no_end() {
    let Some(mut fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.send(0..5);
    fixture.stored(5);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..5);
    fixture.redis.freeze().unwrap();
    fixture.send(5..10);
    let problem = fixture.problem();
    assert!(problem.contains("broker"), "{problem}");
    // It dials a broker that accepts and says nothing.
    let start = Instant::now();
    fixture.sink = None;
    drop(consumer);
    assert!(
        start.elapsed() < PATIENCE,
        "the end took {:?}",
        start.elapsed()
    );
}

#[test]
fn an_emptied_broker_is_counted_and_the_link_goes_on() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.send(0..10);
    fixture.stored(10);
    fixture.redis.command(&["flushall"]).unwrap();
    fixture.send(10..11);
    fixture.stored(11);
    assert_eq!(fixture.sink.as_ref().unwrap().lost(), 10);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 10..11);
    // Emptied under a reader that waits.
    assert!(consumer.recv(Duration::from_millis(10)).unwrap().is_none());
    fixture.redis.command(&["flushall"]).unwrap();
    fixture.send(11..12);
    expect_in_order(&mut consumer, 11..12);
}

#[test]
fn entries_that_are_no_frames_are_left_out() {
    let Some(fixture) = Fixture::start(LinkQos::durable()) else {
        return;
    };
    fixture.send(0..1);
    fixture.stored(1);
    let key = key();
    for fields in [["h", "rubbish"], ["x", "y"], ["b", "nowhere"]] {
        fixture
            .redis
            .command(&["xadd", &key, "*", fields[0], fields[1]])
            .unwrap();
    }
    fixture.send(1..3);
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..3);
    consumer.ack();
    fixture.drained();
}

#[test]
fn a_wrong_password_is_reported_without_showing_it() {
    let options = ["--requirepass", "right"];
    let Some(fixture) = Fixture::start_with(LinkQos::durable(), &options, Some("wrong-one")) else {
        return;
    };
    fixture.send(0..3);
    let problem = fixture.problem();
    assert!(problem.to_lowercase().contains("password"), "{problem}");
    assert!(!problem.contains("wrong-one"), "{problem}");
    // A new password is taken without a restart.
    let file = fixture.broker.password_file.clone().unwrap();
    std::fs::write(file, "right\n").unwrap();
    let mut consumer = fixture.consumer("c.0");
    expect_in_order(&mut consumer, 0..3);
}
