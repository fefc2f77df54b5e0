//! The least that a hop through shared memory costs: one ring of slots in a memfd, one copy in, read
//! in place, an eventfd for a side that sleeps. No protocol, no checks, no second consumer, no frame
//! that outlives its turn: what a link does beyond this is what its figures have beyond these.

mod memory;

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::atomic::Ordering::SeqCst,
    time::Instant,
};

use anyhow::{Context, Result};
use edgeflow_stream::clock;
use rustix::{
    event::{EventfdFlags, eventfd},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags,
    },
};

use super::{Case, Peer, Run, cpu_us, pace};
use memory::Memory;

const SLOTS: u64 = 8;
/// Before each payload: when it was sent.
const SLOT_HEAD: usize = 64;
/// Offsets of the ring's words, each in a cache line of its own.
const WRITTEN: usize = 0;
const TAKEN: usize = 64;
const CONSUMER_SLEEPS: usize = 128;
const PRODUCER_SLEEPS: usize = 192;
const RING_HEAD: usize = 4096;

/// Both ends hold the same.
struct Ring {
    memory: Memory,
    payload: usize,
    /// Wakes the consumer.
    filled: OwnedFd,
    /// Wakes the producer.
    freed: OwnedFd,
}

impl Ring {
    fn len(payload: usize) -> usize {
        RING_HEAD + SLOTS as usize * Self::slot_len(payload)
    }

    fn slot_len(payload: usize) -> usize {
        (SLOT_HEAD + payload).next_multiple_of(RING_HEAD)
    }

    fn slot(&self, count: u64) -> usize {
        RING_HEAD + (count % SLOTS) as usize * Self::slot_len(self.payload)
    }

    fn load(&self, word: usize) -> u64 {
        self.memory.word(word).load(SeqCst)
    }

    /// Waits until `ready`, asleep on the eventfd. The flag is up before the last look, and the
    /// other side looks at it after its store: no wake-up gets lost.
    fn wait(&self, flag: usize, wake: &OwnedFd, ready: impl Fn(&Self) -> bool) -> Result<()> {
        while !ready(self) {
            self.memory.word(flag).store(1, SeqCst);
            if ready(self) {
                self.memory.word(flag).store(0, SeqCst);
                return Ok(());
            }
            rustix::io::read(wake, &mut [0_u8; 8])?;
        }
        Ok(())
    }

    fn wake(&self, flag: usize, wake: &OwnedFd) -> Result<()> {
        if self.memory.word(flag).swap(0, SeqCst) == 1 {
            rustix::io::write(wake, &1_u64.to_ne_bytes())?;
        }
        Ok(())
    }

    fn send(&self, payload: &[u8]) -> Result<()> {
        let sent = clock::monotonic_ns();
        let count = self.load(WRITTEN);
        self.wait(PRODUCER_SLEEPS, &self.freed, |ring| {
            count - ring.load(TAKEN) < SLOTS
        })?;
        let slot = self.slot(count);
        self.memory.write(slot + SLOT_HEAD, payload);
        self.memory.word(slot).store(sent, SeqCst);
        self.memory.word(WRITTEN).store(count + 1, SeqCst);
        self.wake(CONSUMER_SLEEPS, &self.filled)
    }

    /// Returns when everything is taken.
    fn drain(&self) -> Result<()> {
        let count = self.load(WRITTEN);
        self.wait(PRODUCER_SLEEPS, &self.freed, |ring| {
            ring.load(TAKEN) == count
        })
    }

    /// Gives the next payload, in place, and when it was sent to `look`; then the slot is free.
    fn take<T>(&self, look: impl FnOnce(&[u8], u64) -> T) -> Result<T> {
        let count = self.load(TAKEN);
        self.wait(CONSUMER_SLEEPS, &self.filled, |ring| {
            ring.load(WRITTEN) > count
        })?;
        let slot = self.slot(count);
        let sent = self.load(slot);
        let seen = look(self.memory.bytes(slot + SLOT_HEAD, self.payload), sent);
        self.memory.word(TAKEN).store(count + 1, SeqCst);
        self.wake(PRODUCER_SLEEPS, &self.freed)?;
        Ok(seen)
    }
}

/// Paced, as the link's own measurement.
pub(super) fn paced(case: &Case) -> Result<Run> {
    let (ring, peer) = start(case, case.paced)?;
    let payload = vec![7; case.bytes];
    let cpu = cpu_us();
    pace(case, |_| ring.send(&payload))?;
    let mut run = peer.finish()?;
    run.cpu_us += cpu_us() - cpu;
    Ok(run)
}

/// Frames a second, as fast as they are taken.
pub(super) fn flat_out(case: &Case) -> Result<f64> {
    let (ring, peer) = start(case, case.flat_out)?;
    let payload = vec![7; case.bytes];
    let start = Instant::now();
    for _ in 0..case.flat_out {
        ring.send(&payload)?;
    }
    ring.drain()?;
    let elapsed = start.elapsed();
    peer.finish()?;
    Ok(f64::from(case.flat_out) / elapsed.as_secs_f64())
}

fn start(case: &Case, frames: u32) -> Result<(Ring, Peer)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("reference");
    let listener = UnixListener::bind(&path)?;
    let (shared, memory) = memory::create(Ring::len(case.bytes))?;
    let ring = Ring {
        memory,
        payload: case.bytes,
        filled: eventfd(0, EventfdFlags::CLOEXEC)?,
        freed: eventfd(0, EventfdFlags::CLOEXEC)?,
    };
    let mut peer = Peer::start("reference", &path, frames)?;
    let (stream, _) = listener.accept()?;
    let parts = [shared.as_fd(), ring.filled.as_fd(), ring.freed.as_fd()];
    hand_over(&stream, ring.payload, &parts)?;
    peer.line()?;
    Ok((ring, peer))
}

/// The receiving process.
pub(super) fn peer(path: &Path, frames: usize) -> Result<(Vec<f64>, f64)> {
    let ring = receive(&UnixStream::connect(path)?)?;
    println!("ready");
    let cpu = cpu_us();
    let mut hops = Vec::with_capacity(frames);
    for _ in 0..frames {
        hops.push(ring.take(|payload, sent| {
            let hop = clock::monotonic_ns().saturating_sub(sent);
            std::hint::black_box(payload);
            hop as f64 / 1e3
        })?);
    }
    Ok((hops, cpu_us() - cpu))
}

fn hand_over(stream: &UnixStream, payload: usize, parts: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(parts));
    let len = (payload as u64).to_ne_bytes();
    let slices = [IoSlice::new(&len)];
    rustix::net::sendmsg(stream, &slices, &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive(stream: &UnixStream) -> Result<Ring> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut len = [0; 8];
    let mut slices = [IoSliceMut::new(&mut len)];
    rustix::net::recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut parts = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => rights.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let mut part = || parts.next().context("a descriptor is missing");
    let (shared, filled, freed) = (part()?, part()?, part()?);
    let payload = usize::try_from(u64::from_ne_bytes(len))?;
    Ok(Ring {
        memory: memory::open(shared, Ring::len(payload))?,
        payload,
        filled,
        freed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_hands_over_in_order_and_waits_for_room() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (shared, memory) = memory::create(Ring::len(3)).expect("memory");
        let producer = Ring {
            memory,
            payload: 3,
            filled: eventfd(0, EventfdFlags::CLOEXEC).expect("eventfd"),
            freed: eventfd(0, EventfdFlags::CLOEXEC).expect("eventfd"),
        };
        let (filled, freed) = (&producer.filled, &producer.freed);
        let parts = [shared.as_fd(), filled.as_fd(), freed.as_fd()];
        hand_over(&ours, 3, &parts).expect("handed over");
        let seen = std::thread::spawn(move || {
            let consumer = receive(&theirs).expect("a ring");
            let take = |_| consumer.take(|bytes, _| bytes.to_vec()).expect("taken");
            (0..100).map(take).collect::<Vec<_>>()
        });
        for number in 0..100 {
            producer.send(&[number; 3]).expect("sent");
        }
        producer.drain().expect("drained");
        let expected: Vec<_> = (0..100).map(|number| vec![number; 3]).collect();
        assert_eq!(seen.join().expect("the consumer"), expected);
    }
}
