//! What happened: the past from the store, the present from the commits.

use std::sync::Arc;

use edgeflow_proto::v1;
use tokio::sync::broadcast;

use super::{Service, ServiceError};
use crate::store::{EventFilter, EventRow};

/// Past events that are given when none are asked for.
const DEFAULT_TAIL: u32 = 100;
/// Most past events of one call.
const MAX_TAIL: u32 = 10_000;

/// Past events, then new ones.
#[derive(Debug)]
pub struct EventStream {
    past: std::vec::IntoIter<EventRow>,
    newest: u64,
    filter: EventFilter,
    follow: Option<broadcast::Receiver<Arc<EventRow>>>,
}

impl Service {
    /// Starts to read events.
    pub async fn events(
        &self,
        request: &v1::WatchEventsRequest,
    ) -> Result<EventStream, ServiceError> {
        let device_id = if request.device.is_empty() {
            String::new()
        } else {
            // Events outlive their device: what is no name may be the id of one that is gone.
            self.world()
                .device(&request.device)
                .map_or_else(|| request.device.clone(), |device| device.row.id.clone())
        };
        let filter = EventFilter {
            system: request.system.clone(),
            device_id,
            since_ms: request.since_unix_ms,
        };
        // Subscribed before reading: nothing falls in between, and ids show what is there twice.
        let follow = request.follow.then(|| self.events.subscribe());
        let limit = match request.tail {
            0 if request.since_unix_ms > 0 => MAX_TAIL,
            0 => DEFAULT_TAIL,
            tail => tail.min(MAX_TAIL),
        };
        let past = self.store.events(&filter, limit).await?;
        Ok(EventStream {
            newest: past.last().map_or(0, |event| event.id),
            past: past.into_iter(),
            filter,
            follow,
        })
    }
}

impl EventStream {
    /// The next event; none at the end.
    pub async fn next(&mut self) -> Option<v1::Event> {
        if let Some(event) = self.past.next() {
            return Some(event_message(&event));
        }
        let follow = self.follow.as_mut()?;
        loop {
            match follow.recv().await {
                Ok(event) if event.id > self.newest && self.filter.accepts(&event) => {
                    self.newest = event.id;
                    return Some(event_message(&event));
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    return Some(v1::Event {
                        at_unix_ms: crate::clock::now_ms(),
                        severity: "warning".to_owned(),
                        reason: "EventsSkipped".to_owned(),
                        message: format!("{missed} events were skipped: the reader was too slow"),
                        ..v1::Event::default()
                    });
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// An event as clients get it.
pub fn event_message(event: &EventRow) -> v1::Event {
    v1::Event {
        id: event.id,
        at_unix_ms: event.at_ms,
        severity: event.severity.clone(),
        reason: event.reason.clone(),
        message: event.message.clone(),
        system: event.system.clone(),
        node: event.node.clone(),
        instance: event.instance.clone(),
        device_id: event.device_id.clone(),
        device_name: event.device_name.clone(),
        details: event.details.clone(),
        has_picture: event.has_picture,
        picture: Vec::new(),
    }
}
