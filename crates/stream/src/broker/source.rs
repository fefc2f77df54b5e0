//! The consumer's side: answers a subscriber like a producer would, with what a stream of the
//! broker has. Two threads a connection, so that acknowledgements go out while a read waits.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use edgeflow_spec::broker::Broker;
use edgeflow_spec::qos::QosMode;
use redis::Connection;
use redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};

use super::entry::{self, EntryError};
use super::sink::create_group;
use super::{
    ANSWER_TIMEOUT, BLOCK, BrokerError, READER_TIMEOUT, TRANSPORT, connect, describe, state_key,
};
use crate::frame::{Frame, Limits};
use crate::link::{
    Accept, Credit, Decoder, Hello, Message, PROTOCOL_MAX, Reject, RejectCode, Role, encode,
    encode_data_prefix, negotiate,
};
use crate::transport::Dial;

/// Time for the subscriber's greeting, and for it to take a frame off the socket.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a producer is waited for that has not been at the broker yet, and how often it is
/// looked for. Less than the subscriber waits for an answer.
const BOOT_WAIT: Duration = Duration::from_secs(1);
const BOOT_PAUSE: Duration = Duration::from_millis(10);
/// Entries read at once.
const MAX_BATCH: u32 = 16;
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
    /// Held by the connection that reads: the next one must not read beside it.
    reading: Arc<Mutex<()>>,
}

impl RedisDial {
    /// Reads the stream `key`, see [`super::stream_key`].
    pub fn new(broker: Broker, key: impl Into<String>) -> Self {
        Self {
            broker,
            key: key.into(),
            reading: Arc::default(),
        }
    }
}

impl Dial for RedisDial {
    fn dial(&mut self) -> io::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_read_timeout(Some(PEER_TIMEOUT))?;
        theirs.set_write_timeout(Some(PEER_TIMEOUT))?;
        let (broker, key) = (self.broker.clone(), self.key.clone());
        let reading = Arc::clone(&self.reading);
        std::thread::Builder::new()
            .name("broker-source".to_owned())
            .spawn(move || {
                let _reading = reading.lock();
                if let Err(error) = serve(&broker, &key, theirs) {
                    tracing::debug!(stream = %key, reason = %error, "reading from the broker ended");
                }
            })?;
        Ok(ours.into())
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

/// What the two threads share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    credits: u32,
    unacked: VecDeque<Unacked>,
    closed: bool,
}

/// An entry that the subscriber has.
#[derive(Debug)]
struct Unacked {
    seq: u64,
    id: String,
    blob: Option<Vec<u8>>,
    bytes: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

/// Serves one connection until either side goes.
fn serve(broker: &Broker, key: &str, mut socket: UnixStream) -> Result<(), SourceError> {
    let mut decoder = Decoder::new(Role::Producer, Limits::default());
    let Message::Hello(hello) = read(&mut socket, &mut decoder)? else {
        return Err(SourceError::Protocol("no greeting".to_owned()));
    };
    let prepared = prepare(broker, key, &hello);
    let (reader, mut acks, accept) = match prepared {
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
    let entries = Entries {
        connection: reader,
        key: key.to_owned(),
        keeps: hello.qos != QosMode::Realtime,
        limits: Limits {
            max_meta: hello.max_meta,
            max_payload: hello.max_payload,
        },
        hello: hello.clone(),
        socket: socket.try_clone()?,
        shared: Arc::clone(&shared),
        own: Some("0".to_owned()),
        claimed_at: Instant::now(),
    };
    let thread = std::thread::Builder::new()
        .name("broker-read".to_owned())
        .spawn(move || entries.run())?;
    let ended = listen(
        &mut socket,
        &mut decoder,
        &shared,
        &mut acks,
        key,
        &hello.group,
    );
    shared.close();
    let _ = socket.shutdown(std::net::Shutdown::Both);
    // It ends within one blocking read.
    let _ = thread.join();
    ended
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

/// Takes credits and acknowledgements until the subscriber goes.
fn listen(
    socket: &mut UnixStream,
    decoder: &mut Decoder,
    shared: &Shared,
    acks: &mut Connection,
    key: &str,
    group: &str,
) -> Result<(), SourceError> {
    loop {
        match read(socket, decoder)? {
            Message::Credit(credit) => {
                let done = take_done(&mut shared.lock(), &credit);
                if !done.is_empty() {
                    acknowledge(acks, key, group, &done)?;
                }
                shared.changed.notify_all();
            }
            // Nobody knows the clocks of the producer behind the broker.
            Message::Ping { .. } | Message::AskClock { .. } => {}
            Message::End => return Ok(()),
            other => return Err(SourceError::Protocol(format!("{other:?}"))),
        }
    }
}

/// Adds the credits, and takes out what the subscriber is done with.
fn take_done(state: &mut State, credit: &Credit) -> Vec<Unacked> {
    state.credits = state.credits.saturating_add(credit.credits);
    let index = state
        .unacked
        .iter()
        .position(|unacked| unacked.seq == credit.acked_seq);
    match index {
        Some(index) if credit.acked_seq != 0 => state.unacked.drain(..=index).collect(),
        _ => Vec::new(),
    }
}

/// Ends entries: out of the group, out of the stream, with their payloads.
fn acknowledge(
    connection: &mut Connection,
    key: &str,
    group: &str,
    done: &[Unacked],
) -> Result<(), BrokerError> {
    let ids: Vec<&str> = done.iter().map(|unacked| unacked.id.as_str()).collect();
    let blobs: Vec<&[u8]> = done.iter().filter_map(|u| u.blob.as_deref()).collect();
    let bytes: usize = done.iter().map(|unacked| unacked.bytes).sum();
    let mut pipe = redis::pipe();
    pipe.atomic();
    pipe.cmd("XACK").arg(key).arg(group).arg(&ids).ignore();
    pipe.cmd("XDEL").arg(key).arg(&ids).ignore();
    if !blobs.is_empty() {
        pipe.cmd("DEL").arg(&blobs).ignore();
    }
    pipe.cmd("HINCRBY").arg(state_key(key)).arg("bytes");
    pipe.arg(-i64::try_from(bytes).unwrap_or(i64::MAX)).ignore();
    Ok(pipe.exec(connection)?)
}

/// The reading thread.
struct Entries {
    connection: Connection,
    key: String,
    hello: Hello,
    /// Every entry has to be acknowledged: not realtime.
    keeps: bool,
    limits: Limits,
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
        while let Some(credits) = self.wait_credits() {
            let entries = match self.next_entries(credits) {
                Err(BrokerError::Command(error)) if error.code() == Some("NOGROUP") => {
                    tracing::warn!(stream = %self.key, "the broker was emptied; reading from its start");
                    create_group(&mut self.connection, &self.key, &self.hello.group)?;
                    continue;
                }
                entries => entries?,
            };
            for (entry, redelivered) in entries {
                self.give(entry, redelivered)?;
            }
        }
        Ok(())
    }

    /// Waits until the subscriber takes frames. `None`: it is gone.
    fn wait_credits(&self) -> Option<u32> {
        let mut state = self.shared.lock();
        while state.credits == 0 && !state.closed {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        (!state.closed).then_some(state.credits)
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
            let own = self.read_group(&after, count, false)?;
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

    fn read_group(
        &mut self,
        from: &str,
        count: u32,
        no_ack: bool,
    ) -> Result<Vec<StreamId>, BrokerError> {
        let mut command = redis::cmd("XREADGROUP");
        command
            .arg("GROUP")
            .arg(&self.hello.group)
            .arg(&self.hello.member);
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
            .arg(&self.hello.group)
            .arg(&self.hello.member)
            .arg(idle)
            .arg("0-0")
            .arg("COUNT")
            .arg(count)
            .query(&mut self.connection)?;
        Ok(reply.claimed)
    }

    /// Sends an entry to the subscriber. One that is no frame is ended, once and for all.
    fn give(&mut self, mut entry: StreamId, redelivered: bool) -> Result<(), SourceError> {
        let blob_key = entry::blob_key(&entry).map(<[u8]>::to_vec);
        let blob: Option<Vec<u8>> = match &blob_key {
            Some(key) => redis::cmd("GET").arg(key).query(&mut self.connection)?,
            None => None,
        };
        let id = std::mem::take(&mut entry.id);
        let parsed = entry::parse(&mut entry, blob, &self.limits);
        let (frame, sent) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return self.discard(id, blob_key, &error),
        };
        {
            let mut state = self.shared.lock();
            state.credits = state.credits.saturating_sub(1);
            if self.keeps {
                state.unacked.push_back(Unacked {
                    seq: frame.header.seq,
                    id,
                    blob: blob_key,
                    bytes: frame.encoded_len(),
                });
            }
        }
        self.write(&frame, sent, redelivered)?;
        Ok(())
    }

    fn write(&mut self, frame: &Frame, sent: u64, redelivered: bool) -> io::Result<()> {
        self.socket
            .write_all(&encode_data_prefix(frame, sent, redelivered))?;
        self.socket.write_all(&frame.meta)?;
        self.socket.write_all(&frame.payload)
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
                id,
                blob,
                bytes: 0,
            }];
            acknowledge(&mut self.connection, &self.key, &self.hello.group, &done)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unacked(seq: u64) -> Unacked {
        Unacked {
            seq,
            id: format!("{seq}-0"),
            blob: None,
            bytes: 10,
        }
    }

    #[test]
    fn an_acknowledgement_covers_everything_before_it_and_nothing_unknown() {
        let mut state = State::default();
        state.unacked.extend([unacked(4), unacked(5), unacked(7)]);
        let credit = |credits, acked_seq| Credit {
            credits,
            acked_seq,
            expired: 0,
        };
        assert!(take_done(&mut state, &credit(2, 0)).is_empty());
        assert!(take_done(&mut state, &credit(0, 99)).is_empty());
        let done = take_done(&mut state, &credit(1, 5));
        assert_eq!(done.iter().map(|u| u.seq).collect::<Vec<_>>(), [4, 5]);
        assert_eq!((state.credits, state.unacked.len()), (3, 1));
    }
}
