//! The models that nodes of this device need: which, whether they are here, how far the others are.
//! The session fetches what is missing; instances wait for their files. Knows no network.

mod cache;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use edgeflow_spec::{assignment::Model, instance_config::ModelFile, quantity::rounded_bytes};
use tokio::{sync::watch, task::spawn_blocking, time::Instant};

use crate::{
    conditions::{self, Conditions},
    events::{Event, Events, Severity},
    ledger::Ledger,
    reconcile::Applied,
};

pub use cache::{Arrived, Cache, CacheError, Incoming};

/// A model that could not be fetched is tried again after this.
const RETRY: Duration = Duration::from_secs(10);
/// The same when something of it came.
const RETRY_SOON: Duration = Duration::from_secs(1);
/// Progress is shown this often.
const PROGRESS_PERIOD: Duration = Duration::from_millis(500);

/// Models by name.
type Entries = BTreeMap<String, Entry>;

/// What the nodes need.
#[derive(Debug)]
pub struct Models {
    cache: Arc<Cache>,
    entries: watch::Sender<Entries>,
    conditions: Arc<Conditions>,
    events: Arc<Events>,
}

#[derive(Clone, Debug)]
struct Entry {
    model: Model,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// It is looked for on the disk.
    Checking,
    /// It is not here.
    Missing(Missing),
    /// It is here and is what it has to be.
    Here(PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Missing {
    /// Bytes that are here.
    done: u64,
    /// When that was last told.
    told: Option<Instant>,
    /// When it is tried again; `None`: it was not tried yet.
    next: Option<Instant>,
    /// Why in vain.
    trouble: String,
}

impl Entry {
    /// What a node that needs it waits for; `None`: nothing.
    fn waits(&self, name: &str) -> Option<String> {
        let missing = match &self.state {
            State::Here(_) => return None,
            State::Checking => return Some(format!("looking for model {name} on the disk")),
            State::Missing(missing) => missing,
        };
        if !missing.trouble.is_empty() {
            return Some(format!(
                "model {name} is not here: {}; it is tried again all the time",
                missing.trouble
            ));
        }
        let total = rounded_bytes(self.model.bytes);
        let done = rounded_bytes(missing.done);
        Some(format!("fetching model {name}: {done} of {total}"))
    }

    fn missing(&mut self) -> Option<&mut Missing> {
        match &mut self.state {
            State::Missing(missing) => Some(missing),
            State::Checking | State::Here(_) => None,
        }
    }
}

impl Models {
    /// Nothing is needed yet.
    pub fn new(cache: Cache, conditions: Arc<Conditions>, events: Arc<Events>) -> Self {
        Self {
            cache: Arc::new(cache),
            entries: watch::Sender::default(),
            conditions,
            events,
        }
    }

    /// Needs what the assignment on disk says, from now on.
    pub async fn follow(
        self: Arc<Self>,
        ledger: Arc<Ledger>,
        mut applied: watch::Receiver<Applied>,
    ) {
        loop {
            let held = ledger.current();
            let wanted = held.map(|held| held.assignment.models.clone());
            self.want(wanted.unwrap_or_default()).await;
            if applied.changed().await.is_err() {
                return;
            }
        }
    }

    async fn want(&self, wanted: BTreeMap<String, Model>) {
        let mut new = Vec::new();
        self.entries.send_modify(|entries| {
            entries.retain(|name, entry| wanted.get(name) == Some(&entry.model));
            for (name, model) in wanted {
                entries.entry(name).or_insert_with_key(|name| {
                    new.push((name.clone(), model.clone()));
                    let state = State::Checking;
                    Entry { model, state }
                });
            }
        });
        for (name, model) in new {
            let cache = Arc::clone(&self.cache);
            let found = spawn_blocking(move || cache.check(&model)).await;
            let state = match found.ok().flatten() {
                Some(path) => State::Here(path),
                None => State::Missing(Missing::default()),
            };
            self.change(&name, |entry| entry.state = state);
        }
        let (cache, wanted) = (Arc::clone(&self.cache), self.digests());
        // A panic there has removed nothing that is needed.
        let _ = spawn_blocking(move || cache.trim(&wanted)).await;
        self.tell_troubles();
    }

    /// Files for an instance, or what it has to wait for.
    pub fn files(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, ModelFile>, String> {
        let entries = self.entries.borrow();
        let mut files = BTreeMap::new();
        for name in names {
            match entries.get(name) {
                Some(entry) => match (&entry.state, entry.waits(name)) {
                    (State::Here(path), _) => {
                        let file = ModelFile {
                            path: path.clone(),
                            sha256: entry.model.sha256.clone(),
                            description: entry.model.description.clone(),
                        };
                        files.insert(name.clone(), file);
                    }
                    (_, waits) => return Err(waits.unwrap_or_default()),
                },
                None => return Err(format!("waiting for model {name}")),
            }
        }
        Ok(files)
    }

    /// Wakes when something has changed.
    pub fn watch(&self) -> watch::Receiver<impl Sized + use<>> {
        self.entries.subscribe()
    }

    /// The next one to fetch: never tried ones first, then the one whose time comes next.
    pub async fn next_missing(&self) -> (String, Model) {
        let mut changed = self.entries.subscribe();
        loop {
            let next = next_of(&changed.borrow_and_update());
            let wait = match next {
                Some((name, model, None)) => return (name, model),
                Some((name, model, Some(next))) if next <= Instant::now() => {
                    return (name, model);
                }
                Some((_, _, next)) => next,
                None => None,
            };
            let wait = async {
                match wait {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender is ours.
                _ = changed.changed() => {}
                () = wait => {}
            }
        }
    }

    /// Begins or goes on to receive a model. Room is made for it.
    pub async fn receive(&self, model: &Model) -> Result<Box<Incoming>, CacheError> {
        let (cache, model, wanted) = (Arc::clone(&self.cache), model.clone(), self.digests());
        blocking(move || cache.receive(&model, &wanted)).await
    }

    /// Notes how far a model is; false: nobody needs it any more.
    pub fn progress(&self, name: &str, model: &Model, done: u64) -> bool {
        let wanted = |entries: &Entries| entries.get(name).is_some_and(|it| it.model == *model);
        if !wanted(&self.entries.borrow()) {
            return false;
        }
        self.entries.send_if_modified(|entries| {
            let missing = entries.get_mut(name).and_then(Entry::missing);
            let Some(missing) = missing else {
                return false;
            };
            let soon = |told: Instant| told.elapsed() < PROGRESS_PERIOD;
            if missing.told.is_some_and(soon) {
                return false;
            }
            missing.done = done;
            missing.told = Some(Instant::now());
            missing.trouble.clear();
            true
        });
        true
    }

    /// A model has arrived.
    pub fn arrived(&self, name: &str, model: &Model, path: PathBuf) {
        let size = rounded_bytes(model.bytes);
        tracing::info!(model = name, sha256 = model.sha256, size, "model fetched");
        let text = format!("model {name} ({size}) is here");
        self.events
            .add(Event::new(Severity::Info, "ModelFetched", text));
        self.change(name, |entry| entry.state = State::Here(path));
        self.tell_troubles();
    }

    /// A model could not be fetched, or not all of it.
    pub fn failed(&self, name: &str, trouble: &str, some_came: bool) {
        let mut told = true;
        self.change(name, |entry| {
            if let Some(missing) = entry.missing() {
                told = missing.trouble == trouble;
                let wait = if some_came { RETRY_SOON } else { RETRY };
                missing.next = Some(Instant::now() + wait);
                trouble.clone_into(&mut missing.trouble);
            }
        });
        if !told {
            tracing::warn!(model = name, trouble, "a model can't be fetched");
            let text = format!("model {name}: {trouble}");
            self.events
                .add(Event::new(Severity::Warning, "ModelFetchFailed", text));
        }
        self.tell_troubles();
    }

    fn tell_troubles(&self) {
        let entries = self.entries.borrow();
        let troubles = entries
            .iter()
            .filter_map(|(name, entry)| match &entry.state {
                State::Missing(missing) if !missing.trouble.is_empty() => {
                    Some(format!("{name}: {}", missing.trouble))
                }
                _ => None,
            });
        let troubles: Vec<String> = troubles.collect();
        drop(entries);
        if troubles.is_empty() {
            self.conditions.clear(conditions::MODELS);
        } else {
            self.conditions.set(conditions::MODELS, troubles.join("; "));
        }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        self.entries.send_if_modified(|entries| {
            let entry = entries.get_mut(name);
            entry.map(change).is_some()
        });
    }

    fn digests(&self) -> BTreeSet<String> {
        let entries = self.entries.borrow();
        let digests = entries.values().map(|entry| entry.model.sha256.clone());
        digests.collect()
    }
}

/// Runs something that waits for the disk.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(CacheError::Disk(std::io::Error::other(error))),
    }
}

fn next_of(entries: &Entries) -> Option<(String, Model, Option<Instant>)> {
    let missing = entries
        .iter()
        .filter_map(|(name, entry)| match &entry.state {
            State::Missing(missing) => Some((name, entry, missing.next)),
            State::Checking | State::Here(_) => None,
        });
    let (name, entry, next) = missing.min_by_key(|(_, _, next)| *next)?;
    Some((name.clone(), entry.model.clone(), next))
}
