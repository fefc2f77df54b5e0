//! Brings the running instances to the assignment on disk. Takes no input but the two states; wakes
//! on a signal and on a timer; doing it twice changes nothing.

mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{ledger::Ledger, supervisor::Supervisor};

pub use plan::{Action, Desired, Observed, plan};

/// Looks again this often, in case a wake-up was lost.
pub const PERIOD: Duration = Duration::from_secs(5);

/// The assignment that the running instances were last compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Generation; 0 before the first.
    pub generation: u64,
    /// Hash; empty before the first.
    pub hash: String,
}

/// Runs until the token is cancelled and gives the supervisor back. `applied` tells the status
/// report what was carried out.
pub async fn run(
    ledger: Arc<Ledger>,
    mut supervisor: Supervisor,
    wake: Arc<Notify>,
    applied: watch::Sender<Applied>,
    token: CancellationToken,
) -> Supervisor {
    loop {
        pass(&ledger, &mut supervisor, &applied);
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(PERIOD) => {}
            () = token.cancelled() => return supervisor,
        }
    }
}

fn pass(ledger: &Ledger, supervisor: &mut Supervisor, applied: &watch::Sender<Applied>) {
    let Some(stored) = ledger.current() else {
        return;
    };
    let observed = supervisor.observed();
    let none = BTreeSet::new();
    let desired: BTreeMap<&str, Desired> = stored
        .assignment
        .instances
        .iter()
        .map(|instance| {
            // What is live is for the running node to say.
            let live = observed.get(&instance.id).map_or(&none, |now| &now.live);
            let desired = Desired {
                hash: instance.restart_hash_with(live),
                params: instance.params_hash(),
                revision: instance.revision,
            };
            (instance.id.as_str(), desired)
        })
        .collect();
    let wanted = |id: &str| {
        let instances = &stored.assignment.instances;
        instances.iter().find(|instance| instance.id == id).cloned()
    };
    for action in plan(&desired, &observed) {
        match action {
            Action::Stop(id) => supervisor.stop(&id),
            Action::Update(id) => {
                if let Some(instance) = wanted(&id) {
                    supervisor.update(instance);
                }
            }
            Action::Start(id) => {
                if let Some(instance) = wanted(&id) {
                    supervisor.start(instance);
                }
            }
        }
    }
    let now = Applied {
        generation: stored.generation,
        hash: stored.hash.clone(),
    };
    applied.send_if_modified(|applied| {
        let changed = *applied != now;
        if changed {
            tracing::info!(
                generation = now.generation,
                instances = desired.len(),
                "assignment applied"
            );
            *applied = now;
        }
        changed
    });
}
