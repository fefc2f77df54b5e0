//! A stream as its producer sees it: what it holds, what fits, what has arrived. Adds frames and
//! counts; never deletes one.
//!
//! Beside the stream is a hash: `bytes` that it holds, entries ever `added`, the `last` frame added
//! and the `boot` id of the producer's machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgeflow_spec::broker::Broker;
use edgeflow_spec::qos::LinkQos;
use redis::{Connection, FromRedisValue, Value};

use super::batch::{Transaction, unexpected};
use super::entry::{self, MAX_INLINE};
use super::{ANSWER_TIMEOUT, BrokerError, connect, dead, state_key};
use crate::clock;
use crate::frame::{Frame, Limits};

/// Entries that a realtime stream keeps: the newest, and one that a reader may be at.
const REALTIME_ENTRIES: u32 = 2;

/// A frame for the broker.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) frame: Frame,
    pub(super) sent_mono_ns: u64,
}

/// What the stream holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    frames: u64,
    bytes: u64,
}

/// Names a frame: stream, epoch, number.
type FrameId = (u32, u32, u64);

pub(super) struct Stream {
    broker: Broker,
    key: String,
    state: String,
    group: String,
    qos: LinkQos,
    lost: Arc<AtomicU64>,
    connection: Option<Connection>,
    held: Held,
    /// Entries ever added, as the broker counts them.
    added: Option<u64>,
    /// The last frame that the broker had when the connection was made: one that was sent before it
    /// broke may be there although no answer came.
    last: Option<FrameId>,
    /// A dead entry that was put aside and is not ended yet, and its dead letter's id, so that none is
    /// put aside twice when the broker does not answer.
    buried: Option<(String, String)>,
}

impl Stream {
    pub(super) fn new(
        broker: Broker,
        key: String,
        group: String,
        qos: LinkQos,
        lost: Arc<AtomicU64>,
    ) -> Self {
        Self {
            broker,
            state: state_key(&key),
            key,
            group,
            qos,
            lost,
            connection: None,
            buried: None,
            held: Held::default(),
            added: None,
            last: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Connects, makes the group, and looks at what is there.
    pub(super) fn open(&mut self) -> Result<(), BrokerError> {
        let mut connection = connect(&self.broker, ANSWER_TIMEOUT)?;
        self.announce(&mut connection)?;
        self.look(&mut connection)?;
        let (added, last): (Option<u64>, Option<String>) = redis::cmd("HMGET")
            .arg(&self.state)
            .arg("added")
            .arg("last")
            .query(&mut connection)?;
        self.count(added.unwrap_or(0), 0);
        self.last = last.as_deref().and_then(parse_id);
        self.connection = Some(connection);
        Ok(())
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

    /// How many of these frames the stream has room for.
    fn fitting(&self, items: &[Item]) -> usize {
        let Held { frames, mut bytes } = self.held;
        let room = u64::from(self.qos.window_frames).saturating_sub(frames);
        let fits = |item: &&Item| {
            bytes += item.frame.encoded_len() as u64;
            bytes <= self.qos.window_bytes
        };
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let fitting = items.iter().take(room).take_while(fits).count();
        // A frame that is larger than the window goes alone.
        fitting.max(usize::from(frames == 0)).min(items.len())
    }

    /// Adds as many of the frames, in order, as there is room for; how many.
    pub(super) fn add(&mut self, items: &[Item]) -> Result<usize, BrokerError> {
        if self.connection.is_none() {
            self.open()?;
        }
        let there = self.arrived(items);
        if there > 0 {
            return Ok(there);
        }
        let Some(mut connection) = self.connection.take() else {
            return Ok(0);
        };
        let mut fitting = self.fitting(items);
        if fitting == 0 {
            self.look(&mut connection)?;
            fitting = self.fitting(items);
        }
        if fitting > 0 {
            self.append(&mut connection, &items[..fitting])?;
        }
        self.connection = Some(connection);
        Ok(fitting)
    }

    /// How many of the frames the broker has, of what was sent before the last connection broke.
    fn arrived(&mut self, items: &[Item]) -> usize {
        let Some((stream, epoch, seq)) = self.last.take() else {
            return 0;
        };
        let known = |item: &&Item| {
            let (s, e, number) = id(&item.frame);
            (s, e) == (stream, epoch) && number <= seq
        };
        items.iter().take_while(known).count()
    }

    fn append(&mut self, connection: &mut Connection, items: &[Item]) -> Result<(), BrokerError> {
        let sizes = items.iter().map(|item| item.frame.encoded_len());
        let bytes: usize = sizes.sum();
        let mut transaction = Transaction::new(bytes + items.len() * 2 * self.key.len());
        for item in items {
            self.pack(&mut transaction, item);
        }
        let state = self.state.as_bytes();
        let hincrby = |transaction: &mut Transaction, field: &[u8], by: usize| {
            transaction.command(&[b"HINCRBY", state, field, by.to_string().as_bytes()]);
        };
        if let Some(item) = items.last() {
            let last = format_id(id(&item.frame));
            transaction.command(&[b"HSET", state, b"last", last.as_bytes()]);
        }
        hincrby(&mut transaction, b"bytes", bytes);
        hincrby(&mut transaction, b"added", items.len());
        transaction.command(&[b"XLEN", self.key.as_bytes()]);
        let answers = transaction.run(connection)?;
        let Some([bytes, added, frames]) = answers.last_chunk::<3>() else {
            return Err(unexpected(&Value::Nil).into());
        };
        let (bytes, added, frames): (i64, u64, u64) = (read(bytes)?, read(added)?, read(frames)?);
        if self.count(added, items.len() as u64) {
            self.announce(connection)?;
        }
        self.hold(frames, bytes);
        Ok(())
    }

    fn pack(&self, transaction: &mut Transaction, item: &Item) {
        let frame = &item.frame;
        let (head, body) = (entry::head(frame, item.sent_mono_ns), entry::body(frame));
        let key = self.key.as_bytes();
        let (field, value) = (entry::HEAD.as_bytes(), &head[..]);
        if body.len() <= MAX_INLINE {
            let inline = entry::BODY.as_bytes();
            transaction.command(&[b"XADD", key, b"*", field, value, inline, &body]);
            return;
        }
        let (stream, epoch, seq) = id(frame);
        let blob = format!("{}:blob:{stream:x}.{epoch:x}.{seq}", self.key);
        let blob = blob.as_bytes();
        transaction.command(&[b"SET", blob, &body]);
        let name = entry::BLOB.as_bytes();
        transaction.command(&[b"XADD", key, b"*", field, value, name, blob]);
    }

    /// Compares how many entries were ever added, of which `new` just now, with what is known.
    /// Whether some are missing: the broker was emptied, or restarted with older data.
    fn count(&mut self, added: u64, new: u64) -> bool {
        let expected = self.added.replace(added).map(|before| before + new);
        let missing = expected.map_or(0, |expected| expected.saturating_sub(added));
        if missing == 0 {
            return false;
        }
        let frames = missing.min(self.held.frames);
        self.lost.fetch_add(frames, Ordering::Relaxed);
        tracing::warn!(stream = %self.key, frames, "the broker was emptied; up to so many frames are lost");
        true
    }

    /// Hands the frames that consumers died with too often to `put`, which puts them aside; an error of
    /// it leaves the rest for later. `discard` takes one back that somebody else had put aside.
    pub(super) fn collect_dead<E>(
        &mut self,
        mut put: impl FnMut(Frame, u32) -> Result<String, E>,
        mut discard: impl FnMut(&str),
    ) -> Result<(), BrokerError> {
        // After an error it is of no more use.
        let Some(mut connection) = self.connection.take() else {
            return Ok(());
        };
        while let Some(dead) = dead::oldest(&mut connection, &self.key, &Limits::default())? {
            if self
                .buried
                .as_ref()
                .is_none_or(|(note, _)| *note != dead.note)
            {
                self.buried = match dead.frame.clone().map(|frame| put(frame, dead.deliveries)) {
                    Some(Ok(id)) => Some((dead.note.clone(), id)),
                    None => None,
                    Some(Err(_)) => break,
                };
            }
            let removed = dead::remove(&mut connection, &self.key, &dead)?;
            if let Some((_, id)) = self.buried.take().filter(|_| !removed) {
                discard(&id);
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Adds a realtime frame, which takes the place of older ones.
    pub(super) fn add_newest(&mut self, item: &Item) -> Result<(), BrokerError> {
        if self.connection.is_none() {
            self.open()?;
        }
        let Some(mut connection) = self.connection.take() else {
            return Ok(());
        };
        let head = entry::head(&item.frame, item.sent_mono_ns);
        let body = entry::body(&item.frame);
        redis::cmd("XADD")
            .arg(&self.key)
            .arg("MAXLEN")
            .arg(REALTIME_ENTRIES)
            .arg("*")
            .arg(entry::HEAD)
            .arg(&head[..])
            .arg(entry::BODY)
            .arg(&body[..])
            .exec(&mut connection)?;
        self.connection = Some(connection);
        Ok(())
    }
}

fn id(frame: &Frame) -> FrameId {
    let header = &frame.header;
    (header.stream_id, header.epoch, header.seq)
}

fn format_id((stream, epoch, seq): FrameId) -> String {
    format!("{stream:x}.{epoch:x}.{seq}")
}

fn parse_id(text: &str) -> Option<FrameId> {
    let mut parts = text.split('.');
    let stream = u32::from_str_radix(parts.next()?, 16).ok()?;
    let epoch = u32::from_str_radix(parts.next()?, 16).ok()?;
    Some((stream, epoch, parts.next()?.parse().ok()?))
}

fn read<T: FromRedisValue>(value: &Value) -> Result<T, BrokerError> {
    T::from_redis_value_ref(value).map_err(|_| unexpected(value).into())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Codec;

    fn stream(window_frames: u32, window_bytes: u64) -> Stream {
        let broker = Broker {
            redis: "unix:///nowhere".to_owned(),
            password_file: None,
            ca_file: None,
        };
        let qos = LinkQos {
            window_frames,
            window_bytes,
            ..LinkQos::durable()
        };
        Stream::new(broker, "k".into(), "g".into(), qos, Arc::default())
    }

    fn items(count: u64, len: usize) -> Vec<Item> {
        (1..=count)
            .map(|seq| {
                let mut frame = Frame::new(Codec::Bytes, vec![0; len]);
                frame.header.seq = seq;
                Item {
                    frame,
                    sent_mono_ns: 0,
                }
            })
            .collect()
    }

    #[test]
    fn no_more_is_added_than_frames_and_bytes_allow() {
        let size = items(1, 1000)[0].frame.encoded_len() as u64;
        let mut stream = stream(8, 10 * size);
        assert_eq!(stream.fitting(&items(20, 1000)), 8);
        stream.hold(6, 0);
        assert_eq!(stream.fitting(&items(20, 1000)), 2);
        stream.hold(2, i64::try_from(7 * size).unwrap());
        assert_eq!(stream.fitting(&items(20, 1000)), 3);
        stream.hold(8, 0);
        assert_eq!(stream.fitting(&items(20, 1000)), 0);
        stream.hold(0, 0);
        assert_eq!(stream.fitting(&items(2, 100_000)), 1, "alone");
    }

    #[test]
    fn what_arrived_without_an_answer_is_not_added_again() {
        let mut stream = stream(8, 1 << 20);
        let items = items(5, 10);
        let (s, e, _) = id(&items[0].frame);
        stream.last = parse_id(&format_id((s, e, 3)));
        assert_eq!(stream.arrived(&items), 3);
        assert_eq!(stream.arrived(&items), 0, "asked once for a connection");
        stream.last = Some((s, e.wrapping_add(1), 3));
        assert_eq!(stream.arrived(&items), 0, "of another life");
        assert_eq!(parse_id("rubbish"), None);
    }
}
