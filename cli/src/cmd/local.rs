//! `edgeflow local`: a control plane, an agent and systems on this machine, for as long as the
//! command runs. Starts the same programs as a fleet does; owns their processes and nothing else.

mod daemon;
mod home;
mod leftovers;
pub(crate) mod programs;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use edgeflow_proto::v1;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{apply, get, manifests, wait::Board};
use crate::{
    client::{Client, Target, from_data_dir},
    failure::{Exit, Failure, Outcome},
    output::{self, colour, time::elapsed},
    view::system::SystemView,
};
use daemon::{Daemon, Daemons};
use home::Home;

/// Port of the dashboard when it is free; the next choice is any free one.
const USUAL_HTTP_PORT: u16 = 7080;
/// Longest start of the control plane.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(10);
/// The status is looked at this often.
const REFRESH: Duration = Duration::from_millis(1000);
/// A process that has just closed its sockets is gone after this.
const DEATH_NOTICE: Duration = Duration::from_millis(300);
/// This machine joins by itself: until then nobody has to be told that there is no device.
const JOIN_PATIENCE: Duration = Duration::from_secs(5);
/// The join token is used at once.
const TOKEN_TTL_SECONDS: u32 = 300;

const EXAMPLES: &str = "\
Examples:
  edgeflow local system.yaml                      until Ctrl-C
  edgeflow local system.yaml --assets models/     with a folder of models and clips
  edgeflow local --ephemeral system.yaml          keeps nothing
  edgeflow local                                  goes on with what ran last time

In another terminal `edgeflow get systems`, `edgeflow logs NAME -f` and so on work as usual; with
--data-dir, set EDGEFLOW_LOCAL_DIR to that folder first.";

/// Run everything on this machine: control plane, agent and systems, until Ctrl-C
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Local {
    /// Manifests: files, folders, or - for standard input
    #[arg(value_name = "FILE|DIR|-")]
    files: Vec<String>,
    /// Where state and logs are kept between runs [default: ~/.local/share/edgeflow/local]
    #[arg(long, value_name = "DIR", env = "EDGEFLOW_LOCAL_DIR")]
    data_dir: Option<PathBuf>,
    /// Use a temporary folder and remove it at the end
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Port of the dashboard [default: 7080, or any free port if that is taken]
    #[arg(long, value_name = "PORT")]
    http: Option<u16>,
    /// Folder with models and clips; can be given again
    #[arg(long, value_name = "DIR")]
    assets: Vec<PathBuf>,
    /// Name of this machine as a device [default: host name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Local {
    pub(crate) async fn run(self) -> Outcome {
        let manifests = if self.files.is_empty() {
            Vec::new()
        } else {
            manifests::load(&self.files)?
        };
        if let Some(dir) = self.assets.iter().find(|dir| !dir.is_dir()) {
            return Err(
                Failure::usage(format!("there is no folder {}", dir.display()))
                    .next("name an existing folder with --assets"),
            );
        }
        let mut stop = Stop::new()?;
        let home = Home::open(self.data_dir.as_deref(), self.ephemeral).await?;
        let mut daemons = Daemons::default();
        let mut running = false;
        let outcome = tokio::select! {
            outcome = self.up(&home, &manifests, &mut daemons, &mut running) => outcome,
            () = stop.asked() => Ok(()),
        };
        if daemons.is_empty() {
            home.close();
        } else {
            output::note("stopping …");
            let stopping = Instant::now();
            daemons.stop(&home, stop.asked()).await;
            home.close();
            output::note(format!("stopped in {}", elapsed(stopping.elapsed())));
        }
        match outcome {
            Ok(()) if !running => Err(Failure::new(Exit::Interrupted, "interrupted")),
            outcome => outcome,
        }
    }

    async fn up(
        &self,
        home: &Home,
        manifests: &[manifests::Manifest],
        daemons: &mut Daemons,
        running: &mut bool,
    ) -> Outcome {
        let started = Instant::now();
        let target = self.start_control_plane(home, daemons).await?;
        let client = Client::connect_to(target).await?;
        if !home.is_enrolled() {
            home.keep_join_token(create_token(&client).await?);
        }
        daemons.agent = Some(self.start_agent(home, &client).await?);
        let mut applied = Vec::new();
        for manifest in manifests {
            let change = apply::send(&client, manifest, None, false).await?;
            // The devices of the plan say nothing yet: the agent is about to connect.
            let paint = colour::stdout();
            output::line(format!(
                "{} {}, revision {}",
                paint.bold(&change.system),
                change.outcome,
                change.revision
            ));
            applied.push(change.system);
        }
        dashboard(&client);
        *running = true;
        watch(&client, home, daemons, &applied, started).await
    }

    async fn start_control_plane(&self, home: &Home, daemons: &mut Daemons) -> Outcome<Target> {
        let program = programs::find("edgeflow-control-plane")?;
        let port = self.http_port()?;
        let data = home.control_plane();
        let arguments = [
            "--data-dir".into(),
            data.clone().into_os_string(),
            "--listen".into(),
            "127.0.0.1:0".into(),
            "--http".into(),
            format!("127.0.0.1:{port}").into(),
            "--exit-with-stdin".into(),
        ];
        let addresses = data.join("addresses.json");
        // Of a run that was killed; ours is the only control plane on this folder.
        let _ = std::fs::remove_file(&addresses);
        let daemon = Daemon::start(home, "control plane", &program, &arguments, &[])?;
        let daemon = daemons.control_plane.insert(daemon);
        let waited = Instant::now();
        while !addresses.exists() {
            if let Some(failure) = daemon.died() {
                return Err(failure);
            }
            if waited.elapsed() > START_TIMEOUT {
                return Err(daemon.failure(format!(
                    "the control plane did not start within {}",
                    elapsed(START_TIMEOUT)
                )));
            }
            tokio::time::sleep(START_POLL).await;
        }
        from_data_dir(&data)
    }

    async fn start_agent(&self, home: &Home, client: &Client) -> Outcome<Daemon> {
        let program = programs::find("edgeflow-agent")?;
        let mut api = client.api();
        let info = client
            .call(
                "ask for the agents' address",
                api.get_server_info(v1::GetServerInfoRequest {}),
            )
            .await?;
        // The address may be another name of this machine; the port is what counts here.
        let port = info.agent_address.rsplit(':').next().unwrap_or_default();
        let mut arguments = vec![
            "--data-dir".into(),
            home.agent().into_os_string(),
            "--run-dir".into(),
            home.run_dir().into(),
            "--server".into(),
            format!("127.0.0.1:{port}").into(),
            "--http".into(),
            "127.0.0.1:0".into(),
            "--stop-nodes-on-exit".into(),
            "--exit-with-stdin".into(),
        ];
        if let Some(name) = &self.name {
            arguments.extend(["--name".into(), name.into()]);
        }
        for dir in &self.assets {
            arguments.extend(["--assets".into(), dir.clone().into_os_string()]);
        }
        let token = home.take_join_token();
        // In the environment, where other users can't read it.
        let environment: Vec<(&str, &str)> = token
            .as_deref()
            .map(|token| ("EDGEFLOW_JOIN_TOKEN", token))
            .into_iter()
            .collect();
        Daemon::start(home, "agent", &program, &arguments, &environment)
    }

    fn http_port(&self) -> Outcome<u16> {
        let Some(port) = self.http else {
            return Ok(if free(USUAL_HTTP_PORT).is_ok() {
                USUAL_HTTP_PORT
            } else {
                0
            });
        };
        free(port).map(|()| port).map_err(|error| {
            Failure::failed(format!(
                "port {port} of this machine can't be used for the dashboard"
            ))
            .why(match error.kind() {
                std::io::ErrorKind::AddrInUse => "another program listens on it".to_owned(),
                _ => error.to_string(),
            })
            .next("choose another: --http 8080, or --http 0 for any free one")
        })
    }
}

fn free(port: u16) -> std::io::Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop)
}

async fn create_token(client: &Client) -> Outcome<String> {
    let mut api = client.api();
    let request = v1::CreateTokenRequest {
        ttl_seconds: TOKEN_TTL_SECONDS,
        max_uses: 1,
        ..Default::default()
    };
    let response = client
        .call("create a join token", api.create_token(request))
        .await?;
    Ok(response.secret)
}

fn dashboard(client: &Client) {
    let target = client.target();
    let token = target.token.as_deref().unwrap_or_default();
    let address = format!("{}/#token={token}", target.server);
    output::line(format!("dashboard {}", colour::stdout().accent(&address)));
}

/// Shows what runs until a daemon dies; never returns otherwise.
async fn watch(
    client: &Client,
    home: &Home,
    daemons: &mut Daemons,
    applied: &[String],
    started: Instant,
) -> Outcome {
    let paint = colour::stderr();
    output::note(paint.dim(&format!(
        "Ctrl-C stops everything; logs and state are in {}",
        home.dir().display()
    )));
    let mut board = Board::new(started);
    let mut announced = false;
    let mut known: Vec<String> = Vec::new();
    loop {
        if let Some(failure) = daemons.died() {
            board.live.clear();
            return Err(failure);
        }
        daemons.rotate_logs();
        let systems = match get::systems(client).await {
            Ok(systems) => systems,
            Err(failure) => {
                // The reason is in the log of the one that has just died, if one has.
                tokio::time::sleep(DEATH_NOTICE).await;
                board.live.clear();
                return Err(daemons.died().unwrap_or(failure));
            }
        };
        if known.is_empty() {
            mention_others(&systems, applied);
        }
        for gone in known
            .iter()
            .filter(|name| !systems.iter().any(|one| one.name == **name))
        {
            board.remove(gone);
        }
        if !announced && !systems.is_empty() && systems.iter().all(|one| one.phase == "ready") {
            board.live.clear();
            output::note(format!(
                "{} after {}",
                paint.good("everything runs"),
                elapsed(started.elapsed())
            ));
            announced = true;
        }
        let joining = started.elapsed() < JOIN_PATIENCE;
        let settled = |system: &&SystemView| !(joining && system.phase == "unplaced");
        let shown = systems.iter().filter(settled);
        shown.for_each(|system| board.update(system));
        known = systems.into_iter().map(|system| system.name).collect();
        let pace = if announced { REFRESH } else { REFRESH / 5 };
        tokio::time::sleep(pace).await;
    }
}

fn mention_others(systems: &[SystemView], applied: &[String]) {
    let others: Vec<&str> = systems
        .iter()
        .map(|system| system.name.as_str())
        .filter(|name| !applied.iter().any(|one| one == name))
        .collect();
    if !others.is_empty() {
        output::note(format!(
            "from earlier runs: {} (stop for good with: edgeflow delete system NAME)",
            others.join(", ")
        ));
    }
}

/// The signals that end the command.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Stop {
    fn new() -> Outcome<Self> {
        let watch =
            |kind| signal(kind).map_err(|error| Failure::failed("can't watch signals").why(error));
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hang_up: watch(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
