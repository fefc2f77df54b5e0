//! Credits and acknowledgements of a subscriber: what it may be given, what it has, and the end of
//! what it is done with. An entry ends with its acknowledgement, together with its payload; what
//! comes while the broker answers goes together.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard};

use redis::{Connection, RedisError};

use super::{BrokerError, SourceError, read, state_key};
use crate::broker::batch::Transaction;
use crate::broker::dead;
use crate::link::{Credit, Decoder, Message};

/// What the two threads of a connection share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    credits: u32,
    /// Most credits at once: what the subscriber has room for.
    room: u32,
    unacked: VecDeque<Unacked>,
    closed: bool,
}

/// An entry that the subscriber has.
#[derive(Debug)]
pub(super) struct Unacked {
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) blob: Option<Vec<u8>>,
    pub(super) bytes: usize,
    /// It was given before, so a consumer may have died with it.
    pub(super) redelivered: bool,
}

impl State {
    /// Adds the credits, and takes out what the subscriber is done with.
    fn take_done(&mut self, credit: &Credit) -> Vec<Unacked> {
        self.credits = self.credits.saturating_add(credit.credits);
        self.room = self.room.max(self.credits);
        let index = self
            .unacked
            .iter()
            .position(|unacked| unacked.seq == credit.acked_seq);
        match index {
            Some(index) if credit.acked_seq != 0 => self.unacked.drain(..=index).collect(),
            _ => Vec::new(),
        }
    }

    /// A subscriber that has frames in hand is given several together when it has taken half of
    /// them, and not each of them in a round trip of its own.
    fn wants_frames(&self) -> bool {
        self.credits > 0 && self.credits >= self.room / 2
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits until the subscriber takes frames; how many. `None`: it is gone.
    pub(super) fn wait_credits(&self) -> Option<u32> {
        let mut state = self.lock();
        while !state.wants_frames() && !state.closed {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        (!state.closed).then_some(state.credits)
    }

    /// Notes what goes to the subscriber; `keeps`: it will be acknowledged.
    pub(super) fn gave(&self, unacked: Vec<Unacked>, keeps: bool) {
        let mut state = self.lock();
        let given = u32::try_from(unacked.len()).unwrap_or(u32::MAX);
        state.credits = state.credits.saturating_sub(given);
        if keeps {
            state.unacked.extend(unacked);
        }
    }

    fn take_done(&self, credit: &Credit) -> Vec<Unacked> {
        let mut state = self.lock();
        let done = state.take_done(credit);
        if state.wants_frames() {
            self.changed.notify_all();
        }
        done
    }
}

/// Listens to a subscriber, and ends entries.
pub(super) struct Settler {
    connection: Connection,
    key: String,
    group: String,
    /// Whose end by will is to be noted.
    consumer: Option<String>,
    /// Bytes of ended entries that the broker had no memory to count.
    owed: usize,
}

impl Settler {
    pub(super) fn new(
        connection: Connection,
        key: String,
        group: String,
        consumer: Option<String>,
    ) -> Self {
        Self {
            connection,
            key,
            group,
            consumer,
            owed: 0,
        }
    }

    /// Takes credits and acknowledgements until the subscriber goes.
    pub(super) fn listen(
        &mut self,
        socket: &mut UnixStream,
        decoder: &mut Decoder,
        shared: &Shared,
    ) -> Result<(), SourceError> {
        loop {
            let mut message = Some(read(socket, decoder)?);
            let mut done = Vec::new();
            let mut ended = false;
            while let Some(one) = message {
                match one {
                    Message::Credit(credit) => done.extend(shared.take_done(&credit)),
                    // Nobody knows the clocks of the producer behind the broker.
                    Message::Ping { .. } | Message::AskClock { .. } => {}
                    Message::End => ended = true,
                    other => return Err(SourceError::Protocol(format!("{other:?}"))),
                }
                // What came while the broker answered.
                let next = decoder.next();
                message = next.map_err(|error| SourceError::Protocol(error.to_string()))?;
            }
            if !done.is_empty() {
                self.settle(&done)?;
            }
            if ended {
                if let Some(consumer) = &self.consumer {
                    dead::note_clean_end(&mut self.connection, &self.key, consumer)?;
                }
                return Ok(());
            }
        }
    }

    fn settle(&mut self, done: &[Unacked]) -> Result<(), BrokerError> {
        let (key, group) = (&self.key, &self.group);
        let bytes: usize = done.iter().map(|unacked| unacked.bytes).sum();
        match acknowledge(&mut self.connection, key, group, done, bytes + self.owed) {
            Ok(()) => self.owed = 0,
            // Counting takes memory, which a full broker does not give; deleting makes some.
            Err(error) if is_full(&error) => {
                acknowledge(&mut self.connection, key, group, done, 0)?;
                self.owed += bytes;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Whether the broker is at its `maxmemory`.
fn is_full(error: &RedisError) -> bool {
    error.code() == Some("OOM")
}

/// Ends entries: out of the group, out of the stream, with their payloads, and `bytes` less in it.
pub(super) fn acknowledge(
    connection: &mut Connection,
    key: &str,
    group: &str,
    done: &[Unacked],
    bytes: usize,
) -> Result<(), RedisError> {
    let ids: Vec<&[u8]> = done.iter().map(|unacked| unacked.id.as_bytes()).collect();
    let blobs: Vec<&[u8]> = done.iter().filter_map(|u| u.blob.as_deref()).collect();
    let state = state_key(key);
    let mut transaction = Transaction::new(0);
    for again in done.iter().filter(|unacked| unacked.redelivered) {
        dead::forget_deaths(&mut transaction, key, &again.id);
    }
    let key = key.as_bytes();
    transaction.command(&[&[b"XACK", key, group.as_bytes()], &ids[..]].concat());
    transaction.command(&[&[b"XDEL", key], &ids[..]].concat());
    if !blobs.is_empty() {
        transaction.command(&[&[b"DEL".as_slice()], &blobs[..]].concat());
    }
    if bytes > 0 {
        let less = format!("-{bytes}");
        transaction.command(&[b"HINCRBY", state.as_bytes(), b"bytes", less.as_bytes()]);
    }
    transaction.run(connection)?;
    Ok(())
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
            redelivered: false,
        }
    }

    fn credit(credits: u32, acked_seq: u64) -> Credit {
        Credit {
            credits,
            acked_seq,
            expired: 0,
        }
    }

    #[test]
    fn an_acknowledgement_covers_everything_before_it_and_nothing_unknown() {
        let mut state = State::default();
        state.unacked.extend([unacked(4), unacked(5), unacked(7)]);
        assert!(state.take_done(&credit(2, 0)).is_empty());
        assert!(state.take_done(&credit(0, 99)).is_empty());
        let done = state.take_done(&credit(1, 5));
        assert_eq!(done.iter().map(|u| u.seq).collect::<Vec<_>>(), [4, 5]);
        assert_eq!((state.credits, state.unacked.len()), (3, 1));
    }

    #[test]
    fn frames_are_given_together_once_half_of_them_are_taken() {
        let mut state = State::default();
        assert!(!state.wants_frames());
        state.take_done(&credit(8, 0));
        assert!(state.wants_frames());
        state.credits = 0;
        let wants: Vec<bool> = (0..5)
            .map(|_| {
                state.take_done(&credit(1, 0));
                state.wants_frames()
            })
            .collect();
        assert_eq!(wants, [false, false, false, true, true]);
        let mut narrow = State::default();
        narrow.take_done(&credit(1, 0));
        assert!(narrow.wants_frames(), "one at a time");
    }
}
