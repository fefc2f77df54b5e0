//! Statements on events. The table keeps the newest [`MAX_EVENTS`].

use super::{Store, StoreError, Write, from_json, signed, to_json, unsigned};

/// Events that are kept.
const MAX_EVENTS: i64 = 10_000;

/// Pictures that are kept.
const MAX_PICTURES: i64 = 1_000;

/// One event; `id` is 0 until it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventRow {
    /// Rises with every event.
    pub id: u64,
    /// When it happened.
    pub at_ms: i64,
    /// `info`, `warning` or `error`.
    pub severity: String,
    /// A word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// System, if it is about one.
    pub system: String,
    /// Node, if it is about one.
    pub node: String,
    /// Instance, if it is about one.
    pub instance: String,
    /// Device, if it is about one.
    pub device_id: String,
    /// The device's name at that time.
    pub device_name: String,
    /// More lines, such as the last log lines.
    pub details: Vec<String>,
    /// It has a picture.
    pub has_picture: bool,
    /// A JPEG, while the event is not stored; empty: none.
    pub picture: Vec<u8>,
}

/// Which events to read.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Empty: all.
    pub system: String,
    /// Device id; empty: all.
    pub device_id: String,
    /// Not older than this.
    pub since_ms: i64,
}

impl EventFilter {
    /// Whether an event passes.
    pub fn accepts(&self, event: &EventRow) -> bool {
        (self.system.is_empty() || self.system == event.system)
            && (self.device_id.is_empty() || self.device_id == event.device_id)
            && event.at_ms >= self.since_ms
    }
}

impl Store {
    /// The newest `limit` events that pass, oldest first.
    pub async fn events(
        &self,
        filter: &EventFilter,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT id, at_ms, severity, reason, message, system, node, instance, device_id,
                    device_name, details,
                    EXISTS (SELECT 1 FROM event_pictures WHERE event = events.id) AS has_picture
             FROM events
             WHERE (?1 = '' OR system = ?1) AND (?2 = '' OR device_id = ?2) AND at_ms >= ?3
             ORDER BY id DESC LIMIT ?4",
            filter.system,
            filter.device_id,
            filter.since_ms,
            limit
        )
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter()
            .rev()
            .map(|row| {
                Ok(EventRow {
                    id: unsigned(row.id),
                    at_ms: row.at_ms,
                    severity: row.severity,
                    reason: row.reason,
                    message: row.message,
                    system: row.system,
                    node: row.node,
                    instance: row.instance,
                    device_id: row.device_id,
                    device_name: row.device_name,
                    details: from_json(&row.details, "event")?,
                    has_picture: row.has_picture != 0,
                    picture: Vec::new(),
                })
            })
            .collect()
    }
}

impl Store {
    /// The picture of an event.
    pub async fn event_picture(&self, id: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let id = signed(id);
        let row = sqlx::query!("SELECT jpeg FROM event_pictures WHERE event = ?", id)
            .fetch_optional(&self.reader)
            .await?;
        Ok(row.map(|row| row.jpeg))
    }
}

impl Write {
    /// Adds an event, gives it its id and drops what is beyond the limit.
    pub async fn add_event(&mut self, event: &mut EventRow) -> Result<(), StoreError> {
        let details = to_json(&event.details);
        let id = sqlx::query!(
            "INSERT INTO events (at_ms, severity, reason, message, system, node, instance,
                                 device_id, device_name, details)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            event.at_ms,
            event.severity,
            event.reason,
            event.message,
            event.system,
            event.node,
            event.instance,
            event.device_id,
            event.device_name,
            details
        )
        .execute(&mut *self.0)
        .await?
        .last_insert_rowid();
        event.id = unsigned(id);
        let picture = std::mem::take(&mut event.picture);
        event.has_picture = !picture.is_empty();
        if event.has_picture {
            self.add_picture(id, &picture).await?;
        }
        let oldest = id - MAX_EVENTS;
        sqlx::query!("DELETE FROM events WHERE id <= ?", oldest)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    async fn add_picture(&mut self, event: i64, jpeg: &[u8]) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO event_pictures (event, jpeg) VALUES (?, ?)",
            event,
            jpeg
        )
        .execute(&mut *self.0)
        .await?;
        sqlx::query!(
            "DELETE FROM event_pictures WHERE event <=
               (SELECT event FROM event_pictures ORDER BY event DESC LIMIT 1 OFFSET ?)",
            MAX_PICTURES
        )
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }
}
