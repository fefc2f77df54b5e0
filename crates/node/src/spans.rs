//! Spans of sampled frames on their way to the agent: bounded, and only while somebody reads them.

use edgeflow_proto::v1::Span;
use tokio::sync::broadcast;

/// Spans that wait for a reader; older ones are lost.
const CAPACITY: usize = 256;

/// Where a node's spans go.
#[derive(Clone, Debug)]
pub(crate) struct Spans(broadcast::Sender<Span>);

impl Default for Spans {
    fn default() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }
}

impl Spans {
    /// Whether somebody reads them.
    pub(crate) fn are_wanted(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(crate) fn send(&self, span: Span) {
        // It fails when the reader has just gone.
        let _ = self.0.send(span);
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Span> {
        self.0.subscribe()
    }
}
