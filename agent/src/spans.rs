//! Spans of sampled frames between the nodes and the session: bounded, in memory only, and none at
//! all unless the control plane wants them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use edgeflow_spec::assignment::Instance;
use tokio::sync::watch;

use crate::session::node::Span;

/// Spans that wait for the session; older ones are lost.
const CAPACITY: usize = 2048;

/// Whose a span is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `system.node.replica`.
    pub instance: String,
    /// System name.
    pub system: String,
    /// Node name.
    pub node: String,
    /// Replica number.
    pub replica: u32,
}

impl Origin {
    /// Of an instance.
    pub fn new(instance: &Instance) -> Self {
        Self {
            instance: instance.id.clone(),
            system: instance.system.clone(),
            node: instance.node.clone(),
            replica: instance.replica,
        }
    }
}

/// A span and whose it is.
pub type Waiting = (Arc<Origin>, Span);

/// What waits for the session.
#[derive(Debug)]
pub struct Spans {
    wanted: watch::Sender<bool>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    lost: u64,
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            wanted: watch::Sender::new(false),
            queue: Mutex::default(),
        }
    }
}

impl Spans {
    /// Whether the control plane wants spans.
    pub fn wanted(&self) -> watch::Receiver<bool> {
        self.wanted.subscribe()
    }

    /// Spans are wanted or not from now on.
    pub fn want(&self, wanted: bool) {
        self.wanted.send_replace(wanted);
        if !wanted {
            *self.lock() = Queue::default();
        }
    }

    /// Puts spans of a node into the queue.
    pub fn add(&self, origin: &Arc<Origin>, spans: Vec<Span>, lost: u64) {
        if !*self.wanted.borrow() {
            return;
        }
        let mut queue = self.lock();
        queue.lost += lost;
        for span in spans {
            if queue.waiting.len() == CAPACITY {
                queue.waiting.pop_front();
                queue.lost += 1;
            }
            queue.waiting.push_back((Arc::clone(origin), span));
        }
    }

    /// The oldest `most` spans, and how many were lost before them.
    pub fn take(&self, most: usize) -> (Vec<Waiting>, u64) {
        let mut queue = self.lock();
        let most = most.min(queue.waiting.len());
        let spans = queue.waiting.drain(..most).collect();
        (spans, std::mem::take(&mut queue.lost))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: u64) -> Span {
        Span {
            span_id: id,
            ..Span::default()
        }
    }

    fn origin() -> Arc<Origin> {
        Arc::new(Origin {
            instance: "s.n.0".to_owned(),
            system: "s".to_owned(),
            node: "n".to_owned(),
            replica: 0,
        })
    }

    #[test]
    fn nothing_is_kept_unless_it_is_wanted() {
        let spans = Spans::default();
        spans.add(&origin(), vec![span(1)], 0);
        assert_eq!(spans.take(10).0.len(), 0);
        spans.want(true);
        spans.add(&origin(), vec![span(1)], 3);
        spans.want(false);
        assert_eq!(spans.take(10), (Vec::new(), 0));
    }

    #[test]
    fn the_oldest_are_lost_and_counted() {
        let spans = Spans::default();
        spans.want(true);
        let over = 5;
        let many = (0..CAPACITY as u64 + over).map(span).collect();
        spans.add(&origin(), many, 2);
        let (taken, lost) = spans.take(1);
        assert_eq!((taken[0].1.span_id, lost), (over, over + 2));
        let (taken, lost) = spans.take(CAPACITY);
        assert_eq!((taken.len(), lost), (CAPACITY - 1, 0));
    }
}
