//! The consumer's side: answers a subscriber like a producer would, with what a stream of the
//! broker has. Two threads a connection, so that acknowledgements go out while a read waits.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use edgeflow_spec::broker::Broker;
use edgeflow_spec::qos::QosMode;
use redis::Connection;
use redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};

use super::dead;
use super::entry::{self, EntryError};
use super::stream::create_group;
use super::{
    ANSWER_TIMEOUT, BLOCK, BrokerError, READER_TIMEOUT, TRANSPORT, connect, describe, state_key,
};
use crate::frame::Limits;
use crate::link::{
    Accept, Data, Decoder, Hello, Message, PROTOCOL_MAX, Reject, RejectCode, Role, encode,
    negotiate,
};
use crate::transport::{Dial, Dialed, handover};

mod settle;

use settle::{Settler, Shared, Unacked};

/// Time for the subscriber's greeting, and for it to take the answer off the socket.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a producer is waited for that has not been at the broker yet, and how often it is
/// looked for. Less than the subscriber waits for an answer.
const BOOT_WAIT: Duration = Duration::from_secs(1);
const BOOT_PAUSE: Duration = Duration::from_millis(10);
/// Entries read at once.
const MAX_BATCH: u32 = 16;
/// Bytes of payloads that are fetched together; one always is.
const MAX_FETCH_BYTES: usize = 1024 * 1024;
/// Realtime entries looked at together; the stream keeps no more.
const REALTIME_BATCH: u32 = 4;
/// A frame that its consumer has had for so long without an acknowledgement goes to another one.
pub const CLAIM_IDLE: Duration = Duration::from_secs(30);
/// How often abandoned frames are looked for.
const CLAIM_EVERY: Duration = Duration::from_secs(5);

/// Connects a subscriber to a stream.
#[derive(Clone, Debug)]
pub struct RedisDial {
    broker: Broker,
    key: String,
    /// Tells consumers of the same name on different devices apart.
    device: String,
    /// A frame that its consumer has died with so often is given up.
    max_deliveries: Option<u32>,
    /// Held by the connection that reads: the next one must not read beside it.
    reading: Arc<Mutex<Life>>,
}

/// What the connections of one process know of each other.
#[derive(Debug, Default)]
struct Life {
    /// One has read already: what it left is not to blame for the end of a process.
    began: bool,
}

impl RedisDial {
    /// Reads the stream `key`, see [`super::stream_key`].
    pub fn new(broker: Broker, key: impl Into<String>) -> Self {
        Self {
            broker,
            key: key.into(),
            device: String::new(),
            max_deliveries: None,
            reading: Arc::default(),
        }
    }

    /// Names the device that the consumer is on: the broker knows it as `DEVICE/MEMBER`.
    #[must_use]
    pub fn from_device(mut self, device: impl Into<String>) -> Self {
        self.device = device.into();
        self
    }
}

impl RedisDial {
    /// Gives a frame up that its consumer, the process, has died with so often.
    #[must_use]
    pub fn giving_up_after(mut self, deliveries: u32) -> Self {
        self.max_deliveries = Some(deliveries);
        self
    }
}

impl Dial for RedisDial {
    fn dial(&mut self) -> io::Result<Dialed> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_read_timeout(Some(PEER_TIMEOUT))?;
        theirs.set_write_timeout(Some(PEER_TIMEOUT))?;
        let (sender, frames) = handover::pair()?;
        let this = self.clone();
        let reading = Arc::clone(&self.reading);
        std::thread::Builder::new()
            .name("broker-source".to_owned())
            .spawn(move || {
                let mut life = reading
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
                if let Err(error) = serve(&this, theirs, sender, &mut life) {
                    tracing::debug!(stream = %this.key, reason = %error, "reading from the broker ended");
                }
            })?;
        Ok(Dialed {
            socket: ours.into(),
            frames: Some(frames),
        })
    }

    fn address(&self) -> String {
        self.key.clone()
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error("the subscriber is gone: {0}")]
    Peer(#[from] io::Error),
    #[error("the subscriber said something unexpected: {0}")]
    Protocol(String),
    #[error("{}", describe(.0))]
    Broker(#[from] BrokerError),
}

impl From<redis::RedisError> for SourceError {
    fn from(error: redis::RedisError) -> Self {
        Self::Broker(error.into())
    }
}

/// Serves one connection until either side goes.
fn serve(
    dial: &RedisDial,
    mut socket: UnixStream,
    frames: handover::Sender,
    life: &mut Life,
) -> Result<(), SourceError> {
    let key = &dial.key;
    let mut decoder = Decoder::new(Role::Producer, Limits::default());
    let Message::Hello(hello) = read(&mut socket, &mut decoder)? else {
        return Err(SourceError::Protocol("no greeting".to_owned()));
    };
    let prepared = prepare(&dial.broker, key, &hello);
    let (reader, acks, accept) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let reject = Reject {
                code: RejectCode::Other,
                message: describe(&error),
            };
            socket.write_all(&encode(&Message::Reject(reject)))?;
            return Err(error.into());
        }
    };
    socket.write_all(&encode(&Message::Accept(accept)))?;
    // From here on it is silent for as long as its loop takes.
    socket.set_read_timeout(None)?;
    let shared = Arc::new(Shared::default());
    let consumer = consumer_name(&dial.device, &hello.member);
    let keeps = hello.qos != QosMode::Realtime;
    let first = !std::mem::replace(&mut life.began, true);
    let entries = Entries {
        connection: reader,
        key: key.clone(),
        group: hello.group.clone(),
        consumer: consumer.clone(),
        keeps,
        max_deliveries: dial.max_deliveries.filter(|_| keeps && first),
        limits: Limits {
            max_meta: hello.max_meta,
            max_payload: hello.max_payload,
        },
        frames,
        socket: socket.try_clone()?,
        shared: Arc::clone(&shared),
        own: Some("0".to_owned()),
        claimed_at: Instant::now(),
    };
    let thread = std::thread::Builder::new()
        .name("broker-read".to_owned())
        .spawn(move || entries.run())?;
    let consumer = keeps.then_some(consumer);
    let mut settler = Settler::new(acks, key.clone(), hello.group, consumer);
    let ended = settler.listen(&mut socket, &mut decoder, &shared);
    shared.close();
    let _ = socket.shutdown(std::net::Shutdown::Both);
    // It ends within one blocking read; if it waits for room, when the subscriber sees the end.
    let _ = thread.join();
    ended
}

/// What the broker calls a consumer: unique over devices.
fn consumer_name(device: &str, member: &str) -> String {
    if device.is_empty() {
        return member.to_owned();
    }
    format!("{device}/{member}")
}

fn prepare(
    broker: &Broker,
    key: &str,
    hello: &Hello,
) -> Result<(Connection, Connection, Accept), BrokerError> {
    let mut reader = connect(broker, BLOCK + READER_TIMEOUT)?;
    let acks = connect(broker, ANSWER_TIMEOUT)?;
    create_group(&mut reader, key, &hello.group)?;
    let boot = producer_boot(&mut reader, key)?;
    let accept = Accept {
        protocol: negotiate(hello.protocol_min, hello.protocol_max).unwrap_or(PROTOCOL_MAX),
        transport: TRANSPORT.to_owned(),
        stream_id: 0,
        epoch: 0,
        boot_id: boot.unwrap_or_default(),
        pipe: false,
    };
    Ok((reader, acks, accept))
}

/// The boot id of the producer's machine, which says whether both ends have one clock. A producer
/// that starts at the same time gets a moment to leave it; without it, hops are not measured.
fn producer_boot(connection: &mut Connection, key: &str) -> Result<Option<String>, BrokerError> {
    let until = Instant::now() + BOOT_WAIT;
    loop {
        let boot: Option<String> = redis::cmd("HGET")
            .arg(state_key(key))
            .arg("boot")
            .query(connection)?;
        if boot.is_some() || Instant::now() >= until {
            return Ok(boot);
        }
        std::thread::sleep(BOOT_PAUSE);
    }
}

/// The next message. Blocks.
fn read(socket: &mut UnixStream, decoder: &mut Decoder) -> Result<Message, SourceError> {
    loop {
        let message = decoder.next();
        if let Some(message) = message.map_err(|e| SourceError::Protocol(e.to_string()))? {
            return Ok(message);
        }
        let count = socket.read(decoder.space())?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        decoder.advance(count);
    }
}

/// The reading thread.
struct Entries {
    connection: Connection,
    key: String,
    group: String,
    /// Who this is, to the broker.
    consumer: String,
    /// Every entry has to be acknowledged: not realtime.
    keeps: bool,
    /// While it is to be found out what the consumer's former life died with: how often is too often.
    max_deliveries: Option<u32>,
    limits: Limits,
    frames: handover::Sender,
    /// Closed when there is no more.
    socket: UnixStream,
    shared: Arc<Shared>,
    /// While what this member had in an earlier life is read: the last id of it.
    own: Option<String>,
    claimed_at: Instant,
}

impl Entries {
    fn run(mut self) {
        let ended = self.pump();
        if let Err(error) = &ended {
            tracing::debug!(stream = %self.key, reason = %error, "the stream can't be read on");
        }
        self.shared.close();
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    fn pump(&mut self) -> Result<(), SourceError> {
        while let Some(credits) = self.shared.wait_credits() {
            let entries = match self.next_entries(credits) {
                Err(BrokerError::Command(error)) if error.code() == Some("NOGROUP") => {
                    tracing::warn!(stream = %self.key, "the broker was emptied; reading from its start");
                    create_group(&mut self.connection, &self.key, &self.group)?;
                    continue;
                }
                entries => entries?,
            };
            self.give(entries)?;
        }
        Ok(())
    }

    /// What this member had before, what others abandoned, what is new: the first that has any.
    fn next_entries(&mut self, credits: u32) -> Result<Vec<(StreamId, bool)>, BrokerError> {
        let count = credits.min(MAX_BATCH);
        if !self.keeps {
            let mut entries = self.read_group(">", REALTIME_BATCH, true)?;
            // The newest; the others are out of date.
            return Ok(entries
                .pop()
                .map(|entry| (entry, false))
                .into_iter()
                .collect());
        }
        if let Some(after) = self.own.take() {
            let mut own = self.read_group(&after, count, false)?;
            if let Some(most) = self.max_deliveries.take() {
                self.judge(&mut own, most)?;
            }
            if let Some(last) = own.last() {
                self.own = Some(last.id.clone());
                return Ok(own.into_iter().map(|entry| (entry, true)).collect());
            }
        }
        if self.claimed_at.elapsed() >= CLAIM_EVERY {
            self.claimed_at = Instant::now();
            let claimed = self.claim(count)?;
            if !claimed.is_empty() {
                return Ok(claimed.into_iter().map(|entry| (entry, true)).collect());
            }
        }
        let new = self.read_group(">", count, false)?;
        Ok(new.into_iter().map(|entry| (entry, false)).collect())
    }

    /// The oldest of what the consumer's former life had was probably in its loop when that ended.
    fn judge(&mut self, own: &mut Vec<StreamId>, most: u32) -> Result<(), BrokerError> {
        let connection = &mut self.connection;
        let was_clean = dead::take_clean_end(connection, &self.key, &self.consumer)?;
        let Some(suspect) = own.first().filter(|_| !was_clean) else {
            return Ok(());
        };
        let deliveries = dead::count_death(connection, &self.key, &suspect.id)?;
        if deliveries < most {
            return Ok(());
        }
        dead::bury(connection, &self.key, &self.group, &suspect.id, deliveries)?;
        let (stream, entry) = (&self.key, &suspect.id);
        tracing::warn!(%stream, %entry, deliveries, "a frame was lost with its consumer too often and is given up");
        own.remove(0);
        Ok(())
    }

    fn read_group(
        &mut self,
        from: &str,
        count: u32,
        no_ack: bool,
    ) -> Result<Vec<StreamId>, BrokerError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.group).arg(&self.consumer);
        command.arg("COUNT").arg(count);
        if from == ">" {
            let wait = u64::try_from(BLOCK.as_millis()).unwrap_or(u64::MAX);
            command.arg("BLOCK").arg(wait);
        }
        if no_ack {
            command.arg("NOACK");
        }
        command.arg("STREAMS").arg(&self.key).arg(from);
        let reply: Option<StreamReadReply> = command.query(&mut self.connection)?;
        let keys = reply.map(|reply| reply.keys).unwrap_or_default();
        Ok(keys.into_iter().flat_map(|key| key.ids).collect())
    }

    fn claim(&mut self, count: u32) -> Result<Vec<StreamId>, BrokerError> {
        let idle = u64::try_from(CLAIM_IDLE.as_millis()).unwrap_or(u64::MAX);
        let reply: StreamAutoClaimReply = redis::cmd("XAUTOCLAIM")
            .arg(&self.key)
            .arg(&self.group)
            .arg(&self.consumer)
            .arg(idle)
            .arg("0-0")
            .arg("COUNT")
            .arg(count)
            .query(&mut self.connection)?;
        Ok(reply.claimed)
    }

    /// Hands entries to the subscriber, as many together as their payloads allow.
    fn give(&mut self, entries: Vec<(StreamId, bool)>) -> Result<(), SourceError> {
        let mut rest = entries.into_iter().peekable();
        while rest.peek().is_some() {
            let mut some = Vec::new();
            let mut bytes = 0;
            while let Some((entry, _)) = rest.peek() {
                bytes += entry::encoded_len(entry, &self.limits);
                if !some.is_empty() && bytes > MAX_FETCH_BYTES {
                    break;
                }
                some.extend(rest.next());
            }
            self.give_some(some)?;
        }
        Ok(())
    }

    /// Hands entries over together. One that is no frame is ended, once and for all.
    fn give_some(&mut self, entries: Vec<(StreamId, bool)>) -> Result<(), SourceError> {
        let mut blobs = self.fetch(&entries)?.into_iter();
        let (mut frames, mut unacked) = (Vec::new(), Vec::new());
        for (mut entry, redelivered) in entries {
            let blob_key = entry::blob_key(&entry).map(<[u8]>::to_vec);
            let blob = blob_key.as_ref().and_then(|_| blobs.next()).flatten();
            let id = std::mem::take(&mut entry.id);
            match entry::parse(&mut entry, blob, &self.limits) {
                Ok((frame, sent)) => {
                    unacked.push(Unacked {
                        seq: frame.header.seq,
                        redelivered,
                        id,
                        blob: blob_key,
                        bytes: frame.encoded_len(),
                    });
                    frames.push(Data {
                        frame,
                        sent_mono_ns: sent,
                        redelivered,
                    });
                }
                Err(reason) => self.discard(id, blob_key, &reason)?,
            }
        }
        self.shared.gave(unacked, self.keeps);
        Ok(self.frames.send(frames)?)
    }

    /// The payloads that are not in the entries themselves, in their order.
    fn fetch(&mut self, entries: &[(StreamId, bool)]) -> Result<Vec<Option<Vec<u8>>>, BrokerError> {
        let keys = entries
            .iter()
            .filter_map(|(entry, _)| entry::blob_key(entry));
        let keys: Vec<&[u8]> = keys.collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        Ok(redis::cmd("MGET").arg(keys).query(&mut self.connection)?)
    }

    fn discard(
        &mut self,
        id: String,
        blob: Option<Vec<u8>>,
        reason: &EntryError,
    ) -> Result<(), SourceError> {
        tracing::warn!(stream = %self.key, entry = %id, %reason, "an entry of the broker is no frame; discarded");
        if self.keeps {
            let done = [Unacked {
                seq: 0,
                redelivered: false,
                id,
                blob,
                bytes: 0,
            }];
            settle::acknowledge(&mut self.connection, &self.key, &self.group, &done, 0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_of_one_name_on_two_devices_are_two() {
        assert_ne!(consumer_name("a", "s.n.0"), consumer_name("b", "s.n.0"));
        assert_eq!(consumer_name("a", "s.n.0"), "a/s.n.0");
        assert_eq!(consumer_name("", "s.n.0"), "s.n.0");
    }
}
