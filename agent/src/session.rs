//! The conversation with the control plane, and with the nodes on their sockets. Every tonic and
//! generated type ends in this folder. The session writes assignments to the ledger and wakes the
//! reconciler; it never starts or stops anything itself.

mod backoff;
mod commands;
mod connection;
mod convert;
mod dead_letters;
mod dial;
mod enrol;
mod fetch;
mod identity;
pub mod node;
mod push_logs;
mod push_view;
mod renew;
mod trust;

use std::{sync::Arc, time::Instant};

use tokio::sync::{Notify, watch};

use crate::{
    conditions::Conditions,
    events::Events,
    inventory::{Camera, Load},
    ledger::Ledger,
    links,
    logs::Logs,
    metrics::SessionMetrics,
    models::Models,
    paths::Paths,
    reconcile::Applied,
    spans::Spans,
    supervisor::Board,
};

pub use enrol::{EnrolError, enrol_if_needed};
pub use identity::{Identity, IdentityError};

/// What the session reads and writes.
#[derive(Debug)]
pub struct Context {
    /// Folders.
    pub paths: Paths,
    /// Host and port of the control plane.
    pub server: String,
    /// Key and certificate; replaced when renewed.
    pub identity: watch::Sender<Identity>,
    /// Device name as the control plane spells it.
    pub device: watch::Sender<String>,
    /// The assignment on disk.
    pub ledger: Arc<Ledger>,
    /// What the reconciler has carried out.
    pub applied: watch::Receiver<Applied>,
    /// Wakes the reconciler.
    pub wake: Arc<Notify>,
    /// The instances.
    pub board: Arc<Board>,
    /// The models that they need.
    pub models: Arc<Models>,
    /// Events to report.
    pub events: Arc<Events>,
    /// Captured output.
    pub logs: Logs,
    /// Spans of sampled frames.
    pub spans: Arc<Spans>,
    /// Conditions to report.
    pub conditions: Arc<Conditions>,
    /// What the command line says about links from other devices.
    pub links: links::Configured,
    /// The cameras of this machine.
    pub cameras: watch::Receiver<Vec<Camera>>,
    /// Load samples.
    pub load: watch::Receiver<Load>,
    /// Metrics.
    pub metrics: SessionMetrics,
}

/// Keeps a session with the control plane until it is dropped.
pub async fn run(context: Arc<Context>) {
    let mut backoff = backoff::Backoff::default();
    let mut told = false;
    loop {
        let begin = Instant::now();
        let ended = connection::run(&context).await;
        context.metrics.connected.set(0);
        context.spans.want(false);
        if ended.established {
            told = false;
            backoff.lasted(begin.elapsed());
        }
        let pause = backoff.next();
        if told {
            tracing::debug!(reason = ended.reason, ?pause, "still no session");
        } else {
            // Once an outage: a device that is offline for days must not fill its log.
            told = true;
            tell(&context, &ended);
        }
        tokio::time::sleep(pause).await;
    }
}

fn tell(context: &Context, ended: &connection::Ended) {
    let (server, reason) = (&context.server, &ended.reason);
    if ended.refused {
        tracing::error!(
            server,
            reason,
            "the control plane does not accept this device; to enrol it again stop the agent, remove {} and start it with a new token from `edgeflow token create`",
            context.paths.identity().display()
        );
    } else {
        tracing::info!(
            server,
            reason,
            "no session with the control plane, retrying; nodes run on"
        );
    }
}
