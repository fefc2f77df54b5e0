//! One producer as seen by its consumer: dialling, greeting, credits, acknowledgements, and the
//! frames that have arrived. Never waits.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeflow_spec::qos::{LinkQos, QosMode, Via};
use rustix::event::PollFlags;

use super::age::{age_of, is_expired, now_here, since, to_this_clock};
use super::clock_offset::{ClockFilter, ClockOffset, Times};
use super::conn::{Conn, Given, Read, describe};
use super::counters::Counters;
use super::dedup::{FrameId, Seen};
use super::memory::Memory;
use super::{
    BALANCED_PREFETCH, DURABLE_PREFETCH, FAR_GREETING_TIMEOUT, GREETING_TIMEOUT, InputConfig,
    MAX_RETRY, MIN_RETRY, SubscriberConfig,
};
use crate::clock;
use crate::frame::Limits;
use crate::link::{Data, Hello, Message, PROTOCOL_MAX, PROTOCOL_MIN, encode};
use crate::stats::DropReason;
use crate::transport::Dial;
use crate::transport::shm::ShareError;

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
    /// Which is the manifest's wish.
    socket_only: bool,
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
    Down {
        dial_at: Instant,
    },
    Greeting {
        conn: Box<Conn>,
        deadline: Instant,
    },
    Up {
        conn: Box<Conn>,
        same_boot: bool,
        clock: ClockFilter,
    },
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
    /// When a sampled frame reached this process, monotonic; 0 for others.
    pub(super) arrived_ns: u64,
    pub(super) receipt: Receipt,
    /// Whether the producer's monotonic clock is this host's.
    same_boot: bool,
    /// Otherwise how far it is from it, once that is known.
    pub(super) clock: Option<ClockOffset>,
}

impl Arrival {
    /// Producer's send to now, when the clocks of both are known to each other.
    pub(super) fn hop(&self) -> Option<Duration> {
        let sent = self.data.sent_mono_ns;
        if self.same_boot {
            return Some(since(sent));
        }
        Some(since(self.clock?.to_local_monotonic(sent)))
    }

    /// Capture to now.
    pub(super) fn age(&self) -> Duration {
        age_of(&self.data.frame)
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
            pipe: true,
            no_shared_memory: String::new(),
            via: input.dial.via().unwrap_or_default().to_owned(),
        };
        let no_shared_memory =
            (input.qos.via == Via::Socket).then(|| "the manifest says `via=socket`".to_owned());
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
            socket_only: no_shared_memory.is_some(),
            no_shared_memory,
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
            State::Up { clock, .. } => clock.due(),
        }
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let conn = match &self.state {
            State::Greeting { conn, .. } | State::Up { conn, .. } => Some(conn),
            State::Down { .. } => None,
        };
        let socket = conn.map(|conn| {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, !conn.outbox.is_empty());
            (conn.fd.as_fd(), flags)
        });
        let beside = conn.and_then(|conn| conn.beside());
        socket
            .into_iter()
            .chain(beside.map(|fd| (fd, PollFlags::IN)))
    }

    /// Dials when it is time, gives up on a late greeting, grants credit.
    pub(super) fn maintain(&mut self, now: Instant) {
        match &mut self.state {
            State::Down { dial_at } if *dial_at <= now => self.connect(now),
            State::Greeting { deadline, .. } if *deadline <= now => {
                self.fail("no answer to the greeting");
            }
            State::Up { conn, clock, .. } => {
                if clock.ask(now) {
                    let token = clock::monotonic_ns();
                    conn.outbox.extend(encode(&Message::AskClock { token }));
                }
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
        hello.shared_memory = self.no_shared_memory.is_none() && hello.via.is_empty();
        hello.no_shared_memory = self.no_shared_memory.clone().unwrap_or_default();
        let patience = if hello.via.is_empty() {
            GREETING_TIMEOUT
        } else {
            FAR_GREETING_TIMEOUT
        };
        let memory = Memory::new(hello.shared_memory);
        let greeting = encode(&Message::Hello(hello.clone()));
        let conn = self.dial.dial().and_then(|dialed| {
            let mut conn = Box::new(Conn::new(dialed, self.limits, greeting, memory));
            conn.flush()?;
            Ok(conn)
        });
        match conn {
            Ok(conn) => {
                self.state = State::Greeting {
                    conn,
                    deadline: now + patience,
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
        // What is behind a frame that has arrived, the end of the connection too, can wait until the
        // loop has had the frame.
        for _ in 0..MAX_READS {
            if self.has_ready() {
                return Ok(());
            }
            let (State::Greeting { conn, .. } | State::Up { conn, .. }) = &mut self.state else {
                return Ok(());
            };
            let read = conn.read()?;
            if read == Read::Nothing {
                return Ok(());
            }
            self.take_messages()?;
            if read == Read::Last {
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
            let Some(message) = conn.next()? else {
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
                match conn.memory.open(&accept) {
                    Ok(Some(pipe)) => conn.use_pipe(pipe, self.limits),
                    Ok(None) => {}
                    Err(error) => return Err(self.refuse(&error)),
                }
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
            Message::Clock {
                token,
                monotonic_ns,
                unix_ns,
            } => {
                let there = Times {
                    monotonic_ns,
                    unix_ns,
                };
                if let State::Up { clock, .. } = &mut self.state {
                    clock.answer(token, there, now_here(), Instant::now());
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
        if !self.socket_only {
            self.no_shared_memory = None;
        }
        self.retry = MIN_RETRY;
        self.told.clear();
        tracing::debug!(from = %self.from, port = %self.port, "input connected");
        let mut clock = ClockFilter::default();
        if !same_boot {
            clock.start(Instant::now());
        }
        self.state = State::Up {
            conn,
            same_boot,
            clock,
        };
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
            let State::Up {
                conn,
                same_boot,
                clock,
            } = &mut self.state
            else {
                return None;
            };
            let same_boot = *same_boot;
            let (mut data, arrived_ns) = conn.ready.pop_front()?;
            let clock = clock.offset(Instant::now());
            if !same_boot {
                to_this_clock(&mut data.frame, clock);
            }
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
            } else if is_expired(&data.frame, &self.qos, age_of(&data.frame)) {
                counters.count_dropped(DropReason::Expired);
                conn.pending.expired += 1;
                self.finish(&receipt, true);
                continue;
            }
            return Some(Arrival {
                data,
                arrived_ns,
                receipt,
                same_boot,
                clock,
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
