//! One producer as seen by its consumer: dialling, greeting, credits, acknowledgements, and the
//! frames that have arrived. Never waits.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeflow_spec::qos::{LinkQos, QosMode};
use rustix::event::PollFlags;

use super::age::{age_of, is_expired, since};
use super::counters::Counters;
use super::dedup::{FrameId, Seen};
use super::memory::Memory;
use super::{
    BALANCED_PREFETCH, DURABLE_PREFETCH, GREETING_TIMEOUT, InputConfig, MAX_RETRY, MIN_RETRY,
    SubscriberConfig,
};
use crate::clock;
use crate::frame::Limits;
use crate::link::{
    Credit, Data, Decoder, Hello, Message, PROTOCOL_MAX, PROTOCOL_MIN, Role, encode,
};
use crate::stats::DropReason;
use crate::transport::shm::ShareError;
use crate::transport::{self, Dial};

/// Bytes that may wait to be written to a producer that does not read.
const MAX_OUTBOX: usize = 16 * 1024;
/// Reads from one producer before the others are looked at.
const MAX_READS: usize = 64;
/// Frames of a durable link that may be held beyond the prefetch; further ones wait at the producer.
const MAX_HELD: usize = 512;

pub(super) struct Peer {
    pub(super) port: Arc<str>,
    /// Index of the counters of its link.
    pub(super) counters: usize,
    hello: Hello,
    qos: LinkQos,
    limits: Limits,
    from: String,
    dial: Box<dyn Dial>,
    state: State,
    /// Counts connections, so that an acknowledgement never goes to a later one.
    connection: u64,
    retry: Duration,
    /// The last failure that was logged: each is told once.
    told: String,
    seen: Seen,
    /// Frames that the loop has put aside, so that a redelivery is not taken for another one.
    held: HashSet<FrameId>,
    /// Frames of gaps that are not counted yet.
    missing: u64,
    /// Why the next connection goes without shared memory.
    no_shared_memory: Option<String>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("port", &self.port)
            .field("from", &self.from)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum State {
    Down { dial_at: Instant },
    Greeting { conn: Box<Conn>, deadline: Instant },
    Up { conn: Box<Conn>, same_boot: bool },
}

#[derive(Debug)]
struct Conn {
    fd: OwnedFd,
    decoder: Decoder,
    outbox: Vec<u8>,
    ready: VecDeque<Data>,
    /// Frames that the loop has or had, in their order, up to the first that it is not done with.
    /// An acknowledgement covers all frames before it, so a frame that is finished early waits here.
    given: VecDeque<Given>,
    /// Frames that may still arrive.
    credits: u32,
    /// Credits and acknowledgements to send.
    pending: Credit,
    memory: Memory,
}

#[derive(Debug)]
struct Given {
    id: FrameId,
    done: bool,
}

/// Names the frame in the loop, to finish it.
#[derive(Debug)]
pub(super) struct Receipt {
    connection: u64,
    id: FrameId,
    /// A credit for the next frame was granted already.
    credited: bool,
}

/// A frame for the loop.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) data: Data,
    pub(super) receipt: Receipt,
    /// Whether the producer's monotonic clock is this host's.
    pub(super) same_boot: bool,
}

impl Arrival {
    /// Producer's send to now, when both are on one clock.
    pub(super) fn hop(&self) -> Option<Duration> {
        self.same_boot.then(|| since(self.data.sent_mono_ns))
    }

    /// Capture to now.
    pub(super) fn age(&self) -> Duration {
        age_of(&self.data.frame, self.same_boot)
    }
}

impl Peer {
    pub(super) fn new(config: &SubscriberConfig, input: InputConfig, counters: usize) -> Self {
        let hello = Hello {
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            link: input.link,
            group: input.group,
            member: config.member.clone(),
            qos: input.qos.mode,
            boot_id: clock::boot_id().to_owned(),
            max_meta: config.limits.max_meta,
            max_payload: config.limits.max_payload,
            shared_memory: true,
            no_shared_memory: String::new(),
        };
        Self {
            port: input.port.into(),
            counters,
            hello,
            qos: input.qos,
            limits: config.limits,
            from: input.from,
            dial: input.dial,
            state: State::Down {
                dial_at: Instant::now(),
            },
            connection: 0,
            retry: MIN_RETRY,
            told: String::new(),
            seen: Seen::default(),
            held: HashSet::new(),
            missing: 0,
            no_shared_memory: None,
        }
    }

    pub(super) fn keeps_frames(&self) -> bool {
        self.qos.keeps_frames()
    }

    /// Whether nothing may be skipped, so that any number of frames may be on the way.
    pub(super) fn is_lossless(&self) -> bool {
        self.qos.is_lossless()
    }

    /// Whether a frame is too old for this link by now.
    pub(super) fn is_expired(&self, arrival: &Arrival) -> bool {
        !self.keeps_frames() && is_expired(&arrival.data.frame, &self.qos, arrival.age())
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// When [`Self::maintain`] has something to do even if nothing arrives.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Down { dial_at } => Some(*dial_at),
            State::Greeting { deadline, .. } => Some(*deadline),
            State::Up { .. } => None,
        }
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let (State::Greeting { conn, .. } | State::Up { conn, .. }) = &self.state else {
            return None;
        };
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, !conn.outbox.is_empty());
        Some((conn.fd.as_fd(), flags))
    }

    /// Dials when it is time, gives up on a late greeting, grants credit.
    pub(super) fn maintain(&mut self, now: Instant) {
        match &mut self.state {
            State::Down { dial_at } if *dial_at <= now => self.connect(now),
            State::Greeting { deadline, .. } if *deadline <= now => {
                self.fail("no answer to the greeting");
            }
            State::Up { conn, .. } => {
                if !self.qos.keeps_frames() && conn.credits == 0 && conn.ready.is_empty() {
                    conn.pending.credits = 1;
                }
                let sent = conn.send_pending();
                self.check(sent);
            }
            _ => {}
        }
    }

    fn connect(&mut self, now: Instant) {
        self.connection += 1;
        let hello = &mut self.hello;
        hello.shared_memory = self.no_shared_memory.is_none();
        hello.no_shared_memory = self.no_shared_memory.clone().unwrap_or_default();
        let memory = Memory::new(hello.shared_memory);
        let greeting = encode(&Message::Hello(hello.clone()));
        let conn = self.dial.dial().and_then(|fd| {
            let mut conn = Box::new(Conn {
                fd,
                decoder: Decoder::new(Role::Consumer, self.limits),
                outbox: greeting,
                ready: VecDeque::new(),
                given: VecDeque::new(),
                credits: 0,
                pending: Credit::default(),
                memory,
            });
            conn.flush()?;
            Ok(conn)
        });
        match conn {
            Ok(conn) => {
                self.state = State::Greeting {
                    conn,
                    deadline: now + GREETING_TIMEOUT,
                }
            }
            // Not there yet, or no longer: normal while processes start.
            Err(error) => self.fall_back(&error.to_string(), false),
        }
    }

    /// Reads and writes what the socket allows.
    pub(super) fn serve(&mut self) {
        let served = self.try_serve();
        if let Err(reason) = served {
            self.fail(&reason);
        }
    }

    fn try_serve(&mut self) -> Result<(), String> {
        let (State::Greeting { conn, .. } | State::Up { conn, .. }) = &mut self.state else {
            return Ok(());
        };
        conn.flush().map_err(|error| error.to_string())?;
        for _ in 0..MAX_READS {
            let (State::Greeting { conn, .. } | State::Up { conn, .. }) = &mut self.state else {
                return Ok(());
            };
            let space = conn.decoder.space();
            let wanted = space.len();
            let count = match conn.memory.receive(&conn.fd, space) {
                Ok(None) => return Ok(()),
                Ok(Some(0)) => return Err("the producer closed the connection".to_owned()),
                Ok(Some(count)) => count,
                Err(error) => return Err(error.to_string()),
            };
            conn.decoder.advance(count);
            self.take_messages()?;
            // A short read means that the socket is empty now. What is behind a frame that has
            // arrived can wait until the loop has had the frame.
            if count < wanted || self.has_ready() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn has_ready(&self) -> bool {
        matches!(&self.state, State::Up { conn, .. } if !conn.ready.is_empty())
    }

    fn take_messages(&mut self) -> Result<(), String> {
        loop {
            let (State::Greeting { conn, .. } | State::Up { conn, .. }) = &mut self.state else {
                return Ok(());
            };
            let message = conn.decoder.next();
            let Some(message) = message.map_err(|e| describe(&e))? else {
                return Ok(());
            };
            self.receive(message)?;
        }
    }

    fn receive(&mut self, message: Message) -> Result<(), String> {
        let greeting = matches!(self.state, State::Greeting { .. });
        let (State::Greeting { conn, .. } | State::Up { conn, .. }) = &mut self.state else {
            return Ok(());
        };
        match message {
            Message::Accept(accept) if greeting => {
                if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&accept.protocol) {
                    return Err(format!("link protocol {} chosen", accept.protocol));
                }
                let opened = conn.memory.open(&accept.transport);
                opened.map_err(|error| self.refuse(&error))?;
                self.come_up(clock::same_boot(&accept.boot_id));
                Ok(())
            }
            Message::Reject(reject) if greeting => {
                self.retry = MAX_RETRY;
                Err(format!("refused: {}", reject.message))
            }
            Message::Data(data) if !greeting => conn.take_data(data),
            Message::Shared(_) | Message::Segment { .. } | Message::Retire { .. } if !greeting => {
                match conn.memory.take(message) {
                    Ok(Some(data)) => conn.take_data(data),
                    Ok(None) => Ok(()),
                    Err(error) => Err(self.refuse(&error)),
                }
            }
            Message::Gap(gap) if !greeting => {
                let (first, last) = (gap.from_seq, gap.to_seq);
                let frames = last.saturating_sub(first).saturating_add(1);
                self.missing = self.missing.saturating_add(frames);
                // The producer counts it, and logs what a person may have to act on.
                tracing::debug!(from = %self.from, first, last, reason = %gap.reason, "frames missing");
                Ok(())
            }
            Message::Ping { token, reply } => {
                if !reply {
                    let answer = encode(&Message::Ping { token, reply: true });
                    conn.outbox.extend(answer);
                }
                Ok(())
            }
            Message::End => Err("the producer ended the link".to_owned()),
            _ => Err("unexpected message".to_owned()),
        }
    }

    /// Shared memory does not work here: the next connection goes without, and says why.
    fn refuse(&mut self, error: &ShareError) -> String {
        let reason = describe(error);
        self.no_shared_memory = Some(format!("at the consumer: {reason}"));
        format!("shared memory refused: {reason}")
    }

    fn come_up(&mut self, same_boot: bool) {
        let down = State::Down {
            dial_at: Instant::now(),
        };
        let State::Greeting { mut conn, .. } = std::mem::replace(&mut self.state, down) else {
            return;
        };
        if self.qos.keeps_frames() {
            conn.pending.credits = self.prefetch();
        }
        // It may work with the next producer.
        self.no_shared_memory = None;
        self.retry = MIN_RETRY;
        self.told.clear();
        tracing::debug!(from = %self.from, port = %self.port, "input connected");
        self.state = State::Up { conn, same_boot };
    }

    fn prefetch(&self) -> u32 {
        if self.qos.mode == QosMode::Balanced {
            return BALANCED_PREFETCH;
        }
        self.qos.window_frames.clamp(1, DURABLE_PREFETCH)
    }

    /// The next frame that is fit for the loop; counts and acknowledges those that are not.
    pub(super) fn take_ready(&mut self, counters: &mut [Counters]) -> Option<Arrival> {
        if self.missing > 0
            && let Some(counters) = counters.get_mut(self.counters)
        {
            counters.count_missing(std::mem::take(&mut self.missing));
        }
        loop {
            let State::Up { conn, same_boot } = &mut self.state else {
                return None;
            };
            let same_boot = *same_boot;
            let data = conn.ready.pop_front()?;
            let counters = counters.get_mut(self.counters)?;
            let header = &data.frame.header;
            let id = (header.stream_id, header.epoch, header.seq);
            let receipt = Receipt {
                connection: self.connection,
                id,
                credited: false,
            };
            conn.given.push_back(Given { id, done: false });
            if self.qos.keeps_frames() {
                if self.held.contains(&id) {
                    // It is acknowledged over this connection when the loop is done with it.
                    counters.count_dropped(DropReason::Duplicate);
                    conn.pending.credits += 1;
                    continue;
                }
                if self.seen.contains(&id) {
                    counters.count_dropped(DropReason::Duplicate);
                    self.finish(&receipt, true);
                    continue;
                }
            } else if is_expired(&data.frame, &self.qos, age_of(&data.frame, same_boot)) {
                counters.count_dropped(DropReason::Expired);
                conn.pending.expired += 1;
                self.finish(&receipt, true);
                continue;
            }
            return Some(Arrival {
                data,
                receipt,
                same_boot,
            });
        }
    }

    /// Puts a frame aside that the loop will finish later. A durable one stays unacknowledged; a
    /// realtime one counts as delivered.
    pub(super) fn hold(&mut self, receipt: &mut Receipt) {
        self.set_aside(receipt, true);
        if self.keeps_frames() {
            self.send_due();
        }
    }

    /// The same, without telling the producer yet; `more`: and with a credit for another frame.
    pub(super) fn set_aside(&mut self, receipt: &mut Receipt, more: bool) {
        if !self.keeps_frames() {
            self.finish(receipt, true);
            return;
        }
        self.held.insert(receipt.id);
        receipt.credited = more && self.held.len() <= MAX_HELD;
        if receipt.credited
            && receipt.connection == self.connection
            && let State::Up { conn, .. } = &mut self.state
        {
            conn.pending.credits += 1;
        }
    }

    /// Acknowledges a frame; `again`: and asks for another one.
    pub(super) fn finish(&mut self, receipt: &Receipt, again: bool) {
        self.settle(receipt);
        // What is due goes with the next credit when the loop waits, else at once.
        if self.keeps_frames() || !again {
            self.send_due();
        }
    }

    /// Acknowledges a frame without telling the producer yet.
    pub(super) fn settle(&mut self, receipt: &Receipt) {
        let durable = self.qos.keeps_frames();
        let held = self.held.remove(&receipt.id);
        if durable {
            self.seen.insert(receipt.id);
        }
        // One that was held may have come again over a later connection.
        if receipt.connection != self.connection && !held {
            return;
        }
        let State::Up { conn, .. } = &mut self.state else {
            return;
        };
        conn.finish(&receipt.id);
        if durable && !receipt.credited && receipt.connection == self.connection {
            // A window credit comes back with every frame, whatever the loop does next.
            conn.pending.credits += 1;
        }
    }

    /// Sends credits and acknowledgements that have come together.
    pub(super) fn send_due(&mut self) {
        if let State::Up { conn, .. } = &mut self.state {
            let sent = conn.send_pending();
            self.check(sent);
        }
    }

    /// Drops the connection that a frame came from, so that the producer sends it again.
    pub(super) fn reset_after(&mut self, receipt: &Receipt) {
        self.held.remove(&receipt.id);
        if receipt.connection == self.connection {
            self.leave();
            self.fail("a frame was given back");
        }
    }

    /// Says that the connection ends by will, so that no frame is blamed for it.
    pub(super) fn leave(&mut self) {
        if let State::Up { conn, .. } = &mut self.state {
            conn.outbox.extend(encode(&Message::End));
            // If it can't be said, the closed socket says that something ended.
            let _ = conn.flush();
        }
    }

    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.fail(&error.to_string());
        }
    }

    /// The connection is of no more use.
    fn fail(&mut self, reason: &str) {
        let was_up = self.is_up();
        self.fall_back(reason, was_up);
    }

    fn fall_back(&mut self, reason: &str, was_up: bool) {
        if self.told != reason {
            self.told = reason.to_owned();
            if was_up {
                tracing::info!(from = %self.from, port = %self.port, reason, "input lost; reconnecting");
            } else {
                let address = self.dial.address();
                tracing::debug!(from = %self.from, port = %self.port, address, reason, "input not connected");
            }
        }
        self.state = State::Down {
            dial_at: Instant::now() + self.retry,
        };
        self.retry = (self.retry * 2).min(MAX_RETRY);
    }
}

impl Conn {
    fn take_data(&mut self, data: Data) -> Result<(), String> {
        if self.credits == 0 {
            return Err("the producer sent more than its credit".to_owned());
        }
        self.credits -= 1;
        self.ready.push_back(data);
        Ok(())
    }

    /// The loop is done with a frame: what may be acknowledged now is.
    fn finish(&mut self, id: &FrameId) {
        if let Some(given) = self.given.iter_mut().find(|given| given.id == *id) {
            given.done = true;
        }
        while self.given.front().is_some_and(|given| given.done) {
            if let Some(given) = self.given.pop_front() {
                self.pending.acked_seq = given.id.2;
            }
        }
    }

    fn send_pending(&mut self) -> io::Result<()> {
        if self.pending == Credit::default() {
            return Ok(());
        }
        if self.outbox.len() > MAX_OUTBOX {
            return Err(io::Error::other("the producer does not read"));
        }
        let credit = std::mem::take(&mut self.pending);
        self.credits += credit.credits;
        self.outbox.extend(encode(&Message::Credit(credit)));
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match transport::send_parts(&self.fd, [&self.outbox, &[], &[]], 0)? {
                None => return Ok(()),
                Some(count) => {
                    self.outbox.drain(..count);
                }
            }
        }
        Ok(())
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
