//! The byte streams below links. A transport makes connected, non-blocking stream sockets; all
//! else (protocol, credits, reconnects) is the same above every transport.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

pub(crate) mod handover;
pub mod memory;
pub(crate) mod pipe;
pub mod shm;
pub mod unix;

/// The producer's side: a place where consumers connect.
pub trait Listen: Send {
    /// Becomes readable when a consumer waits.
    fn fd(&self) -> BorrowedFd<'_>;
    /// The next waiting consumer, `None` when there is none.
    fn accept(&mut self) -> io::Result<Option<OwnedFd>>;
    /// Transport name in statistics.
    fn name(&self) -> &'static str;
    /// Whether descriptors can be passed to consumers, so that payloads can be in shared memory.
    fn passes_descriptors(&self) -> bool {
        false
    }
}

/// The consumer's side: a way to connect to one producer.
pub trait Dial: Send {
    /// Connects. Must not block for long.
    fn dial(&mut self) -> io::Result<Dialed>;
    /// The address, for messages.
    fn address(&self) -> String;
    /// What carries the link to a producer on another device; `None`: the producer is on this one.
    fn via(&self) -> Option<&'static str> {
        None
    }
}

/// A new connection to a producer.
#[derive(Debug)]
pub struct Dialed {
    pub(crate) socket: OwnedFd,
    /// Carries the frames, if the producer is a thread of this process; the socket all else.
    pub(crate) frames: Option<handover::Receiver>,
}

impl From<OwnedFd> for Dialed {
    fn from(socket: OwnedFd) -> Self {
        Self {
            socket,
            frames: None,
        }
    }
}

/// Name of the transport between devices: the agents relay links over TCP.
pub const TCP: &str = "tcp";

/// Asked for as the size of a socket's send buffer; the kernel may give less.
const SEND_BUFFER: usize = 1024 * 1024;

/// Asks for a larger send buffer. A smaller one costs speed only.
pub(crate) fn grow_send_buffer(fd: impl AsFd) {
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(fd, SEND_BUFFER);
}

/// Sends what fits now of `parts`, without their first `skip` bytes. `None`: nothing fits.
pub(crate) fn send_parts(
    fd: impl AsFd,
    parts: [&[u8]; 3],
    skip: usize,
) -> io::Result<Option<usize>> {
    let slices = slices(parts, skip);
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        let sent = rustix::net::sendmsg(&fd, &slices, &mut SendAncillaryBuffer::default(), flags);
        match sent {
            Ok(sent) => return Ok(Some(sent)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn slices(parts: [&[u8]; 3], skip: usize) -> [IoSlice<'_>; 3] {
    let mut skip = skip;
    parts.map(|part| {
        let cut = skip.min(part.len());
        skip -= cut;
        IoSlice::new(&part[cut..])
    })
}

/// Descriptors that go with one message at most.
const MAX_FDS: usize = 3;
/// Descriptors of one message that are taken; the kernel closes more.
const MAX_FDS_IN: usize = 4;

/// Sends what fits now of `bytes`, with descriptors. `None`: nothing fits.
pub(crate) fn send_with_fds(
    fd: impl AsFd,
    bytes: &[u8],
    fds: &[Arc<OwnedFd>],
) -> io::Result<Option<usize>> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match rustix::net::sendmsg(&fd, &[IoSlice::new(bytes)], &mut control, flags) {
            Ok(sent) => return Ok(Some(sent)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Like [`receive`], and adds the descriptors that came to `fds`. The kernel drops those that do
/// not fit: the message that they belong to misses them then.
pub(crate) fn receive_with_fds(
    fd: impl AsFd,
    buffer: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<Option<usize>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS_IN))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(&fd, &mut slices, &mut control, flags) {
            Ok(received) => {
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        fds.extend(rights);
                    }
                }
                return Ok(Some(received.bytes));
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads what is there. `None`: nothing now; `Some(0)`: the other side closed.
pub(crate) fn receive(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match rustix::net::recv(&fd, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((count, _)) => return Ok(Some(count)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}
