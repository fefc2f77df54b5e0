//! One output port: every frame goes to each consumer group, by the rules of the group's quality
//! of service. A thread owns accepting, credits and unfinished writes; `send` writes directly when
//! a consumer waits for a frame, so the usual path has no hand-over. A slow, frozen or lost
//! consumer holds up nobody but the senders of a durable link that is declared to block.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edgeflow_spec::qos::LinkQos;

use crate::frame::{Frame, FrameError, Limits};
use crate::stats::GroupStats;
use crate::transport::Listen;
use crate::transport::shm::{PoolStats, SharedMemory};
use crate::wake::Waker;

mod buffer;
mod dead_letters;
mod group;
mod io_thread;
mod member;
mod record;
mod sharing;
mod spill;
mod state;
mod store;

pub use buffer::Buffer;
pub use dead_letters::{DeadLetter, DeadLetterError, MAX_DEAD_LETTER_BYTES, MAX_DEAD_LETTERS};
pub use store::left_behind;

use state::{Refusal, State};

/// Groups an output port serves at most.
pub const MAX_GROUPS: usize = 32;
/// Consumers an output port serves at most.
pub const MAX_MEMBERS: usize = 64;
/// Groups with this prefix exist only while somebody is connected.
pub const VIEW_PREFIX: &str = "view:";
/// Time for a consumer's first message.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long closing waits for a durable group of which nobody is connected.
const ABSENT_GRACE: Duration = Duration::from_millis(500);
/// How long a send that waits for room waits before it looks again: a disk gets room without a
/// signal.
const ROOM_RETRY: Duration = Duration::from_millis(500);
/// Dead letters listed for one publisher at most, the oldest first.
pub const MAX_LISTED_DEAD_LETTERS: usize = 500;

/// A group that is known before anybody connects.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// Link id.
    pub link: String,
    /// Group name: the consuming node.
    pub group: String,
    /// Quality of service.
    pub qos: LinkQos,
}

/// What a publisher is told.
#[derive(Clone, Debug)]
pub struct PublisherConfig {
    /// Instance and port; hashed to the stream id.
    pub name: String,
    /// Groups known beforehand. A durable one keeps frames from the first on.
    pub groups: Vec<GroupConfig>,
    /// Largest frame that may be sent.
    pub limits: Limits,
    /// Payloads in shared memory, for consumers that can map it. `None`: all on the socket.
    pub shared_memory: Option<SharedMemory>,
}

/// Why a frame was not sent, to any group.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A durable link with `on_full: fail` has no room.
    #[error("link `{link}` is full: {frames} frames wait for `{group}`")]
    Full {
        /// Link id.
        link: String,
        /// Group name.
        group: String,
        /// Frames in flight.
        frames: u64,
    },
    /// The publisher was interrupted while it waited for room, or is closed.
    #[error("the output is closing")]
    Closing,
    /// The frame is over the limits.
    #[error("the frame can't be sent")]
    Frame(#[source] FrameError),
}

/// The producer's end of the links of one output port.
#[derive(Debug)]
pub struct Publisher {
    handle: PublisherHandle,
    thread: Option<JoinHandle<()>>,
}

/// Looks at a publisher or interrupts it, from any thread.
#[derive(Clone, Debug)]
pub struct PublisherHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when a frame leaves a durable window, and when the publisher is interrupted.
    room: Condvar,
    waker: Waker,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Publisher {
    /// Serves consumers that connect to `listen`. Nothing goes to disk: a link that spills blocks,
    /// and there are no dead letters.
    pub fn new(config: PublisherConfig, listen: Box<dyn Listen>) -> io::Result<Self> {
        Self::start(State::new(config, listen.as_ref()), listen)
    }

    /// The same with a folder for what goes to disk. Frames that a former life left there come
    /// first. Nobody else may use the folder meanwhile.
    pub fn with_store(
        config: PublisherConfig,
        store: &Path,
        listen: Box<dyn Listen>,
    ) -> io::Result<Self> {
        let mut state = State::new(config, listen.as_ref());
        state.use_store(store);
        Self::start(state, listen)
    }

    fn start(state: State, listen: Box<dyn Listen>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            room: Condvar::new(),
            waker: Waker::new()?,
        });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("edgeflow-output".to_owned())
            .spawn(move || io_thread::run(&for_thread, listen))?;
        Ok(Self {
            handle: PublisherHandle { shared },
            thread: Some(thread),
        })
    }

    /// The `trace_id` of a frame that had none and was sent with this number.
    pub fn trace_id(&self, seq: u64) -> [u8; 16] {
        self.handle.shared.state().trace_id(seq)
    }

    /// Memory to write the payload of a frame into, for [`Self::send`] on this output. It is copied
    /// no more on the way to consumers on this device if they share memory.
    pub fn buffer(&self, len: usize) -> Buffer {
        let lent = self.handle.shared.state().lend(len);
        lent.map_or_else(|| Buffer::own(len), Buffer::shared)
    }

    /// Gives a frame to every group and returns its number. Stream, epoch, number and span are
    /// filled in. Waits only while a durable link that blocks is full; an error means that no
    /// group got the frame.
    pub fn send(&self, frame: Frame) -> Result<u64, SendError> {
        let shared = &self.handle.shared;
        let mut state = shared.state();
        frame.check(&state.limits()).map_err(SendError::Frame)?;
        loop {
            if state.is_closed() {
                return Err(SendError::Closing);
            }
            match state.admit(frame.encoded_len()) {
                Ok(()) => break,
                Err(Refusal::Full {
                    link,
                    group,
                    frames,
                }) => {
                    return Err(SendError::Full {
                        link,
                        group,
                        frames,
                    });
                }
                Err(Refusal::Wait) if state.is_interrupted() => return Err(SendError::Closing),
                Err(Refusal::Wait) => {
                    state = match shared.room.wait_timeout(state, ROOM_RETRY) {
                        Ok((state, _)) => state,
                        Err(poisoned) => poisoned.into_inner().0,
                    };
                }
            }
        }
        let seq = state.publish(frame);
        if state.take_needs_thread() {
            shared.waker.wake();
        }
        Ok(seq)
    }

    /// A handle for other threads.
    pub fn handle(&self) -> PublisherHandle {
        self.handle.clone()
    }

    /// Counters of every group.
    pub fn stats(&self) -> Vec<GroupStats> {
        self.handle.stats()
    }

    /// Waits up to `drain` until durable consumers have acknowledged everything, then ends the
    /// links. Returns the final counters; what is left counts as `undelivered`.
    pub fn close(mut self, drain: Duration) -> Vec<GroupStats> {
        self.drain(drain);
        self.finish();
        self.handle.stats()
    }

    fn drain(&self, drain: Duration) {
        let start = Instant::now();
        let shared = &self.handle.shared;
        let mut state = shared.state();
        loop {
            let passed = start.elapsed();
            let limit = match state.undrained() {
                None => return,
                Some(state::Undrained::Attended) => drain,
                Some(state::Undrained::Absent) => drain.min(ABSENT_GRACE),
            };
            let Some(left) = limit.checked_sub(passed).filter(|left| !left.is_zero()) else {
                return;
            };
            // Consumers come and go without a signal: look again now and then.
            let step = left.min(Duration::from_millis(50));
            state = match shared.room.wait_timeout(state, step) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn finish(&mut self) {
        let shared = &self.handle.shared;
        shared.state().close();
        shared.room.notify_all();
        shared.waker.wake();
        if let Some(thread) = self.thread.take() {
            // It ends by itself; if it panicked there is nothing left to end.
            let _ = thread.join();
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.finish();
    }
}

impl PublisherHandle {
    /// Counters of every group.
    pub fn stats(&self) -> Vec<GroupStats> {
        self.shared.state().stats()
    }

    /// Whether somebody takes the frames of this output now, or will be given them later.
    pub fn is_wanted(&self) -> bool {
        self.shared.state().is_wanted()
    }

    /// Every durable consumer is done with the frames up to this number.
    pub fn settled(&self) -> u64 {
        self.shared.state().settled()
    }

    /// What [`Self::want_settled`] wakes.
    pub fn set_settled_waker(&self, waker: Waker) {
        self.shared.state().set_settled_waker(waker);
    }

    /// Wakes once, at the next acknowledgement of a durable frame.
    pub fn want_settled(&self) {
        self.shared.state().want_settled();
    }

    /// The dead letters of every group, oldest first; those that can't be read are left out.
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, DeadLetterError> {
        // Files are read without the lock.
        let folders = self.shared.state().dead_letters();
        let mut all = Vec::new();
        for folder in folders {
            for id in folder.ids()? {
                if all.len() >= MAX_LISTED_DEAD_LETTERS {
                    return Ok(all);
                }
                all.extend(folder.describe(&id)?);
            }
        }
        Ok(all)
    }

    /// Sends the dead letter `id` once more, to the group that it is of, as a new frame. `false`:
    /// the group has no room for it now, so it stays.
    pub fn replay_dead_letter(&self, id: &str) -> Result<bool, DeadLetterError> {
        let folders = self.shared.state().dead_letters();
        for folder in folders {
            let frame = match folder.frame(id) {
                Ok(Some(frame)) => frame,
                Ok(None) | Err(DeadLetterError::Unknown(_)) => continue,
                Err(error) => return Err(error),
            };
            let mut state = self.shared.state();
            if state.is_closed() || !state.replay(folder.link(), frame) {
                return Ok(false);
            }
            let needs_thread = state.take_needs_thread();
            drop(state);
            if needs_thread {
                self.shared.waker.wake();
            }
            return folder.remove(id).map(|()| true);
        }
        Err(DeadLetterError::Unknown(id.to_owned()))
    }

    /// Puts a frame of a link aside that consumers behind a broker have died with. Its id.
    pub(crate) fn put_dead_letter(
        &self,
        link: &str,
        frame: Frame,
        deliveries: u32,
    ) -> Result<String, DeadLetterError> {
        let folders = self.shared.state().dead_letters();
        let folder = folders.iter().find(|folder| folder.link() == link);
        let folder = folder.ok_or(DeadLetterError::NoFolder)?;
        let seq = frame.header.seq;
        let id = folder.put(&group::Entry::lost(frame, deliveries))?;
        tracing::warn!(
            link,
            id,
            seq,
            deliveries,
            "a frame was lost with its consumer too often and is a dead letter now"
        );
        Ok(id)
    }

    /// Takes one back that somebody else has as well.
    pub(crate) fn remove_dead_letter(&self, link: &str, id: &str) {
        let folders = self.shared.state().dead_letters();
        if let Some(folder) = folders.iter().find(|folder| folder.link() == link) {
            // Twice is better than not at all.
            let _ = folder.remove(id);
        }
    }

    /// What is in shared memory now.
    pub fn shared_memory(&self) -> PoolStats {
        self.shared.state().shared_memory()
    }

    /// Makes a `send` that waits for room, and every later one that would, return
    /// [`SendError::Closing`].
    pub fn interrupt(&self) {
        self.shared.state().interrupt();
        self.shared.room.notify_all();
    }
}
