//! The agent as a whole: opens what is on disk, ends what an earlier agent left, boots the last
//! assignment, then dials. Holds no rules of its own.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use edgeflow_runtime::{shutdown, tasks::Tasks};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{self, OwnBroker},
    conditions::Conditions,
    config::{Config, DEFAULT_SERVER},
    events::{Event, Events, Severity},
    files::DirLock,
    http,
    inventory::{self, Load},
    ledger::Ledger,
    links::{self, Links, Table},
    logs::Logs,
    metrics::{AgentMetrics, SessionMetrics},
    models::{Cache, Models},
    paths::Paths,
    reconcile::{self, Applied},
    session,
    spans::Spans,
    supervisor::{Board, Shared, Supervisor, take_over},
};

/// Time that nodes get with `--stop-nodes-on-exit`.
const EXIT_GRACE: Duration = Duration::from_secs(3);
const TASKS_DEADLINE: Duration = Duration::from_secs(1);

/// Runs the agent until it is told to stop.
pub async fn run(config: Config, token: CancellationToken) -> anyhow::Result<()> {
    config.paths.prepare()?;
    let _lock = DirLock::take(config.paths.data())?;
    let listener = http::bind(config.http).await?;
    let watch = shutdown::Watch {
        stdin: config.exit_with_stdin,
    };
    let stop = token.clone();
    let mut signals = tokio::spawn(async move { shutdown::wait(watch, &stop).await });
    let identity = tokio::select! {
        identity = session::enrol_if_needed(&config) => identity?,
        signal = &mut signals => return Ok(signal.context("watching signals")?.map(drop)?),
    };
    let parts = open(&config, identity)?;
    take_over(&config.paths).await;
    let tasks = Tasks::new(token);
    let stop_all = start(&config, parts, listener, &tasks);
    let reason = signals.await.context("watching signals")??;
    tracing::info!(?reason, "stopping");
    let nodes = tokio::spawn(stop_all);
    if !tasks.shut_down(TASKS_DEADLINE).await {
        tracing::warn!("some tasks did not end in time");
    }
    nodes.await.context("stopping nodes")?;
    Ok(())
}

struct Parts {
    context: Arc<session::Context>,
    shared: Arc<Shared>,
    metrics: AgentMetrics,
    applied: watch::Sender<Applied>,
    cameras: watch::Sender<Vec<inventory::Camera>>,
    load: watch::Sender<Load>,
    broker_state: watch::Sender<broker::State>,
}

fn open(config: &Config, identity: session::Identity) -> anyhow::Result<Parts> {
    let paths = config.paths.clone();
    let conditions = Arc::new(Conditions::default());
    let events = Arc::new(Events::open(&paths, Arc::clone(&conditions)));
    let ledger = open_ledger(&paths, &events);
    let logs = Logs::start(paths.logs(), Arc::clone(&conditions)).context("starting logs")?;
    let board = Arc::new(Board::default());
    let wake = Arc::new(Notify::new());
    let (applied, applied_watch) = watch::channel(Applied::default());
    let (load, load_watch) = watch::channel(Load::default());
    // Before the first session: a device that seems to have none may lose its systems.
    let (cameras, cameras_watch) = watch::channel(inventory::cameras());
    let device = watch::Sender::new(identity.name().to_owned());
    let spans = Arc::new(Spans::default());
    let models = Arc::new(Models::new(
        Cache::new(paths.models(), config.model_cache),
        Arc::clone(&conditions),
        Arc::clone(&events),
    ));
    let (own_broker, broker_state) = OwnBroker::new(paths.broker_socket());
    let shared = Arc::new(Shared {
        paths: paths.clone(),
        device: device.subscribe(),
        assets: config.assets.clone(),
        nodes_bin: config.nodes_bin.clone(),
        board: Arc::clone(&board),
        broker: own_broker,
        models: Arc::clone(&models),
        logs: logs.clone(),
        spans: Arc::clone(&spans),
        events: Arc::clone(&events),
        conditions: Arc::clone(&conditions),
        wake: Arc::clone(&wake),
    });
    let session_metrics = SessionMetrics::default();
    let metrics = AgentMetrics::new(
        &session_metrics,
        Arc::clone(&board),
        Arc::clone(&ledger),
        Arc::clone(&events),
        logs.clone(),
    );
    let context = Arc::new(session::Context {
        paths,
        server: server(config, &identity),
        identity: watch::Sender::new(identity),
        device,
        ledger,
        applied: applied_watch,
        wake,
        board,
        models,
        events,
        logs,
        spans,
        conditions,
        cameras: cameras_watch,
        load: load_watch,
        links: config.links.clone(),
        metrics: session_metrics,
    });
    Ok(Parts {
        context,
        shared,
        metrics,
        applied,
        cameras,
        load,
        broker_state,
    })
}

fn open_ledger(paths: &Paths, events: &Events) -> Arc<Ledger> {
    let (ledger, damaged) = Ledger::open(paths.ledger());
    if let Some(error) = damaged {
        let message = edgeflow_runtime::logging::chain(&error);
        tracing::warn!(
            message,
            "the assignment on disk is lost, asking for it again"
        );
        events.add(Event::new(Severity::Warning, "LedgerDamaged", message));
    }
    Arc::new(ledger)
}

fn start_links(config: &Config, context: &Arc<session::Context>, tasks: &Tasks) {
    let (table, current) = watch::channel(Arc::new(Table::default()));
    let links = Links::new(
        config.paths.clone(),
        context.identity.subscribe(),
        Arc::clone(&context.conditions),
        config.links.listen,
        current,
    );
    tasks.spawn("links", links.run());
    let follow = links::follow(Arc::clone(&context.ledger), context.applied.clone(), table);
    tasks.spawn("link-table", follow);
}

/// Where the control plane is: as configured, else where the device enrolled.
fn server(config: &Config, identity: &session::Identity) -> String {
    let enrolled = Some(identity.server()).filter(|server| !server.is_empty());
    let configured = config.server.as_deref();
    configured.or(enrolled).unwrap_or(DEFAULT_SERVER).to_owned()
}

/// Starts everything; the returned future stops the nodes if they are to be stopped.
fn start(
    config: &Config,
    parts: Parts,
    listener: tokio::net::TcpListener,
    tasks: &Tasks,
) -> impl Future<Output = ()> + Send + 'static {
    let Parts {
        context,
        shared,
        metrics,
        applied,
        cameras,
        load,
        broker_state,
    } = parts;
    let pages = http::Pages {
        metrics,
        ledger: Arc::clone(&context.ledger),
        applied: context.applied.clone(),
    };
    tasks.spawn("http", http::serve(listener, Arc::new(pages)));
    let board = Arc::clone(&context.board);
    let data = config.paths.data().to_owned();
    tasks.spawn("load", inventory::sample(data, board, load));
    let events = Arc::clone(&context.events);
    tasks.spawn("cameras", inventory::follow_cameras(cameras, events));
    start_links(config, &context, tasks);
    let models = Arc::clone(&context.models);
    let follow = models.follow(Arc::clone(&context.ledger), context.applied.clone());
    tasks.spawn("models", follow);
    tracing::info!(
        device = *context.device.borrow(),
        server = context.server,
        generation = context.ledger.current().map_or(0, |held| held.generation),
        "agent started"
    );
    let stop_nodes = config.stop_nodes_on_exit;
    let token = tasks.token().clone();
    let broker = broker::Context {
        ledger: Arc::clone(&context.ledger),
        applied: context.applied.clone(),
        shared: Arc::clone(&shared),
    };
    let broker = tokio::spawn(broker::run(broker, broker_state, token.clone()));
    let supervisor = Supervisor::new(shared);
    let ledger = Arc::clone(&context.ledger);
    let wake = Arc::clone(&context.wake);
    // The reconciler boots the last assignment in its first pass, before the session dials.
    let reconciler = tokio::spawn(reconcile::run(ledger, supervisor, wake, applied, token));
    tasks.spawn("session", async move {
        tokio::task::yield_now().await;
        session::run(context).await;
    });
    async move {
        match reconciler.await {
            Ok(supervisor) if stop_nodes => {
                supervisor.stop_all(EXIT_GRACE).await;
                if let Ok(server) = broker.await {
                    server.stop().await;
                }
            }
            Ok(_) => tracing::info!("nodes run on; the next agent takes them over"),
            Err(error) => tracing::error!(%error, "the reconciler failed"),
        }
    }
}
