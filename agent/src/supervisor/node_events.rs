//! Events that nodes tell of, as the agent passes them on: cut to what is kept, and not more than an
//! instance may take of the ring that all share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use edgeflow_spec::assignment::Instance;

use crate::{
    events::{Event, Events, Severity},
    session::node,
};

/// Events that an instance may tell of at once, and how soon there is room for another.
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(3);
const MAX_REASON: usize = 64;

/// Takes the events of one instance.
pub(super) struct NodeEvents {
    events: Arc<Events>,
    instance: Instance,
    room: u32,
    refilled: Instant,
    left_out: u64,
}

impl NodeEvents {
    pub(super) fn new(events: Arc<Events>, instance: Instance) -> Self {
        Self {
            events,
            instance,
            room: BURST,
            refilled: Instant::now(),
            left_out: 0,
        }
    }

    pub(super) fn take(&mut self, told: node::Event) {
        self.left_out += told.lost;
        let refill = self.refilled.elapsed().as_millis() / REFILL.as_millis();
        if refill > 0 {
            let more = u32::try_from(refill).unwrap_or(BURST);
            self.room = self.room.saturating_add(more).min(BURST);
            self.refilled = Instant::now();
        }
        if self.room == 0 {
            self.left_out += 1;
            return;
        }
        self.room -= 1;
        let severity = match told.severity.as_str() {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        };
        let word = told.reason.chars().filter(char::is_ascii_alphanumeric);
        let reason: String = word.take(MAX_REASON).collect();
        let mut details = told.details;
        if self.left_out > 0 {
            details.push(format!(
                "{} events of this node before this one were left out: there were too many",
                std::mem::take(&mut self.left_out)
            ));
        }
        let event = Event::new(severity, &reason, told.message)
            .about(&self.instance)
            .with_details(&details);
        self.events.add_with_picture(event, &told.picture);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_tells_too_much_is_cut_short_and_that_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let paths = crate::paths::Paths::new(dir.path().to_owned(), dir.path().to_owned());
        let events = Arc::new(Events::open(&paths, Arc::default()));
        let instance = serde_json::json!({
            "id": "s.n.0", "system": "s", "node": "n", "replica": 0, "revision": 1,
            "program": {"builtin": "log"}, "stop_grace_ms": 1,
        });
        let instance = serde_json::from_value(instance).unwrap();
        let mut taken = NodeEvents::new(Arc::clone(&events), instance);
        let told = || node::Event {
            reason: "Seen! it".to_owned(),
            severity: "warning".to_owned(),
            picture: vec![0xff, 0xd8],
            ..node::Event::default()
        };
        for _ in 0..BURST + 5 {
            taken.take(told());
        }
        taken.room = 1;
        taken.take(told());
        let all = events.after(0, 100);
        assert_eq!(all.len(), BURST as usize + 1);
        let (last, _) = all.last().unwrap();
        assert_eq!(last.event.reason, "Seenit");
        assert_eq!(last.event.instance, "s.n.0");
        assert!(last.event.details[0].starts_with("5 events"), "{last:?}");
        assert_eq!(events.picture(last.sequence), [0xff, 0xd8]);
    }
}
