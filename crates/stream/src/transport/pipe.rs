//! A pipe beside a link's Unix socket, from the producer to the consumer: a process that sleeps is
//! woken through a pipe in half the time that a socket takes. Owns the descriptors; what is said on
//! which of the two is the publisher's and the subscriber's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::slices;

/// Asked for as the pipe's capacity; the kernel may give less.
const CAPACITY: usize = 256 * 1024;

/// A new pipe: the consumer's end and the producer's.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // A smaller one costs speed only.
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, CAPACITY);
    Ok((reader, writer))
}

/// Looks at a descriptor that came as the consumer's end. `None`: it is no pipe.
pub(crate) fn open(fd: OwnedFd) -> io::Result<Option<OwnedFd>> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    if kind != FileType::Fifo {
        return Ok(None);
    }
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    Ok(Some(fd))
}

/// Writes what fits now of `parts`, without their first `skip` bytes. `None`: nothing fits. The
/// signal for a pipe that nobody reads is ignored in every Rust program.
pub(crate) fn send_parts(
    fd: impl AsFd,
    parts: [&[u8]; 3],
    skip: usize,
) -> io::Result<Option<usize>> {
    loop {
        match rustix::io::writev(&fd, &slices(parts, skip)) {
            Ok(sent) => return Ok(Some(sent)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads what is there. `None`: nothing now; `Some(0)`: the other side closed.
pub(crate) fn receive(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match rustix::io::read(&fd, &mut *buffer) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}
