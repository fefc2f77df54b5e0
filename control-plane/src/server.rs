//! Puts the parts together, binds the ports, and takes everything down again in order.

mod listener;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use edgeflow_runtime::{logging::chain, tasks::Tasks};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    changes::Changes,
    clock::now_ms,
    config::{Config, ConfigError},
    fleet::Fleet,
    http::{Port, router},
    logs::Logs,
    metrics::ControlPlaneMetrics,
    pki::{
        Authority, PkiError, ServerCertificate, ensure_dir, hash_secret,
        load_or_create_admin_token, server_config, write_private,
    },
    service::{Service, ServiceError},
    store::{Store, StoreError},
    traces::{CollectorError, Traces},
    views::Views,
};

/// Time for open requests when stopping.
const DRAIN: Duration = Duration::from_secs(3);
/// How often last-seen times are stored.
const LAST_SEEN_INTERVAL: Duration = Duration::from_secs(300);
/// How often the server certificate's end is looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(12 * 3600);
const DATABASE_FILE: &str = "edgeflow.db";
const MODELS_DIR: &str = "models";
const ADDRESSES_FILE: &str = "addresses.json";

/// Why the control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The command line.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A port can't be had.
    #[error("can't listen on {address} ({flag}): {reason}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// In words.
        reason: String,
    },
    /// The collector of traces.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// A running control plane.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    admin_token: String,
    listen: SocketAddr,
    http: SocketAddr,
    addresses_file: PathBuf,
}

impl Server {
    /// Starts everything and returns once both ports answer.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let collector = config.otlp.collector()?;
        ensure_dir(&config.data_dir)?;
        // The ports first: a second control plane must not touch the files of the first.
        let (tls_listener, listen) = bind(config.listen, "--listen").await?;
        let (http_listener, http) = bind(config.http, "--http").await?;
        let now_ms = now_ms();
        let authority = Arc::new(Authority::load_or_create(&config.data_dir, now_ms)?);
        let admin_token = load_or_create_admin_token(&config.data_dir)?;
        let certificate = Arc::new(ServerCertificate::load_or_create(
            &config.data_dir,
            &authority,
            config.certificate_names(),
            now_ms,
        )?);
        let tls = server_config(&authority, Arc::clone(&certificate))?;
        let store = Store::open(&config.data_dir.join(DATABASE_FILE)).await?;

        let changes = Changes::new();
        let fleet = Arc::new(Fleet::new(changes.clone()));
        let models = config.data_dir.join(MODELS_DIR);
        ensure_dir(&models)?;
        let service = Service::load(store, models, Arc::clone(&authority), fleet, changes);
        let service = Arc::new(service.await?);
        let tasks = Tasks::new(CancellationToken::new());
        let (spans, exporter) = Traces::new(collector);
        if let Some(exporter) = exporter {
            tasks.spawn("traces", exporter.run());
        }
        let app = Arc::new(App {
            views: Arc::new(Views::new(Arc::clone(&service), tasks.clone())),
            logs: Arc::new(Logs::new(Arc::clone(&service))),
            service,
            metrics: ControlPlaneMetrics::new(spans.counts()),
            traces: Arc::new(spans),
            tasks: tasks.clone(),
            admin_hash: hash_secret(&admin_token),
            agent_address: config.agent_address(listen),
            started_ms: now_ms,
        });
        tasks.spawn("last seen", keep_last_seen(Arc::clone(&app)));
        tasks.spawn("certificate", keep_certificate(authority, certificate));
        serve_ports(&app, (tls_listener, tls), http_listener);
        let addresses_file = config.data_dir.join(ADDRESSES_FILE);
        let addresses = serde_json::json!({
            "listen": listen.to_string(),
            "http": http.to_string(),
        });
        write_private(&addresses_file, format!("{addresses}\n").as_bytes())?;
        tracing::info!(%listen, %http, data_dir = %config.data_dir.display(), "control plane started");
        Ok(Self {
            app,
            admin_token,
            listen,
            http,
            addresses_file,
        })
    }

    /// Address of the TLS port.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Address of the plain port.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The admin token.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// The inside, for tests.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Stops: no new work, open requests get a moment, then the database is closed.
    pub async fn stop(self) {
        // Before the sessions go: they are the ones that were seen.
        if let Err(error) = self.app.service.note_last_seen().await {
            tracing::warn!(error = chain(&error), "last-seen times were not stored");
        }
        if !self.app.tasks.shut_down(DRAIN).await {
            tracing::info!("some requests were cut off");
        }
        // Only a clean stop removes it; nothing depends on that.
        let _ = std::fs::remove_file(&self.addresses_file);
        self.app.service.store().close().await;
        tracing::info!("control plane stopped");
    }
}

fn serve_ports(
    app: &Arc<App>,
    (tls_listener, tls): (TcpListener, rustls::ServerConfig),
    http_listener: TcpListener,
) {
    let limit = listener::Limit::new();
    let tls_port = listener::serve(
        Arc::clone(app),
        tls_listener,
        Some(tls),
        router(app, Port::Tls),
        limit.clone(),
    );
    app.tasks.spawn_graceful("tls port", tls_port);
    let plain_port = listener::serve(
        Arc::clone(app),
        http_listener,
        None,
        router(app, Port::Plain),
        limit,
    );
    app.tasks.spawn_graceful("plain port", plain_port);
}

async fn bind(
    address: SocketAddr,
    flag: &'static str,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error: std::io::Error| {
        let reason = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "port {} is in use; stop the process that has it (`ss -ltnp`), or choose another with {flag}",
                address.port()
            ),
            std::io::ErrorKind::PermissionDenied => {
                "not permitted; choose a port above 1023".to_owned()
            }
            std::io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
            _ => error.to_string(),
        };
        StartError::Bind {
            address,
            flag,
            reason,
        }
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn keep_last_seen(app: Arc<App>) {
    loop {
        tokio::time::sleep(LAST_SEEN_INTERVAL).await;
        if let Err(error) = app.service.note_last_seen().await {
            tracing::warn!(error = chain(&error), "last-seen times were not stored");
        }
    }
}

async fn keep_certificate(authority: Arc<Authority>, certificate: Arc<ServerCertificate>) {
    loop {
        tokio::time::sleep(CERTIFICATE_INTERVAL).await;
        if let Err(error) = certificate.refresh(&authority, now_ms()) {
            tracing::error!(
                error = chain(&error),
                "the server certificate was not renewed"
            );
        }
    }
}
