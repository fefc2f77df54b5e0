//! What a node shows of itself beside its frames: counters, facts and times of parts of its loop, by
//! name. All bounded; what is over a limit works and is not shown.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::events::Events;
use edgeflow_stream::histogram::{Histogram, Summary};

/// Counters that a node may have, facts and timers.
const MAX_NAMES: usize = 32;
/// Bytes of a fact.
const MAX_FACT_LEN: usize = 256;

/// Everything that a node shows. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) counters: Names<Counter>,
    pub(crate) facts: Names<Fact>,
    pub(crate) timers: Names<Timer>,
    pub(crate) events: Events,
}

impl Shown {
    pub(crate) fn counted(&self) -> HashMap<String, u64> {
        self.counters.each(Counter::value)
    }

    pub(crate) fn facts(&self) -> HashMap<String, String> {
        let mut facts = self.facts.each(Fact::text);
        facts.retain(|_, text| !text.is_empty());
        facts
    }

    /// Of the time since the last call.
    pub(crate) fn timed(&self) -> HashMap<String, Summary> {
        self.timers.each(Timer::take)
    }
}

/// Things of one kind, made when they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Names<T> {
    all: Arc<Mutex<BTreeMap<String, T>>>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self {
            all: Arc::default(),
        }
    }
}

impl<T: Clone + Default> Names<T> {
    pub(crate) fn get(&self, name: &str) -> T {
        let mut all = lock(&self.all);
        if let Some(known) = all.get(name) {
            return known.clone();
        }
        let new = T::default();
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !name.is_empty() && name.bytes().all(is_word) && all.len() < MAX_NAMES {
            all.insert(name.to_owned(), new.clone());
        } else {
            tracing::warn!(
                name,
                limit = MAX_NAMES,
                "not shown: its name is not a-z, 0-9 and _, or there are too many"
            );
        }
        new
    }

    fn each<V>(&self, value: impl Fn(&T) -> V) -> HashMap<String, V> {
        let all = lock(&self.all);
        let values = all.iter();
        values
            .map(|(name, one)| (name.clone(), value(one)))
            .collect()
    }
}

/// A number that only grows, since the process started: shown next to the node and exported to
/// Prometheus as `edgeflow_node_counter_total`. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// For a number that is counted elsewhere. A smaller one is ignored.
    pub fn raise_to(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A short text that is so while the node runs, such as what it runs on: shown next to the node.
/// Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Fact(Arc<Mutex<String>>);

impl Fact {
    /// Shows this text, 256 bytes of it; nothing when it is empty.
    pub fn set(&self, text: impl Into<String>) {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_FACT_LEN));
        *lock(&self.0) = text;
    }

    /// What it is now.
    pub fn text(&self) -> String {
        lock(&self.0).clone()
    }
}

/// How long a part of the node's loop takes: percentiles of the last second, shown next to the node
/// and exported to Prometheus as `edgeflow_node_part_seconds`. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Timer(Arc<Mutex<Histogram>>);

impl Timer {
    /// It took this long once.
    pub fn record(&self, time: Duration) {
        lock(&self.0).record(time);
    }

    fn take(&self) -> Summary {
        lock(&self.0).take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shared_by_name_and_bounded() {
        let shown = Shown::default();
        let counters = &shown.counters;
        counters.get("lost").add(2);
        counters.get("lost").raise_to(1);
        counters.get("lost").raise_to(7);
        counters.get("no name").add(1);
        for number in 0..100 {
            counters.get(&format!("c{number}")).add(1);
        }
        let values = shown.counted();
        assert_eq!((values.len(), values["lost"]), (MAX_NAMES, 7));
    }

    #[test]
    fn facts_are_cut_and_empty_ones_are_none() {
        let shown = Shown::default();
        shown.facts.get("model").set("ä".repeat(MAX_FACT_LEN));
        shown.facts.get("runtime").set("");
        let facts = shown.facts();
        assert_eq!((facts.len(), facts["model"].len()), (1, MAX_FACT_LEN));
    }

    #[test]
    fn times_are_of_the_last_look() {
        let shown = Shown::default();
        let timer = shown.timers.get("infer");
        timer.record(Duration::from_millis(5));
        let first = shown.timed()["infer"];
        assert!((4_500..5_500).contains(&first.p50_us), "{first:?}");
        assert_eq!(shown.timed()["infer"].max_us, 0);
    }
}
