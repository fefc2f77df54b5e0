//! The rules: what may change, who is told, what a client sees. One file a noun below. Calls the
//! store inside one transaction per mutation and wakes the fleet after its commit; knows no tonic
//! and no HTTP.

mod assignments;
mod devices;
mod enrollment;
mod events;
mod models;
mod params;
mod plan;
mod sessions;
mod status;
mod systems;
mod tokens;
mod watch;
mod world;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::{Mutex, MutexGuard, broadcast};

use crate::{
    artifacts::{ArtifactError, Artifacts},
    changes::Changes,
    clock::now_ms,
    dead_letters::DeadLetters,
    fleet::Fleet,
    pki::{Authority, PkiError},
    store::{EventRow, Store, StoreError, Write},
};

pub use devices::device_message;
pub use enrollment::{Enrolled, EnrollmentRequest};
pub use events::{EventStream, event_message};
pub use models::{Adding, Models};
pub use sessions::SessionStart;
pub use systems::{ApplyRequest, Etag};
pub use tokens::NewToken;
pub use world::{DeviceState, SystemState, World};

/// Events that a slow reader may lag behind before it is told that it missed some.
const EVENT_BACKLOG: usize = 1024;

/// Why a call did not do what it was asked. The text is for the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The thing has changed since the caller looked.
    #[error("{0}")]
    Stale(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// It is there already.
    #[error("{0}")]
    AlreadyExists(String),
    /// The caller is not who it has to be.
    #[error("{0}")]
    Unauthenticated(String),
    /// Not in this state.
    #[error("{0}")]
    Precondition(String),
    /// Too many.
    #[error("{0}")]
    Limit(String),
    /// Ask again later.
    #[error("{0}")]
    Unavailable(String),
    /// The time given has passed.
    #[error("{0}")]
    Timeout(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Files of models.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

/// Everything the calls need. Shared by every API.
#[derive(Debug)]
pub struct Service {
    store: Store,
    artifacts: Artifacts,
    authority: Arc<Authority>,
    fleet: Arc<Fleet>,
    dead_letters: DeadLetters,
    changes: Changes,
    world: RwLock<Arc<World>>,
    // One mutation at a time, from reading the world to publishing the next one.
    turn: Mutex<()>,
    events: broadcast::Sender<Arc<EventRow>>,
}

/// A mutation in progress: the world as it will be, and the transaction that makes it so.
struct Mutation<'a> {
    service: &'a Service,
    _turn: MutexGuard<'a, ()>,
    world: World,
    write: Write,
    events: Vec<EventRow>,
    woken: Vec<String>,
    now_ms: i64,
}

impl Service {
    /// Loads the state from the store.
    pub async fn load(
        store: Store,
        artifacts: PathBuf,
        authority: Arc<Authority>,
        fleet: Arc<Fleet>,
        changes: Changes,
    ) -> Result<Self, ServiceError> {
        let world = World::load(&store).await?;
        let artifacts = Artifacts::open(artifacts, &world.models.digests());
        let service = Self {
            store,
            artifacts: artifacts.map_err(ArtifactError::Disk)?,
            authority,
            fleet,
            dead_letters: DeadLetters::default(),
            changes,
            world: RwLock::new(Arc::new(world)),
            turn: Mutex::new(()),
            events: broadcast::Sender::new(EVENT_BACKLOG),
        };
        service.render_all().await?;
        Ok(service)
    }

    /// The state as of the last commit.
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The agent sessions.
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Questions about dead letters that wait for an answer.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }

    /// Announces changes of what clients see.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The certificate authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The database, for logins and health.
    pub fn store(&self) -> &Store {
        &self.store
    }

    async fn mutate(&self) -> Result<Mutation<'_>, ServiceError> {
        let turn = self.turn.lock().await;
        Ok(Mutation {
            service: self,
            _turn: turn,
            world: World::clone(&self.world()),
            write: self.store.write().await?,
            events: Vec::new(),
            woken: Vec::new(),
            now_ms: now_ms(),
        })
    }

    // A control plane of another version may render the same systems differently.
    async fn render_all(&self) -> Result<(), ServiceError> {
        let mut mutation = self.mutate().await?;
        let all: Vec<String> = mutation.world.devices.keys().cloned().collect();
        mutation.render(&all).await?;
        mutation.commit().await
    }
}

impl Mutation<'_> {
    /// Adds an event to the change.
    async fn event(&mut self, mut event: EventRow) -> Result<(), ServiceError> {
        if event.at_ms == 0 {
            event.at_ms = self.now_ms;
        }
        self.write.add_event(&mut event).await?;
        self.events.push(event);
        Ok(())
    }

    /// Makes the change durable, shows it, and wakes who is concerned.
    async fn commit(self) -> Result<(), ServiceError> {
        self.write.commit().await?;
        let world = Arc::new(self.world);
        *self
            .service
            .world
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::clone(&world);
        for id in &self.woken {
            if let Some(device) = world.devices.get(id) {
                self.service
                    .fleet
                    .set_desired(id, device.assignment_message());
            }
        }
        for event in self.events {
            // Nobody may be listening.
            let _ = self.service.events.send(Arc::new(event));
        }
        self.service.changes.announce();
        Ok(())
    }
}
