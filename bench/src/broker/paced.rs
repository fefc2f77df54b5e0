//! One frame through the server at a time, realtime: the time from sending to the consumer's loop and the
//! processor time of both ends, without the server's. The link beside the raw crate adding to a stream
//! that keeps the newest, in turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use edgeflow_spec::broker::Broker;
use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::{Codec, Frame, clock};
use redis::Value as Reply;
use redis::streams::StreamReadReply;
use serde_json::{Map, Value};

use super::{Setup, joined, payload, subscriber};
use crate::hop::{CASES, Case, Run, Samples, cpu_us, pace};
use crate::report;

const RUNS: usize = 3;
/// How often a reader looks whether it is over.
const LOOK: Duration = Duration::from_millis(200);
/// Entries that the raw stream keeps, as the link's.
const KEPT: usize = 2;

pub(super) fn measure() -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for case in &CASES {
        let (mut ours, mut raw) = (Samples::default(), Samples::default());
        // A realtime frame may be superseded: how many were not is a part of the result.
        let (mut ours_arrived, mut raw_arrived) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let (one, other) = (link(case)?, bare(case)?);
            ours_arrived.push(one.arrived(case));
            raw_arrived.push(other.arrived(case));
            ours.add(&one);
            raw.add(&other);
        }
        let mut row = Map::new();
        row.insert("paced".to_owned(), case.name.into());
        row.insert("per_s".to_owned(), case.per_second.into());
        ours.write("link_", "", &mut row);
        raw.write("raw_", "", &mut row);
        ours.compare(&raw, "raw", &mut row);
        row.insert(
            "link_arrived".to_owned(),
            report::median(&ours_arrived).into(),
        );
        row.insert(
            "raw_arrived".to_owned(),
            report::median(&raw_arrived).into(),
        );
        row.insert("runs".to_owned(), RUNS.into());
        rows.push(Value::Object(row));
    }
    Ok(rows)
}

/// A thread that reads until it is told to end, and gives the hops in microseconds.
struct Reader {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<f64>>>,
}

impl Reader {
    /// `next` waits for a frame for a moment.
    fn start(mut next: impl FnMut() -> Result<Option<f64>> + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut hops = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                hops.extend(next()?);
            }
            Ok(hops)
        });
        Self { over, thread }
    }

    fn finish(self) -> Result<Vec<f64>> {
        // What was sent last has the time of a look to arrive.
        std::thread::sleep(LOOK);
        self.over.store(true, Ordering::Relaxed);
        joined(self.thread)?
    }
}

fn link(case: &Case) -> Result<Run> {
    let setup = Setup::start()?;
    let broker = Broker::at(setup.redis.address());
    let qos = LinkQos::realtime();
    let publisher = setup.publisher(&qos)?;
    let sink = setup.sink(&broker, publisher.handle(), &qos)?;
    let mut subscriber = subscriber(&broker, &qos)?;
    while !subscriber.is_connected() {
        subscriber.recv(Duration::from_millis(10))?;
    }
    let reader = Reader::start(move || {
        let Some(received) = subscriber.recv(LOOK)? else {
            return Ok(None);
        };
        let hop = received.hop.context("the clocks are not the same")?;
        Ok(Some(hop.as_secs_f64() * 1e6))
    });
    let frame = Frame::new(Codec::Bytes, payload(0, case.bytes));
    let cpu = cpu_us();
    pace(case, |_| {
        publisher.send(frame.clone())?;
        Ok(())
    })?;
    let run = Run::new(reader.finish()?, cpu_us() - cpu);
    drop(publisher);
    drop(sink);
    Ok(run)
}

fn bare(case: &Case) -> Result<Run> {
    let setup = Setup::start()?;
    let client = redis::Client::open(setup.redis.address())?;
    let (mut writer, mut reader) = (client.get_connection()?, client.get_connection()?);
    redis::cmd("XGROUP")
        .arg(&["CREATE", "s", "g", "0", "MKSTREAM"])
        .exec(&mut writer)?;
    let wait = LOOK.as_millis().to_string();
    let reader = Reader::start(move || {
        let reply: Option<StreamReadReply> = redis::cmd("XREADGROUP")
            .arg(&["GROUP", "g", "c", "COUNT", "4", "NOACK", "BLOCK", &wait])
            .arg(&["STREAMS", "s", ">"])
            .query(&mut reader)?;
        let keys = reply.map(|reply| reply.keys).unwrap_or_default();
        let Some(newest) = keys.into_iter().flat_map(|key| key.ids).last() else {
            return Ok(None);
        };
        let Some(Reply::BulkString(sent)) = newest.map.get("t") else {
            return Ok(None);
        };
        let sent = u64::from_le_bytes(*sent.first_chunk().context("no time")?);
        let hop_ns = clock::monotonic_ns().saturating_sub(sent);
        Ok(Some(hop_ns as f64 / 1e3))
    });
    let body = payload(0, case.bytes);
    let cpu = cpu_us();
    pace(case, |_| {
        let sent = clock::monotonic_ns().to_le_bytes();
        redis::cmd("XADD")
            .arg(&["s", "MAXLEN"])
            .arg(KEPT)
            .arg("*")
            .arg("t")
            .arg(&sent[..])
            .arg("m")
            .arg(&body[..])
            .exec(&mut writer)?;
        Ok(())
    })?;
    Ok(Run::new(reader.finish()?, cpu_us() - cpu))
}
