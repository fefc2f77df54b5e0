//! What happened on this device, numbered, kept on disk until the control plane has acknowledged
//! it. Bounded: with nobody to take events the oldest go, and the gap is told.

mod pictures;

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use edgeflow_spec::assignment::Instance;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    clock::unix_ms,
    conditions::{self, Conditions},
    files,
    paths::Paths,
};
use pictures::Pictures;

/// Most unacknowledged events that are kept.
pub const MAX_EVENTS: usize = 1024;
/// The file is rewritten when it is larger than this.
pub const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024;
const MAX_MESSAGE_BYTES: usize = 2048;
const MAX_DETAILS: usize = 20;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Expected.
    Info,
    /// Works on, but a person may want to look.
    Warning,
    /// Does not work.
    Error,
}

impl Severity {
    /// As the protocol spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at_unix_ms: i64,
    /// How much it matters.
    pub severity: Severity,
    /// `InstanceExited`, `AssignmentApplied` …
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// System, if it concerns one.
    #[serde(default)]
    pub system: String,
    /// Node, if it concerns one.
    #[serde(default)]
    pub node: String,
    /// Instance, if it concerns one.
    #[serde(default)]
    pub instance: String,
    /// Further lines, such as the last of a log.
    #[serde(default)]
    pub details: Vec<String>,
}

impl Event {
    /// An event about the device, now.
    pub fn new(severity: Severity, reason: &str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        truncate(&mut message);
        Self {
            at_unix_ms: unix_ms(),
            severity,
            reason: reason.to_owned(),
            message,
            system: String::new(),
            node: String::new(),
            instance: String::new(),
            details: Vec::new(),
        }
    }

    /// The same about an instance.
    pub fn about(mut self, instance: &Instance) -> Self {
        self.system.clone_from(&instance.system);
        self.node.clone_from(&instance.node);
        self.instance.clone_from(&instance.id);
        self
    }

    /// With further lines, the last ones if there are too many.
    pub fn with_details(mut self, details: &[String]) -> Self {
        let start = details.len().saturating_sub(MAX_DETAILS);
        self.details = details[start..].to_vec();
        self.details.iter_mut().for_each(truncate);
        self
    }
}

fn truncate(text: &mut String) {
    if text.len() > MAX_MESSAGE_BYTES {
        let mut end = MAX_MESSAGE_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

/// An event with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Counts from 1 for the life of the data folder.
    pub sequence: u64,
    /// What happened.
    pub event: Event,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Event { sequence: u64, event: Event },
    Acked { sequence: u64 },
    Next { sequence: u64 },
}

/// The ring.
#[derive(Debug)]
pub struct Events {
    state: Mutex<State>,
    added: Notify,
    conditions: Arc<Conditions>,
}

#[derive(Debug)]
struct State {
    path: PathBuf,
    /// Once the events are read.
    pictures: Option<Pictures>,
    file: Option<File>,
    file_bytes: u64,
    pending: VecDeque<Numbered>,
    next: u64,
    acked: u64,
}

impl Events {
    /// Reads what was not acknowledged before the last end. Broken lines are left out.
    pub fn open(paths: &Paths, conditions: Arc<Conditions>) -> Self {
        let mut state = State {
            path: paths.events(),
            pictures: None,
            file: None,
            file_bytes: 0,
            pending: VecDeque::new(),
            next: 1,
            acked: 0,
        };
        state.load();
        state.pictures = Some(Pictures::open(paths.event_pictures(), state.acked));
        let events = Self {
            state: Mutex::new(state),
            added: Notify::new(),
            conditions,
        };
        events.on_disk(State::rewrite);
        events
    }

    /// Appends an event.
    pub fn add(&self, event: Event) {
        self.on_disk(|state| state.add(event));
        self.added.notify_one();
    }

    /// The same with a picture, a JPEG; empty: none.
    pub fn add_with_picture(&self, event: Event, jpeg: &[u8]) {
        self.on_disk(|state| {
            let sequence = state.next;
            let kept = match &mut state.pictures {
                Some(pictures) if !jpeg.is_empty() => pictures.add(sequence, jpeg),
                _ => Ok(()),
            };
            state.add(event).and(kept)
        });
        self.added.notify_one();
    }

    /// The picture of an event; empty: none.
    pub fn picture(&self, sequence: u64) -> Vec<u8> {
        let state = self.lock();
        let pictures = state.pictures.as_ref();
        pictures
            .map(|pictures| pictures.get(sequence))
            .unwrap_or_default()
    }

    /// The number that the next event gets.
    pub fn next_sequence(&self) -> u64 {
        self.lock().next
    }

    /// How many wait for an acknowledgement.
    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// Up to `limit` events after `sequence`, each with the number of lost ones before it.
    pub fn after(&self, sequence: u64, limit: usize) -> Vec<(Numbered, u64)> {
        let state = self.lock();
        let mut previous = sequence.max(state.acked);
        let mut found = Vec::new();
        for event in &state.pending {
            if event.sequence <= previous {
                continue;
            }
            if found.len() == limit {
                break;
            }
            found.push((event.clone(), event.sequence - previous - 1));
            previous = event.sequence;
        }
        found
    }

    /// Drops everything up to `sequence`.
    pub fn acknowledge(&self, sequence: u64) {
        self.on_disk(|state| state.acknowledge(sequence));
    }

    /// Waits for a new event. For one waiter.
    pub async fn added(&self) {
        self.added.notified().await;
    }

    fn on_disk(&self, change: impl FnOnce(&mut State) -> io::Result<()>) {
        match change(&mut self.lock()) {
            Ok(()) => {}
            // It stays in memory and goes up all the same.
            Err(error) => self.conditions.set(
                conditions::DISK,
                format!("events can't be written: {error}; free some space on the data disk"),
            ),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn load(&mut self) {
        let Ok(bytes) = files::read_bounded(&self.path, 2 * MAX_FILE_BYTES) else {
            return;
        };
        for line in bytes.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Line::Event { sequence, event }) if sequence >= self.next => {
                    self.next = sequence + 1;
                    self.push(Numbered { sequence, event });
                }
                Ok(Line::Acked { sequence }) => self.forget(sequence),
                Ok(Line::Next { sequence }) => self.next = self.next.max(sequence),
                Ok(Line::Event { .. }) | Err(_) => {}
            }
        }
    }

    fn push(&mut self, event: Numbered) {
        if self.pending.len() == MAX_EVENTS {
            self.pending.pop_front();
        }
        self.pending.push_back(event);
    }

    fn forget(&mut self, sequence: u64) {
        // A number that was never given out would silence all events up to it.
        let sequence = sequence.min(self.next - 1);
        self.acked = self.acked.max(sequence);
        while self
            .pending
            .front()
            .is_some_and(|event| event.sequence <= sequence)
        {
            self.pending.pop_front();
        }
    }

    fn add(&mut self, event: Event) -> io::Result<()> {
        let sequence = self.next;
        self.next += 1;
        self.push(Numbered {
            sequence,
            event: event.clone(),
        });
        self.append(&Line::Event { sequence, event })
    }

    fn acknowledge(&mut self, sequence: u64) -> io::Result<()> {
        if sequence <= self.acked {
            return Ok(());
        }
        self.forget(sequence);
        if let Some(pictures) = &mut self.pictures {
            pictures.acknowledge(self.acked);
        }
        self.append(&Line::Acked { sequence })
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let length = bytes.len() as u64;
        if self.file.is_none() || self.file_bytes + length > MAX_FILE_BYTES {
            // The rewrite holds the new state already.
            return self.rewrite();
        }
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(&bytes)
        {
            self.file = None;
            return Err(error);
        }
        self.file_bytes += length;
        Ok(())
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        let head = [
            Line::Next {
                sequence: self.pending.front().map_or(self.next, |e| e.sequence),
            },
            Line::Acked {
                sequence: self.acked,
            },
        ];
        let events = self.pending.iter().map(|event| Line::Event {
            sequence: event.sequence,
            event: event.event.clone(),
        });
        for line in head.into_iter().chain(events) {
            serde_json::to_writer(&mut bytes, &line)?;
            bytes.push(b'\n');
        }
        self.file = None;
        files::write_durable(&self.path, 0o600, &[&bytes])?;
        self.file = Some(
            OpenOptions::new()
                .append(true)
                .mode(0o600)
                .open(&self.path)?,
        );
        self.file_bytes = bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir) -> Events {
        let path = dir.path().to_owned();
        Events::open(&Paths::new(path.clone(), path), Arc::default())
    }

    fn event(text: &str) -> Event {
        Event::new(Severity::Info, "Test", text)
    }

    #[test]
    fn unacknowledged_events_survive_a_restart_with_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let events = open(&dir);
        for text in ["a", "b", "c"] {
            events.add(event(text));
        }
        events.acknowledge(1);
        drop(events);
        let events = open(&dir);
        let left = events.after(0, 10);
        let numbers: Vec<_> = left.iter().map(|(e, gap)| (e.sequence, *gap)).collect();
        assert_eq!(numbers, [(2, 0), (3, 0)]);
        assert_eq!(events.next_sequence(), 4);
    }

    #[test]
    fn a_full_ring_drops_the_oldest_and_tells_the_gap() {
        let dir = tempfile::tempdir().unwrap();
        let events = open(&dir);
        for _ in 0..MAX_EVENTS + 5 {
            events.add(event("x"));
        }
        let first = &events.after(0, 1)[0];
        assert_eq!((first.0.sequence, first.1), (6, 5));
    }

    #[test]
    fn numbers_go_on_after_everything_was_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let events = open(&dir);
        events.add(event("a"));
        events.acknowledge(1);
        drop(events);
        let events = open(&dir);
        events.add(event("b"));
        assert_eq!(events.after(0, 1)[0].0.sequence, 2);
        assert_eq!(events.after(0, 1)[0].1, 0);
    }

    #[test]
    fn an_acknowledgement_of_the_future_does_not_silence_later_events() {
        let dir = tempfile::tempdir().unwrap();
        let events = open(&dir);
        events.acknowledge(100);
        events.add(event("a"));
        assert_eq!(events.after(0, 10).len(), 1);
    }

    #[test]
    fn the_file_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let events = open(&dir);
        let long = "x".repeat(2000);
        for number in 1..=3000 {
            events.add(event(&long));
            events.acknowledge(number);
        }
        let size = std::fs::metadata(dir.path().join("events.jsonl"))
            .unwrap()
            .len();
        assert!(size <= MAX_FILE_BYTES, "{size}");
    }
}
