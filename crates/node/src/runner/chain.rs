//! Durable frames that became other durable frames. They are acknowledged in order, when every
//! consumer is done with what was made of them. Never waits.

use std::collections::VecDeque;

use edgeflow_stream::publisher::PublisherHandle;
use edgeflow_stream::wake::Waker;
use edgeflow_stream::{Held, Subscriber};

/// Frames with the numbers that have to be settled first. Bounded by the windows of the input links,
/// which these frames are part of.
pub(super) struct Chain {
    outputs: Vec<PublisherHandle>,
    waiting: VecDeque<(Held, Vec<u64>)>,
}

impl Chain {
    /// `waker` ends the wait of the subscriber.
    pub(super) fn new(outputs: &[(String, PublisherHandle)], waker: &Waker) -> Self {
        let outputs: Vec<_> = outputs.iter().map(|(_, handle)| handle.clone()).collect();
        for output in &outputs {
            output.set_settled_waker(waker.clone());
        }
        Self {
            outputs,
            waiting: VecDeque::new(),
        }
    }

    /// Whether the durable consumers are done with the frames up to these numbers, one a port.
    pub(super) fn is_settled(&self, marks: &[u64]) -> bool {
        let pairs = self.outputs.iter().zip(marks);
        pairs
            .into_iter()
            .all(|(output, mark)| output.settled() >= *mark)
    }

    /// Whether every frame is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A frame that became the frames up to `marks`.
    pub(super) fn push(&mut self, held: Held, marks: Vec<u64>) {
        self.waiting.push_back((held, marks));
    }

    /// Acknowledges what can be. If something is left, the waker wakes when that may have changed.
    pub(super) fn settle(&mut self, subscriber: &mut Subscriber) {
        if self.waiting.is_empty() {
            return;
        }
        // First, so that nothing is missed in between.
        self.outputs.iter().for_each(PublisherHandle::want_settled);
        let settled: Vec<u64> = self.outputs.iter().map(PublisherHandle::settled).collect();
        let done = |marks: &[u64]| settled.iter().zip(marks).all(|(have, want)| have >= want);
        while let Some((held, _)) = self.waiting.pop_front_if(|(_, marks)| done(marks)) {
            subscriber.release(&held);
        }
    }
}
