//! Frames between two threads of one process, beside the socket of their link: no byte of them is
//! copied. The sender waits while the receiver leaves many bytes there.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::link::Data;
use crate::wake::Waker;

/// Bytes that wait to be taken at most, and that are taken together; one frame always may.
const MAX_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    taken: Condvar,
    waker: Waker,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Data>,
    bytes: usize,
    /// Either end is gone.
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn close(&self) {
        self.lock().closed = true;
        self.taken.notify_all();
    }
}

/// Where frames are put.
#[derive(Debug)]
pub(crate) struct Sender(Arc<Shared>);

/// Where frames are taken. Readable while there are any.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Shared>);

/// Both ends.
pub(crate) fn pair() -> io::Result<(Sender, Receiver)> {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        taken: Condvar::new(),
        waker: Waker::new()?,
    });
    Ok((Sender(Arc::clone(&shared)), Receiver(shared)))
}

impl Sender {
    /// Hands frames over, in order. Waits while too much is there; an error when nobody takes it.
    pub(crate) fn send(&self, frames: Vec<Data>) -> io::Result<()> {
        for data in frames {
            let bytes = data.frame.encoded_len();
            let mut state = self.0.lock();
            while !state.closed && !state.frames.is_empty() && state.bytes + bytes > MAX_BYTES {
                let waited = self.0.taken.wait(state);
                state = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            if state.closed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let was_empty = state.frames.is_empty();
            state.bytes += bytes;
            state.frames.push_back(data);
            if was_empty {
                self.0.waker.wake();
            }
        }
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Receiver {
    /// What is there. Never waits.
    pub(crate) fn take(&self) -> VecDeque<Data> {
        let mut state = self.0.lock();
        self.0.waker.clear();
        state.bytes = 0;
        let frames = std::mem::take(&mut state.frames);
        self.0.taken.notify_all();
        frames
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.waker.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec};

    use super::*;
    use crate::frame::{Codec, Frame};

    fn data(number: u8, bytes: usize) -> Data {
        Data {
            frame: Frame::new(Codec::Bytes, vec![number; bytes]),
            sent_mono_ns: 0,
            redelivered: false,
        }
    }

    fn is_readable(receiver: &Receiver, timeout: Duration) -> bool {
        let timeout = Timespec::try_from(timeout).unwrap();
        let mut fds = [PollFd::from_borrowed_fd(receiver.as_fd(), PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&timeout)).unwrap() > 0
    }

    #[test]
    fn frames_keep_their_order_and_are_announced() {
        let (sender, receiver) = pair().unwrap();
        assert!(!is_readable(&receiver, Duration::ZERO));
        assert!(receiver.take().is_empty());
        sender.send(vec![data(1, 10), data(2, 10)]).unwrap();
        sender.send(vec![data(3, 10)]).unwrap();
        assert!(is_readable(&receiver, Duration::ZERO));
        let numbers: Vec<u8> = receiver.take().iter().map(|d| d.frame.payload[0]).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert!(!is_readable(&receiver, Duration::ZERO));
    }

    #[test]
    fn the_sender_waits_for_room_and_a_large_frame_goes_alone() {
        let (sender, receiver) = pair().unwrap();
        let frames = (0..8).map(|number| data(number, MAX_BYTES * 2)).collect();
        let sending = std::thread::spawn(move || sender.send(frames));
        for number in 0..8 {
            assert!(is_readable(&receiver, Duration::from_secs(30)));
            let taken = receiver.take();
            assert_eq!(taken.len(), 1, "no more than one has room");
            assert_eq!(taken[0].frame.payload[0], number);
        }
        sending.join().unwrap().unwrap();
    }

    #[test]
    fn what_was_sent_before_the_end_arrives_and_a_waiting_sender_ends_with_its_receiver() {
        let (sender, receiver) = pair().unwrap();
        sender.send(vec![data(1, 10)]).unwrap();
        drop(sender);
        assert_eq!(receiver.take().len(), 1);
        let (sender, receiver) = pair().unwrap();
        let frames = vec![data(1, MAX_BYTES), data(2, MAX_BYTES)];
        let sending = std::thread::spawn(move || sender.send(frames));
        assert!(is_readable(&receiver, Duration::from_secs(30)));
        drop(receiver);
        let error = sending.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
