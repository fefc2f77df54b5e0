//! New parameters on their way from the control thread to the node's loop. One slot: a newer set
//! takes the place of one that still waits. Never runs the node's code.

use std::sync::{Mutex, MutexGuard};

use serde_json::{Map, Value};
use tokio::sync::oneshot;

/// Why the node keeps its old values.
pub(super) type Answer = Result<(), String>;

/// A set of parameters that waits for the loop.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) params: Map<String, Value>,
    answer: oneshot::Sender<Answer>,
}

type Wake = Box<dyn Fn() + Send>;

#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    newest: Option<Pending>,
    wake: Option<Wake>,
}

impl Pending {
    /// Tells the one who asked, if it still waits.
    pub(super) fn answer(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

impl Inbox {
    /// How a waiting loop is woken.
    pub(super) fn on_put(&self, wake: impl Fn() + Send + 'static) {
        let mut state = self.lock();
        state.wake = Some(Box::new(wake));
    }

    /// Leaves a set of parameters. The answer never comes when a newer set takes its place.
    pub(super) fn put(&self, params: Map<String, Value>) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.newest = Some(Pending { params, answer });
        if let Some(wake) = &state.wake {
            wake();
        }
        receiver
    }

    /// The newest set that was not taken yet.
    pub(super) fn take(&self) -> Option<Pending> {
        self.lock().newest.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(value: u32) -> Map<String, Value> {
        Map::from_iter([("x".to_owned(), Value::from(value))])
    }

    #[test]
    fn the_newest_set_wins_and_the_older_one_is_told() {
        let inbox = Inbox::default();
        let mut first = inbox.put(set(1));
        let mut second = inbox.put(set(2));
        assert!(matches!(
            first.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        ));
        let pending = inbox.take().unwrap();
        assert_eq!(pending.params, set(2));
        assert!(inbox.take().is_none());
        pending.answer(Err("no".to_owned()));
        assert_eq!(second.try_recv().unwrap(), Err("no".to_owned()));
    }
}
