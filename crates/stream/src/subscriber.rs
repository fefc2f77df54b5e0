//! All inputs of one node: connects to every producer, for ever, and gives the loop one frame at a
//! time. Runs in the caller's thread. Realtime credit is granted only while the loop waits in
//! [`Subscriber::recv`], so what arrives is what is newest then; with several inputs, a frame may
//! have arrived while the loop was busy with another input's frame. A loop may put frames aside
//! and finish them later, in any order.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use edgeflow_spec::qos::LinkQos;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::frame::{Frame, Limits};
use crate::stats::{DropReason, InputStats};
use crate::transport::Dial;
use crate::wake::Waker;

mod age;
mod clock_offset;
mod conn;
mod counters;
mod dedup;
mod memory;
mod order;
mod peer;

pub use clock_offset::ClockOffset;
use counters::Counters;
use order::Order;
use peer::{Arrival, Peer, Receipt};

/// First pause before a producer is dialled again.
pub const MIN_RETRY: Duration = Duration::from_millis(50);
/// Longest pause before a producer is dialled again.
pub const MAX_RETRY: Duration = Duration::from_secs(1);
/// Time for a producer's answer to the greeting.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// The same over a relay to another device, which has to be reached first.
pub const FAR_GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames of a durable link that may wait at the consumer.
pub const DURABLE_PREFETCH: u32 = 8;
/// Frames of a balanced link that may wait at the consumer: what is there can't be skipped.
pub const BALANCED_PREFETCH: u32 = 2;

/// What all inputs share.
#[derive(Clone, Debug)]
pub struct SubscriberConfig {
    /// Who this is: the instance id. Unique among the consumers of a group.
    pub member: String,
    /// Largest frame that is taken.
    pub limits: Limits,
}

/// One producer of one input port.
pub struct InputConfig {
    /// Input port.
    pub port: String,
    /// Link id.
    pub link: String,
    /// Consumer group.
    pub group: String,
    /// Quality of service.
    pub qos: LinkQos,
    /// The producing instance, for messages.
    pub from: String,
    /// How to connect.
    pub dial: Box<dyn Dial>,
}

impl std::fmt::Debug for InputConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputConfig")
            .field("port", &self.port)
            .field("link", &self.link)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// A frame for the loop.
#[derive(Clone, Debug)]
pub struct Received {
    /// Index of the input it came from.
    pub input: usize,
    /// Input port.
    pub port: Arc<str>,
    /// The frame.
    pub frame: Frame,
    /// It was given to a consumer before, which did not finish it.
    pub redelivered: bool,
    /// Producer's send to now, when the clocks of both are known to each other.
    pub hop: Option<Duration>,
    /// How far the clocks of a producer on another machine are from ours, once it is measured.
    pub clock: Option<ClockOffset>,
    /// Capture to now.
    pub age: Duration,
    /// When a sampled frame reached this process, on the monotonic clock; 0 for others.
    pub arrived_ns: u64,
}

/// The consuming end of links.
#[derive(Debug)]
pub struct Subscriber {
    peers: Vec<Peer>,
    waker: Waker,
    counters: Arc<Mutex<Vec<Counters>>>,
    /// The frame that the loop has: its peer and number.
    in_loop: Option<(usize, Receipt)>,
    next_peer: usize,
    /// Frames of ordered links that wait for their turn.
    orders: Vec<Order<(usize, Arrival)>>,
    /// For each peer of an ordered link: which order, and which source of it.
    lanes: Vec<Option<(usize, usize)>>,
}

/// A frame that the loop has put aside. It has to be [finished](Subscriber::release) one day: until
/// then a durable frame is not acknowledged, and is not given to this subscriber again.
#[derive(Debug)]
pub struct Held {
    input: usize,
    receipt: Receipt,
}

impl Held {
    /// Index of the input it came from.
    pub fn input(&self) -> usize {
        self.input
    }
}

/// Looks at a subscriber's counters, from any thread.
#[derive(Clone, Debug)]
pub struct SubscriberStats(Arc<Mutex<Vec<Counters>>>);

impl SubscriberStats {
    /// Counters of every link; latencies since the last call.
    pub fn take(&self) -> Vec<InputStats> {
        lock(&self.0).iter_mut().map(Counters::take).collect()
    }
}

fn lock(counters: &Mutex<Vec<Counters>>) -> MutexGuard<'_, Vec<Counters>> {
    counters
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Subscriber {
    /// Prepares the inputs; connecting begins with the first [`Self::recv`].
    pub fn new(config: &SubscriberConfig, inputs: Vec<InputConfig>) -> io::Result<Self> {
        let mut counters: Vec<Counters> = Vec::new();
        let mut peers = Vec::with_capacity(inputs.len());
        let mut ordered: Vec<(usize, Order<(usize, Arrival)>)> = Vec::new();
        let mut lanes = Vec::with_capacity(inputs.len());
        for input in inputs {
            let index = counters::index_of(&mut counters, &input.link, &input.port);
            lanes.push(input.qos.order_timeout().map(|timeout| {
                let known = ordered.iter().position(|(link, _)| *link == index);
                let at = known.unwrap_or(ordered.len());
                if known.is_none() {
                    ordered.push((index, Order::new(timeout)));
                }
                (at, ordered[at].1.add_source())
            }));
            peers.push(Peer::new(config, input, index));
        }
        Ok(Self {
            orders: ordered.into_iter().map(|(_, order)| order).collect(),
            lanes,
            peers,
            waker: Waker::new()?,
            counters: Arc::new(Mutex::new(counters)),
            in_loop: None,
            next_peer: 0,
        })
    }

    /// Makes a waiting [`Self::recv`], or the next one, return `None` early.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// The counters, for other threads.
    pub fn stats(&self) -> SubscriberStats {
        SubscriberStats(Arc::clone(&self.counters))
    }

    /// Whether every producer is connected.
    pub fn is_connected(&self) -> bool {
        self.peers.iter().all(Peer::is_up)
    }

    /// The next frame, or `None` after `timeout` or when woken. Acknowledges the frame before.
    pub fn recv(&mut self, timeout: Duration) -> io::Result<Option<Received>> {
        self.finish(true);
        let deadline = Instant::now() + timeout;
        // A look at every input, so that one with frames in hand does not keep the others out.
        if self.peers.len() > 1 {
            self.maintain();
            if self.poll(Instant::now())? {
                return Ok(None);
            }
        }
        loop {
            if let Some(received) = self.take_ready() {
                return Ok(Some(received));
            }
            self.maintain();
            let woken = self.poll(deadline)?;
            if let Some(received) = self.take_ready() {
                return Ok(Some(received));
            }
            if woken || Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    /// The next frames: waits for one like [`Self::recv`], and takes what else is there, up to
    /// `frames` and `bytes`. All are [put aside](Self::hold). For one kept link; with others the
    /// order among inputs is whatever comes.
    pub fn recv_batch(
        &mut self,
        timeout: Duration,
        frames: usize,
        bytes: usize,
    ) -> io::Result<Vec<(Received, Held)>> {
        let mut batch = Vec::new();
        let mut size = 0;
        let mut next = self.recv(timeout)?;
        while let Some(received) = next.take() {
            let Some((input, mut receipt)) = self.in_loop.take() else {
                break;
            };
            size += received.frame.encoded_len();
            // The credit goes with those of the frames after it. What a balanced link has given can't
            // be skipped: it gets one back with the acknowledgement only.
            let more = self.peers[input].is_lossless();
            self.peers[input].set_aside(&mut receipt, more);
            batch.push((received, Held { input, receipt }));
            if batch.len() >= frames || size >= bytes {
                break;
            }
            next = self.take_ready();
            if next.is_none() {
                self.maintain();
                if self.poll(Instant::now())? {
                    break;
                }
                next = self.take_ready();
            }
        }
        // What comes meanwhile is there for the next call.
        self.maintain();
        Ok(batch)
    }

    /// Waits until it is woken, up to `timeout`, and takes no frame meanwhile.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::from_borrowed_fd(self.waker.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if !fds[0].revents().is_empty() {
            self.waker.clear();
        }
        Ok(())
    }

    /// Acknowledges the frame that was received last, without asking for another one.
    pub fn ack(&mut self) {
        self.finish(false);
    }

    /// Gives the frame that was received last up without acknowledging it: a durable one comes
    /// again, to this consumer after it reconnected or to another of its group.
    pub fn forget(&mut self) {
        if let Some((index, receipt)) = self.in_loop.take() {
            self.peers[index].reset_after(&receipt);
        }
    }

    /// Puts the frame that was received last aside: the next [`Self::recv`] does not acknowledge
    /// it. `None` when there is none.
    pub fn hold(&mut self) -> Option<Held> {
        let (input, mut receipt) = self.in_loop.take()?;
        self.peers[input].hold(&mut receipt);
        Some(Held { input, receipt })
    }

    /// Whether the frames of an input are durable.
    pub fn is_durable(&self, input: usize) -> bool {
        self.peers.get(input).is_some_and(Peer::keeps_frames)
    }

    /// Finishes a frame that was put aside.
    pub fn release(&mut self, held: &Held) {
        if self.peers[held.input].keeps_frames() {
            self.peers[held.input].finish(&held.receipt, false);
        }
    }

    /// Finishes several, with one message to each producer.
    pub fn release_all(&mut self, held: impl IntoIterator<Item = Held>) {
        for held in held {
            if self.peers[held.input].keeps_frames() {
                self.peers[held.input].settle(&held.receipt);
            }
        }
        self.peers.iter_mut().for_each(Peer::send_due);
    }

    /// Counts a frame of an input as one that was of no use to the loop.
    pub fn count_dropped(&self, input: usize, reason: DropReason) {
        let Some(peer) = self.peers.get(input) else {
            return;
        };
        if let Some(counters) = lock(&self.counters).get_mut(peer.counters) {
            counters.count_dropped(reason);
        }
    }

    /// Ends the links by will: acknowledges the frame that was received last and says that no frame
    /// is to blame for the end. A subscriber that is only dropped looks like one that died.
    pub fn close(mut self) {
        self.finish(false);
        self.peers.iter_mut().for_each(Peer::leave);
    }

    fn finish(&mut self, again: bool) {
        if let Some((index, receipt)) = self.in_loop.take() {
            self.peers[index].finish(&receipt, again);
        }
    }

    /// A frame that may go to the loop.
    fn take_ready(&mut self) -> Option<Received> {
        loop {
            if let Some(received) = self.take_ordered() {
                return Some(received);
            }
            let (index, mut arrival) = self.take_arrival()?;
            let Some((order, source)) = self.lanes[index] else {
                return self.give(index, arrival);
            };
            self.peers[index].hold(&mut arrival.receipt);
            let bytes = arrival.data.frame.encoded_len();
            let header = arrival.data.frame.header.clone();
            let item = (index, arrival);
            let late = self.orders[order].push(Instant::now(), source, &header, bytes, item);
            if let Some((index, arrival)) = late {
                if !self.peers[index].keeps_frames() {
                    self.count_dropped(index, DropReason::Late);
                    continue;
                }
                // Better out of its turn than not at all.
                self.count_dropped(index, DropReason::OutOfTurn);
                return self.give(index, arrival);
            }
        }
    }

    /// A frame of an ordered link whose turn it is.
    fn take_ordered(&mut self) -> Option<Received> {
        for order in 0..self.orders.len() {
            while let Some((index, arrival)) = self.orders[order].pop(Instant::now()) {
                if self.peers[index].is_expired(&arrival) {
                    self.count_dropped(index, DropReason::Expired);
                    continue;
                }
                return self.give(index, arrival);
            }
        }
        None
    }

    /// A frame that has arrived, from the inputs in turn.
    fn take_arrival(&mut self) -> Option<(usize, Arrival)> {
        let count = self.peers.len();
        let mut counters = lock(&self.counters);
        for offset in 0..count {
            let index = (self.next_peer + offset) % count;
            if let Some(arrival) = self.peers[index].take_ready(&mut counters) {
                self.next_peer = (index + 1) % count;
                return Some((index, arrival));
            }
        }
        None
    }

    fn give(&mut self, index: usize, arrival: Arrival) -> Option<Received> {
        let peer = &self.peers[index];
        let (hop, age, clock) = (arrival.hop(), arrival.age(), arrival.clock);
        let Arrival {
            data,
            receipt,
            arrived_ns,
            ..
        } = arrival;
        if let Some(counters) = lock(&self.counters).get_mut(peer.counters) {
            counters.count(data.frame.encoded_len(), hop, age);
            counters.clock = clock;
        }
        self.in_loop = Some((index, receipt));
        Some(Received {
            input: index,
            port: Arc::clone(&peer.port),
            frame: data.frame,
            redelivered: data.redelivered,
            hop,
            clock,
            age,
            arrived_ns,
        })
    }

    /// Dials, greets, grants credits; whatever is due now.
    fn maintain(&mut self) {
        let now = Instant::now();
        let mut changed = false;
        for peer in &mut self.peers {
            let was_up = peer.is_up();
            peer.maintain(now);
            changed |= was_up != peer.is_up();
        }
        if changed {
            self.count_connected();
        }
    }

    fn count_connected(&mut self) {
        let mut counters = lock(&self.counters);
        for counters in counters.iter_mut() {
            counters.connected = 0;
        }
        for peer in self.peers.iter().filter(|peer| peer.is_up()) {
            if let Some(counters) = counters.get_mut(peer.counters) {
                counters.connected += 1;
            }
        }
    }

    /// Waits until `deadline` or the next thing to do, and reads. Whether it was woken.
    fn poll(&mut self, deadline: Instant) -> io::Result<bool> {
        let orders = self.orders.iter().filter_map(Order::deadline);
        let due = self.peers.iter().filter_map(Peer::due).chain(orders).min();
        let until = due.map_or(deadline, |due| due.min(deadline));
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut fds = Vec::with_capacity(1 + self.peers.len());
        fds.push(PollFd::from_borrowed_fd(self.waker.as_fd(), PollFlags::IN));
        let mut polled = Vec::with_capacity(self.peers.len());
        for (index, peer) in self.peers.iter().enumerate() {
            for (fd, flags) in peer.interest() {
                fds.push(PollFd::from_borrowed_fd(fd, flags));
                polled.push(index);
            }
        }
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let events: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let woken = !events[0].is_empty();
        if woken {
            self.waker.clear();
        }
        let mut changed = false;
        for (index, flags) in polled.into_iter().zip(&events[1..]) {
            let peer = &mut self.peers[index];
            let was_up = peer.is_up();
            if !flags.is_empty() {
                peer.serve();
            }
            changed |= was_up != peer.is_up();
        }
        if changed {
            self.count_connected();
        }
        Ok(woken)
    }
}
