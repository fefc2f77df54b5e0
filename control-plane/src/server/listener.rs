//! Accepts connections on one port: TLS with an optional client certificate, or plain. HTTP/1.1
//! and HTTP/2 on both. Puts the verified identity where the handlers find it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::{app::App, pki::PeerIdentity};

/// Connections at the same time on both ports.
const MAX_CONNECTIONS: usize = 4_096;
/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the head of an HTTP/1.1 request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// HTTP/2 pings, and how long an answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls at the same time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// HTTP/2 windows: one frame of a live view fits, and a slow reader holds no more.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Pause after a failed accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Time for the open requests of a connection when stopping.
const CONNECTION_DRAIN: Duration = Duration::from_secs(1);

/// The connection limit, shared by both ports.
#[derive(Clone, Debug)]
pub(super) struct Limit(Arc<Semaphore>);

impl Limit {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONNECTIONS)))
    }
}

/// Serves one port until the control plane stops.
pub(super) async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    tls: Option<ServerConfig>,
    router: Router,
    limit: Limit,
) {
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    let stop = app.tasks.token().clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection can't be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&limit.0).try_acquire_owned() else {
            tracing::warn!(
                limit = MAX_CONNECTIONS,
                "a connection was refused: too many are open"
            );
            continue;
        };
        let app_for_task = Arc::clone(&app);
        let acceptor = acceptor.clone();
        let router = router.clone();
        app.tasks.spawn_graceful("connection", async move {
            let _permit = permit;
            let _guard = app_for_task.metrics.connection();
            connection(&app_for_task, stream, acceptor, router).await;
        });
    }
}

async fn connection(app: &App, stream: TcpStream, acceptor: Option<TlsAcceptor>, router: Router) {
    // Small messages must not wait for bigger ones.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        return http(app, stream, None, router).await;
    };
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let peer = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(PeerIdentity::from_certificate);
    http(app, stream, peer, router).await;
}

async fn http<S>(app: &App, stream: S, peer: Option<PeerIdentity>, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        let router = router.clone();
        async move {
            let response = router.oneshot(request.map(Body::new)).await;
            Ok::<_, Infallible>(response.unwrap_or_else(|never| match never {}))
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // Clients come and go as they like.
        _ = connection.as_mut() => {}
        () = app.tasks.token().cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(CONNECTION_DRAIN, connection).await;
        }
    }
}
