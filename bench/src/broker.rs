//! `broker`: durable frames through a real redis-server, flat out: the link beside the raw `redis`
//! crate doing the same commands, in turns. Then one realtime frame at a time (`broker/paced.rs`), and
//! 10,000 frames while the server is killed three times: how many arrive. One process, a thread at
//! each end.

mod paced;

use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use edgeflow_spec::broker::Broker;
use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::broker::{RedisDial, Sink, SinkConfig, stream_key};
use edgeflow_stream::publisher::PublisherHandle;
use edgeflow_stream::transport::unix::{UnixDial, UnixListen};
use edgeflow_stream::{
    Codec, Frame, GroupConfig, InputConfig, Limits, Publisher, PublisherConfig, Subscriber,
    SubscriberConfig,
};
use edgeflow_testkit::Redis;
use redis::streams::StreamReadReply;
use serde_json::{Value, json};

use crate::report;

/// Name, payload bytes and frames of a run.
const CASES: [(&str, usize, u32); 3] = [
    ("1 kB", 1_000, 5_000),
    ("50 kB", 50_000, 3_000),
    ("900 kB", 900_000, 300),
];
const RUNS: usize = 5;
const KILLED_FRAMES: u32 = 10_000;
const KILLS: u32 = 3;
const LINK: &str = "bench->peer";
const GROUP: &str = "peer";
/// Entries that the raw reader takes at once, as many as the link's own reader.
const BATCH: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(_args: &[String]) -> Result<()> {
    if !Redis::is_installed() {
        bail!("redis-server is not installed: apt-get install redis-server");
    }
    let mut rows = Vec::new();
    for (name, bytes, frames) in CASES {
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours.push(Setup::start()?.link(bytes, frames, 0)?.0);
            raw.push(Setup::start()?.raw(bytes, frames)?);
        }
        let (ours, raw) = (report::median(&ours), report::median(&raw));
        rows.push(json!({
            "payload": name,
            "link_frames_per_s": ours.round(),
            "raw_frames_per_s": raw.round(),
            "ratio": (ours / raw * 100.0).round() / 100.0,
            "runs": RUNS,
        }));
    }
    rows.extend(paced::measure()?);
    rows.push(killed()?);
    report::print("broker", &rows);
    Ok(())
}

fn killed() -> Result<Value> {
    let (_, distinct) = Setup::start()?.link(50_000, KILLED_FRAMES, KILLS)?;
    Ok(
        json!({"what": "frames with the server killed", "kills": KILLS, "sent": KILLED_FRAMES, "arrived": distinct}),
    )
}

struct Setup {
    redis: Redis,
    dir: tempfile::TempDir,
}

impl Setup {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        Ok(Self {
            redis: Redis::start(dir.path(), &[])?,
            dir,
        })
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Frames a second over the link, and how many different ones arrived.
    fn link(mut self, bytes: usize, frames: u32, kills: u32) -> Result<(f64, u32)> {
        let broker = Broker::at(self.redis.address());
        let qos = LinkQos::durable();
        let publisher = self.publisher(&qos)?;
        let sink = self.sink(&broker, publisher.handle(), &qos)?;
        let consumer = consumer(&broker, frames)?;
        let start = Instant::now();
        for number in 0..frames {
            publisher.send(Frame::new(Codec::Bytes, payload(number, bytes)))?;
            if kills > 0 && (number + 1) % (frames / (kills + 1)) == 0 && number + 1 < frames {
                self.redis.kill9()?;
                self.redis.restart()?;
            }
        }
        let distinct = joined(consumer)??;
        let rate = f64::from(frames) / start.elapsed().as_secs_f64();
        drop(publisher);
        drop(sink);
        Ok((rate, distinct))
    }

    fn publisher(&self, qos: &LinkQos) -> Result<Publisher> {
        let config = PublisherConfig {
            name: "bench/out".to_owned(),
            groups: vec![GroupConfig {
                link: LINK.to_owned(),
                group: GROUP.to_owned(),
                qos: qos.clone(),
            }],
            limits: Limits::default(),
            shared_memory: Some(edgeflow_stream::transport::shm::SharedMemory::default()),
        };
        Ok(Publisher::new(
            config,
            Box::new(UnixListen::bind(&self.output())?),
        )?)
    }

    fn sink(&self, broker: &Broker, output: PublisherHandle, qos: &LinkQos) -> Result<Sink> {
        Ok(Sink::start(SinkConfig {
            broker: broker.clone(),
            key: stream_key("bench", "bench", LINK),
            link: LINK.to_owned(),
            group: GROUP.to_owned(),
            qos: qos.clone(),
            dial: Box::new(UnixDial::new(self.output())),
            output,
            report: Box::new(|_| {}),
        })?)
    }

    /// The same commands by hand: add, read as a group, acknowledge and delete.
    fn raw(self, bytes: usize, frames: u32) -> Result<f64> {
        let client = redis::Client::open(self.redis.address())?;
        let (mut writer, mut reader) = (client.get_connection()?, client.get_connection()?);
        redis::cmd("XGROUP")
            .arg(&["CREATE", "s", "g", "0", "MKSTREAM"])
            .exec(&mut writer)?;
        let consumer: JoinHandle<Result<u32>> = thread::spawn(move || {
            let mut seen = 0;
            while seen < frames {
                let reply: StreamReadReply = redis::cmd("XREADGROUP")
                    .arg(&["GROUP", "g", "c", "BLOCK", "1000", "COUNT"])
                    .arg(BATCH)
                    .arg(&["STREAMS", "s", ">"])
                    .query(&mut reader)?;
                for entry in reply.keys.into_iter().flat_map(|key| key.ids) {
                    redis::pipe()
                        .atomic()
                        .cmd("XACK")
                        .arg(&["s", "g", &entry.id])
                        .cmd("XDEL")
                        .arg(&["s", &entry.id])
                        .exec(&mut reader)?;
                    seen += 1;
                }
            }
            Ok(seen)
        });
        let start = Instant::now();
        for number in 0..frames {
            // The link holds no more than its window in the broker.
            let body = payload(number, bytes);
            let mut ahead: u64 = u64::MAX;
            while ahead > u64::from(LinkQos::durable().window_frames) {
                ahead = redis::cmd("XLEN").arg("s").query(&mut writer)?;
            }
            redis::cmd("XADD")
                .arg(&["s", "*", "m"])
                .arg(&body[..])
                .exec(&mut writer)?;
        }
        ensure!(joined(consumer)?? == frames, "frames are missing");
        Ok(f64::from(frames) / start.elapsed().as_secs_f64())
    }
}

fn payload(number: u32, bytes: usize) -> Vec<u8> {
    let mut payload = vec![7; bytes];
    payload[..4].copy_from_slice(&number.to_le_bytes());
    payload
}

/// The consuming end.
fn subscriber(broker: &Broker, qos: &LinkQos) -> Result<Subscriber> {
    let config = SubscriberConfig {
        member: "peer.0".to_owned(),
        limits: Limits::default(),
    };
    let input = InputConfig {
        port: "in".to_owned(),
        link: LINK.to_owned(),
        group: GROUP.to_owned(),
        qos: qos.clone(),
        from: "bench".to_owned(),
        dial: Box::new(RedisDial::new(
            broker.clone(),
            stream_key("bench", "bench", LINK),
        )),
    };
    Ok(Subscriber::new(&config, vec![input])?)
}

/// Reads until every number has come; how many different ones did.
fn consumer(broker: &Broker, frames: u32) -> Result<JoinHandle<Result<u32>>> {
    let mut subscriber = subscriber(broker, &LinkQos::durable())?;
    Ok(thread::spawn(move || {
        let mut seen = vec![false; frames as usize];
        let mut distinct = 0;
        while distinct < frames {
            let Some(received) = subscriber.recv(PATIENCE)? else {
                break;
            };
            let number = received.frame.payload.first_chunk().context("no number")?;
            let slot = seen.get_mut(u32::from_le_bytes(*number) as usize);
            if !std::mem::replace(slot.context("a number that was not sent")?, true) {
                distinct += 1;
            }
        }
        subscriber.ack();
        Ok(distinct)
    }))
}

fn joined<T>(handle: JoinHandle<T>) -> Result<T> {
    handle
        .join()
        .map_err(|_| anyhow::anyhow!("a thread panicked"))
}
