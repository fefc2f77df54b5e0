//! Brings messages to a receiver, one after the other, in a thread of its own: again and again while the
//! receiver is away, so that the node's loop never waits.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edgeflow::{Condition, Counter, tracing};

use super::outbox::Outbox;

/// Pauses between tries.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What became of a try.
#[derive(Debug)]
pub(super) enum Failed {
    /// The receiver is away, or busy: tried again.
    Later(String),
    /// The receiver does not want this message: dropped.
    Never(String),
}

/// What a receiver does with a message.
pub(super) type Deliver = Box<dyn FnMut(&[u8]) -> Result<(), Failed> + Send>;

/// What couriers say of themselves, by receiver; shown as the node's condition.
#[derive(Clone, Debug)]
pub(super) struct Troubles {
    condition: Condition,
    all: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Troubles {
    pub(super) fn new(condition: Condition) -> Self {
        Self {
            condition,
            all: Arc::default(),
        }
    }

    fn set(&self, name: &'static str, text: Option<String>) {
        let mut all = lock(&self.all);
        match text {
            Some(text) => all.insert(name, text),
            None => all.remove(name),
        };
        let texts: Vec<String> = all
            .iter()
            .map(|(name, text)| format!("{name}: {text}"))
            .collect();
        if texts.is_empty() {
            self.condition.clear();
        } else {
            self.condition.set(texts.join("; "));
        }
    }
}

/// A courier's side for the node.
#[derive(Debug)]
pub(super) struct Courier {
    shared: Arc<Shared>,
    lost: Counter,
}

#[derive(Debug)]
struct Shared {
    outbox: Mutex<Outbox>,
    added: Condvar,
}

impl Courier {
    /// Starts the thread; it goes with the process. What it has not delivered it finds again.
    pub(super) fn start(
        name: &'static str,
        dir: PathBuf,
        deliver: Deliver,
        troubles: Troubles,
        (sent, lost): (Counter, Counter),
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            outbox: Mutex::new(Outbox::open(dir)?),
            added: Condvar::new(),
        });
        let run = Run {
            name,
            shared: Arc::clone(&shared),
            deliver,
            troubles,
            sent,
            lost: lost.clone(),
        };
        std::thread::Builder::new()
            .name(format!("courier-{name}"))
            .spawn(move || run.run())?;
        Ok(Self { shared, lost })
    }

    /// Hands a message over.
    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        let gone = lock(&self.shared.outbox).push(message)?;
        self.lost.add(gone as u64);
        self.shared.added.notify_one();
        Ok(())
    }
}

struct Run {
    name: &'static str,
    shared: Arc<Shared>,
    deliver: Deliver,
    troubles: Troubles,
    sent: Counter,
    lost: Counter,
}

impl Run {
    fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let (number, message) = self.next();
            match (self.deliver)(&message) {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    self.sent.add(1);
                    self.done(number);
                }
                Err(Failed::Never(reason)) => {
                    tracing::warn!(
                        receiver = self.name,
                        reason,
                        "an event is refused and dropped"
                    );
                    self.lost.add(1);
                    self.done(number);
                }
                Err(Failed::Later(reason)) => {
                    let waiting = lock(&self.shared.outbox).len();
                    let text = format!("{reason} ({waiting} events wait)");
                    self.troubles.set(self.name, Some(text));
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn done(&self, number: u64) {
        lock(&self.shared.outbox).delivered(number);
        self.troubles.set(self.name, None);
    }

    /// Waits for the oldest message.
    fn next(&self) -> (u64, Vec<u8>) {
        let mut outbox = lock(&self.shared.outbox);
        loop {
            if let Some(found) = outbox.front() {
                return found;
            }
            let waited = self.shared.added.wait(outbox);
            outbox = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
