//! Socket pairs within one process, for tests and for nodes that share a process.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::event::EventfdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{Dial, Dialed, Listen};

/// Consumers that may wait to be accepted.
const MAX_WAITING: usize = 64;

#[derive(Debug)]
struct Shared {
    wake: OwnedFd,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    sockets: VecDeque<OwnedFd>,
    closed: bool,
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The producer's side.
#[derive(Debug)]
pub struct MemoryListen(Arc<Shared>);

/// The consumer's side. Clones connect to the same producer.
#[derive(Clone, Debug)]
pub struct MemoryDial(Arc<Shared>);

/// A connected listener and dialler.
pub fn pair() -> io::Result<(MemoryListen, MemoryDial)> {
    let wake = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
    let shared = Arc::new(Shared {
        wake,
        waiting: Mutex::default(),
    });
    Ok((MemoryListen(Arc::clone(&shared)), MemoryDial(shared)))
}

impl Listen for MemoryListen {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }

    fn accept(&mut self) -> io::Result<Option<OwnedFd>> {
        let mut waiting = self.0.waiting();
        let socket = waiting.sockets.pop_front();
        if waiting.sockets.is_empty() {
            crate::wake::clear(&self.0.wake);
        }
        Ok(socket)
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}

impl Drop for MemoryListen {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.closed = true;
        waiting.sockets.clear();
    }
}

impl Dial for MemoryDial {
    fn dial(&mut self) -> io::Result<Dialed> {
        let mut waiting = self.0.waiting();
        if waiting.closed {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if waiting.sockets.len() >= MAX_WAITING {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        waiting.sockets.push_back(theirs);
        crate::wake::wake(&self.0.wake);
        Ok(ours.into())
    }

    fn address(&self) -> String {
        "memory".to_owned()
    }
}
