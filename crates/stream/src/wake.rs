//! An eventfd that wakes a thread out of `poll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::EventfdFlags;

/// Wakes the thread that polls it. Clones wake the same thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self(Arc::new(fd)))
    }

    /// Wakes the thread, now or at its next poll.
    pub fn wake(&self) {
        wake(&self.0);
    }

    /// Takes the wake-ups that are pending.
    pub(crate) fn clear(&self) {
        clear(&self.0);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(crate) fn wake(fd: impl AsFd) {
    // Only fails when a wake-up is pending already.
    let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
}

pub(crate) fn clear(fd: impl AsFd) {
    let mut count = [0_u8; 8];
    let _ = rustix::io::read(fd, &mut count);
}
