//! Events that a node tells of, on their way to the agent and the control plane. Bounded: the oldest go
//! when nobody takes them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use edgeflow_proto::v1::NodeEvent;
use edgeflow_stream::clock;
use tokio::sync::Notify;

/// Events that wait for the agent.
const MAX_WAITING: usize = 64;
/// Bytes of a picture.
pub const MAX_PICTURE_BYTES: usize = 64 * 1024;
/// Bytes of a name.
const MAX_NAME_LEN: usize = 64;

/// How much an event matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// Good to know.
    #[default]
    Info,
    /// Somebody may want to look.
    Warning,
    /// Somebody has to look.
    Error,
}

impl Severity {
    /// `info`, `warning` or `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that happened, as people find it in the list of events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// How much it matters.
    pub severity: Severity,
    /// A word for programs, letters and digits: `PersonAtDoor`.
    pub name: String,
    /// One sentence.
    pub message: String,
    /// Further lines.
    pub details: Vec<String>,
    /// A JPEG of [`MAX_PICTURE_BYTES`] at most; empty: none.
    pub picture: Vec<u8>,
}

/// Where a node's events go. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Events(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    queue: Mutex<Queue>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<NodeEvent>,
    lost: u64,
}

impl Events {
    /// Tells of an event, now. A picture that is too large is left out.
    pub fn send(&self, event: Event) {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric();
        let name = event.name;
        let good = (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(is_word);
        if !good {
            tracing::warn!(name, "the name of an event has letters and digits only");
        }
        if event.picture.len() > MAX_PICTURE_BYTES {
            let bytes = event.picture.len();
            tracing::warn!(bytes, "the picture of an event is too large and left out");
        }
        let fits = event.picture.len() <= MAX_PICTURE_BYTES;
        let message = NodeEvent {
            at_unix_ms: clock::unix_ns() / 1_000_000,
            severity: event.severity.as_str().to_owned(),
            reason: if good { name } else { "NodeEvent".to_owned() },
            message: event.message,
            details: event.details,
            picture: if fits { event.picture } else { Vec::new() },
            lost: 0,
        };
        let mut queue = self.queue();
        if queue.events.len() == MAX_WAITING {
            queue.events.pop_front();
            queue.lost += 1;
        }
        queue.events.push_back(message);
        drop(queue);
        self.0.added.notify_one();
    }

    /// The next event. For one reader.
    pub(crate) async fn next(&self) -> NodeEvent {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.0.added.notified().await;
        }
    }

    /// The next event, if one waits.
    pub(crate) fn take(&self) -> Option<NodeEvent> {
        let mut queue = self.queue();
        let mut event = queue.events.pop_front()?;
        event.lost = std::mem::take(&mut queue.lost);
        Some(event)
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str) -> Event {
        Event {
            name: name.to_owned(),
            ..Event::default()
        }
    }

    #[test]
    fn the_oldest_go_and_are_counted() {
        let events = Events::default();
        for number in 0..MAX_WAITING + 3 {
            events.send(event(&format!("E{number}")));
        }
        let first = events.take().unwrap();
        assert_eq!((first.reason.as_str(), first.lost), ("E3", 3));
        assert_eq!(events.take().unwrap().lost, 0);
    }

    #[test]
    fn what_can_not_be_shown_is_left_out() {
        let events = Events::default();
        let large = vec![0; MAX_PICTURE_BYTES + 1];
        events.send(Event {
            picture: large,
            ..event("no spaces")
        });
        let sent = events.take().unwrap();
        assert_eq!((sent.reason.as_str(), sent.picture.len()), ("NodeEvent", 0));
        assert!(sent.at_unix_ms > 0 && events.take().is_none());
    }
}
