//! Links between devices. Nodes speak the link protocol over Unix sockets only and hold no keys;
//! this folder carries their bytes to the agent of another device and back, over one mTLS port a
//! device. Which links there are is for the assignment to say; what goes over them is not looked at.

mod accept;
mod addresses;
mod port;
mod relay;
pub mod table;
pub mod tls;
pub mod wire;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use crate::{
    conditions::{Conditions, LINK_PORT, LINKS},
    files,
    ledger::Ledger,
    paths::Paths,
    reconcile::Applied,
    session::Identity,
};

pub use addresses::{Configured, addresses};
pub use table::{Output, Table};

/// The port where other devices connect, unless configured.
pub const DEFAULT_PORT: u16 = 7444;
/// A port that could not be bound is tried again this often.
const RETRY: Duration = Duration::from_secs(5);

/// What the links of a device work with.
#[derive(Debug)]
pub struct Links {
    shared: Arc<Shared>,
    listen: Option<SocketAddr>,
    port: u16,
}

#[derive(Debug)]
struct Shared {
    paths: Paths,
    identity: watch::Receiver<Identity>,
    conditions: Arc<Conditions>,
    table: table::Current,
    /// The address that led to each device last.
    good: Locked<BTreeMap<String, String>>,
    troubles: relay::Troubles,
    carried: port::Carried,
}

impl Shared {
    /// Shows what stands between this device and others.
    fn tell(&self) {
        match self.troubles.words() {
            Some(text) => self.conditions.set(LINKS, text),
            None => self.conditions.clear(LINKS),
        }
    }
}

/// Keeps `table` as the assignment on disk says.
pub async fn follow(
    ledger: Arc<Ledger>,
    mut applied: watch::Receiver<Applied>,
    table: watch::Sender<Arc<Table>>,
) {
    loop {
        let current = ledger.current();
        let now = current.map(|held| Table::new(&held.assignment));
        let now = now.unwrap_or_default();
        table.send_if_modified(|held| {
            let changed = **held != now;
            if changed {
                *held = Arc::new(now);
            }
            changed
        });
        if applied.changed().await.is_err() {
            return;
        }
    }
}

/// A mutex that a panic elsewhere does not close.
#[derive(Debug, Default)]
struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links {
    /// Nothing is bound yet. `listen` overrides where the port is bound; `table` says which links
    /// there are.
    pub fn new(
        paths: Paths,
        identity: watch::Receiver<Identity>,
        conditions: Arc<Conditions>,
        listen: Option<SocketAddr>,
        table: table::Current,
    ) -> Self {
        let shared = Shared {
            paths,
            identity,
            conditions,
            table,
            good: Locked::default(),
            troubles: relay::Troubles::default(),
            carried: port::Carried::default(),
        };
        Self {
            shared: Arc::new(shared),
            port: listen.map_or(DEFAULT_PORT, |address| address.port()),
            listen,
        }
    }

    /// Keeps sockets and port as the table says, until it is dropped. The port is open only while
    /// another device reads something here.
    pub async fn run(self) {
        let mut table = self.shared.table.clone();
        let mut relays: BTreeMap<Output, AbortHandle> = BTreeMap::new();
        let mut open: Option<AbortHandle> = None;
        let mut tasks = JoinSet::new();
        loop {
            let now = Arc::clone(&table.borrow_and_update());
            relays.retain(|output, task| {
                let keep = now.wanted.contains_key(output) && !task.is_finished();
                if !keep {
                    task.abort();
                    self.remove_socket(output);
                }
                keep
            });
            for output in now.wanted.keys() {
                if relays.contains_key(output) {
                    continue;
                }
                match self
                    .shared
                    .paths
                    .relay_socket(&output.instance, &output.port)
                {
                    Ok(path) => {
                        let relay = relay::run(Arc::clone(&self.shared), output.clone(), path);
                        relays.insert(output.clone(), tasks.spawn(relay));
                    }
                    Err(error) => {
                        tracing::error!(%error, "a link from another device has no socket");
                    }
                }
            }
            self.shared.troubles.keep(&now.wanted);
            self.shared.tell();
            self.shared.carried.keep(&now);
            let wants_port = !now.granted.is_empty();
            if !wants_port && let Some(task) = open.take() {
                task.abort();
                self.shared.conditions.clear(LINK_PORT);
            }
            if wants_port && open.as_ref().is_none_or(AbortHandle::is_finished) {
                open = self.open(&mut tasks).await;
            }
            let retry = wants_port && open.is_none();
            tokio::select! {
                changed = table.changed() => if changed.is_err() { return },
                Some(_) = tasks.join_next() => {}
                () = tokio::time::sleep(RETRY), if retry => {}
            }
        }
    }

    /// Nobody listens there any more; a later relay makes its own.
    fn remove_socket(&self, output: &Output) {
        let path = self
            .shared
            .paths
            .relay_socket(&output.instance, &output.port);
        if let Ok(path) = path
            && let Err(error) = files::remove_if_there(&path)
        {
            tracing::debug!(path = %path.display(), %error, "a socket is left behind");
        }
    }

    async fn open(&self, tasks: &mut JoinSet<()>) -> Option<AbortHandle> {
        match port::bind(self.listen, self.port).await {
            Ok(listener) => {
                self.shared.conditions.clear(LINK_PORT);
                if let Ok(address) = listener.local_addr() {
                    tracing::info!(%address, "open for links from other devices");
                }
                Some(tasks.spawn(port::run(Arc::clone(&self.shared), listener)))
            }
            Err(error) => {
                let port = self.port;
                let text = format!(
                    "port {port} for links from other devices can't be opened ({error}); free it, or start the agent with another --link-listen"
                );
                self.shared.conditions.set(LINK_PORT, text);
                None
            }
        }
    }
}
