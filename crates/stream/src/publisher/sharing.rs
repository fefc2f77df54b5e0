//! Which consumers of an output port get payloads in shared memory, and why others do not. Owns
//! the pool; the rules of delivery are in `state`.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::PublisherConfig;
use crate::clock;
use crate::frame::Frame;
use crate::link::Hello;
use crate::transport::shm::{self, BASE_BUDGET, Given, Lent, MAX_BUDGET, Pool, PoolStats};
use crate::transport::{Listen, TCP};

/// Bytes of a consumer's reason that are shown.
const MAX_REASON: usize = 200;

/// Where a payload goes.
#[derive(Debug)]
pub(super) enum Placed {
    /// Inline, on the socket.
    Socket,
    /// Into shared memory.
    Slot(Given),
}

#[derive(Debug)]
pub(super) struct Sharing {
    /// The transport without shared memory.
    base: &'static str,
    pool: Option<Pool>,
    consumers: BTreeMap<u64, Consumer>,
}

#[derive(Debug)]
struct Consumer {
    /// It is on another device.
    far: bool,
    /// Why it gets nothing in shared memory.
    why_not: Option<String>,
    /// Payloads that went over the socket because it or others hold too many.
    full: u64,
}

impl Sharing {
    pub(super) fn new(config: &PublisherConfig, listen: &dyn Listen) -> Self {
        let memory = config.shared_memory.as_ref();
        let pool = memory
            .filter(|_| listen.passes_descriptors())
            .map(|memory| {
                let budget = memory.budget.unwrap_or_else(|| default_budget(config));
                Pool::new(memory.min_payload, budget)
            });
        Self {
            base: listen.name(),
            pool,
            consumers: BTreeMap::new(),
        }
    }

    /// A consumer is accepted. The descriptors that it has to be sent; none: no shared memory.
    pub(super) fn join(&mut self, id: u64, fd: &OwnedFd, hello: &Hello) -> Vec<Arc<OwnedFd>> {
        let joined = self.try_join(id, fd, hello);
        let (fds, why_not) = match joined {
            Ok(fds) => (fds.map(Arc::new).into(), None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let far = hello.via == TCP;
        let consumer = Consumer {
            far,
            why_not,
            full: 0,
        };
        self.consumers.insert(id, consumer);
        fds
    }

    fn try_join(&mut self, id: u64, fd: &OwnedFd, hello: &Hello) -> Result<[OwnedFd; 2], String> {
        let Some(pool) = &mut self.pool else {
            return Err(String::new());
        };
        if !hello.shared_memory {
            return Err(shown(&hello.no_shared_memory));
        }
        if !clock::same_boot(&hello.boot_id) {
            return Err("the consumer is on another machine".to_owned());
        }
        let peer = rustix::net::sockopt::socket_peercred(fd)
            .map_err(|error| format!("the consumer's user is unknown: {error}"))?;
        if peer.uid != rustix::process::geteuid() {
            let uid = peer.uid.as_raw();
            return Err(format!("the consumer runs as another user ({uid})"));
        }
        let joined = pool.join(id);
        joined.map_err(|error| format!("no shared memory: {error}"))
    }

    pub(super) fn leave(&mut self, id: u64) {
        self.consumers.remove(&id);
        if let Some(pool) = &mut self.pool {
            pool.leave(id);
        }
    }

    /// The port is closed: its memory goes as soon as consumers have dropped what they hold.
    pub(super) fn close(&mut self) {
        self.consumers.clear();
        if let Some(pool) = &mut self.pool {
            *pool = Pool::new(usize::MAX, 0);
        }
    }

    /// Memory for a payload, see [`Pool::lend`].
    pub(super) fn lend(&mut self, len: usize) -> Option<Lent> {
        self.pool.as_mut()?.lend(len)
    }

    /// Finds the way for a frame's payload to a consumer, and writes the payload if it is due.
    pub(super) fn place(&mut self, id: u64, frame: &Frame) -> Placed {
        let (Some(pool), Some(consumer)) = (&mut self.pool, self.consumers.get_mut(&id)) else {
            return Placed::Socket;
        };
        if consumer.why_not.is_some() || !pool.wants(frame.payload.len()) {
            return Placed::Socket;
        }
        let header = &frame.header;
        let name = (header.stream_id, header.epoch, header.seq);
        match pool.give(id, name, &frame.payload) {
            Some(given) => Placed::Slot(given),
            None => {
                consumer.full += 1;
                Placed::Socket
            }
        }
    }

    /// The transport of a group with these members, and why it is not a faster one.
    pub(super) fn transport_of(&self, members: &[u64]) -> (&'static str, String) {
        let consumers = || members.iter().filter_map(|id| self.consumers.get(id));
        if consumers().any(|one| one.far) {
            let near = consumers().filter(|one| !one.far).count();
            let reason = match near {
                0 => String::new(),
                near => format!("to {near} consumers on this device {}", self.near()),
            };
            return (TCP, reason);
        }
        if self.pool.is_none() {
            return (self.base, String::new());
        }
        if let Some(reason) = consumers().find_map(|one| one.why_not.as_ref()) {
            return (self.base, reason.clone());
        }
        let full: u64 = consumers().map(|one| one.full).sum();
        let reason = if full == 0 {
            String::new()
        } else {
            format!("{full} payloads went over the socket: consumers hold too many")
        };
        (shm::NAME, reason)
    }

    /// The transport to consumers on this device.
    fn near(&self) -> &'static str {
        self.pool.as_ref().map_or(self.base, |_| shm::NAME)
    }

    pub(super) fn stats(&mut self) -> PoolStats {
        self.pool.as_mut().map(Pool::stats).unwrap_or_default()
    }
}

fn default_budget(config: &PublisherConfig) -> u64 {
    let durable = config.groups.iter().filter(|one| one.qos.is_lossless());
    let windows = durable.fold(BASE_BUDGET, |sum, group| {
        sum.saturating_add(group.qos.window_bytes)
    });
    windows.min(MAX_BUDGET)
}

/// A consumer's text, fit to be shown.
fn shown(reason: &str) -> String {
    if reason.is_empty() {
        return "the consumer does not support shared memory".to_owned();
    }
    let printable = reason.chars().filter(|c| !c.is_control());
    let mut text = String::new();
    for c in printable {
        if text.len() + c.len_utf8() > MAX_REASON {
            break;
        }
        text.push(c);
    }
    text
}
