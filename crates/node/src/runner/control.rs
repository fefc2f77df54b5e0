//! The control thread: serves `edgeflow.v1.NodeService` on the instance's socket, watches signals,
//! counts seconds. A busy or hanging loop does not silence it.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use edgeflow_proto::v1::node_service_server::{NodeService, NodeServiceServer};
use edgeflow_proto::v1::{
    DeadLettersAnswer, DeadLettersAsk, NodeEvent, NodeReport, NodeSpans, NodeState,
    SetNodeParamsRequest, SetNodeParamsResponse, StopNodeRequest, StopNodeResponse,
    WatchNodeEventsRequest, WatchNodeRequest, WatchSpansRequest,
};
use edgeflow_stream::transport::Listen;
use edgeflow_stream::transport::unix::UnixListen;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::wrappers::{BroadcastStream, ReceiverStream, UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status as RpcStatus};

use super::dead_letters;
use super::inbox::Inbox;
use super::status::Status;
use crate::Stop;

/// How often statistics are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Time for the answer to a stop request before a process that has not set up yet exits.
const ANSWER_TIME: Duration = Duration::from_millis(50);

/// Keeps the control socket; its file goes with it.
pub(super) struct Control {
    _listen: UnixListen,
}

impl Control {
    pub(super) fn start(
        path: &Path,
        status: &Arc<Status>,
        stop: &Stop,
        inbox: &Arc<Inbox>,
    ) -> io::Result<Self> {
        let listen = UnixListen::bind(path)?;
        let socket =
            std::os::unix::net::UnixListener::from(listen.fd().as_fd().try_clone_to_owned()?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let service = Service {
            status: Arc::clone(status),
            stop: stop.clone(),
            inbox: Arc::clone(inbox),
        };
        std::thread::Builder::new()
            .name("edgeflow-control".to_owned())
            .spawn(move || runtime.block_on(serve(socket, service)))?;
        Ok(Self { _listen: listen })
    }
}

async fn serve(socket: std::os::unix::net::UnixListener, service: Service) {
    let served = tokio::net::UnixListener::from_std(socket).map(UnixListenerStream::new);
    let incoming = match served {
        Ok(incoming) => incoming,
        Err(error) => {
            tracing::error!(%error, "control socket can't be served");
            return;
        }
    };
    tokio::spawn(watch_signals(
        Arc::clone(&service.status),
        service.stop.clone(),
    ));
    tokio::spawn(tick(Arc::clone(&service.status)));
    let service = NodeServiceServer::new(service);
    let server = tonic::transport::Server::builder().add_service(service);
    if let Err(error) = server.serve_with_incoming(incoming).await {
        tracing::error!(error = %edgeflow_runtime::logging::chain(&error), "control service ended");
    }
}

async fn tick(status: Arc<Status>) {
    let mut interval = tokio::time::interval(REPORT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // The first one comes at once.
    interval.tick().await;
    loop {
        interval.tick().await;
        status.tick();
    }
}

async fn watch_signals(status: Arc<Status>, stop: Stop) {
    let (interrupt, terminate) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        tracing::error!("signals can't be watched");
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    request_stop(&status, &stop).await;
}

/// Tells the loop to stop. A node that is still in its setup has no loop and nothing to tear down.
async fn request_stop(status: &Status, stop: &Stop) {
    stop.request();
    if status.state() == NodeState::Setup {
        tokio::time::sleep(ANSWER_TIME).await;
        if status.state() == NodeState::Setup {
            tracing::info!("stopped during setup");
            std::process::exit(0);
        }
    }
}

struct Service {
    status: Arc<Status>,
    stop: Stop,
    inbox: Arc<Inbox>,
}

type SpanStream = Pin<Box<dyn Stream<Item = Result<NodeSpans, RpcStatus>> + Send>>;
type EventStream = Pin<Box<dyn Stream<Item = Result<NodeEvent, RpcStatus>> + Send>>;
type Reports = Pin<Box<dyn Stream<Item = Result<NodeReport, RpcStatus>> + Send>>;

#[tonic::async_trait]
impl NodeService for Service {
    type WatchStream = Reports;

    async fn watch(
        &self,
        _: Request<WatchNodeRequest>,
    ) -> Result<Response<Self::WatchStream>, RpcStatus> {
        let reports = WatchStream::new(self.status.subscribe()).map(Ok);
        Ok(Response::new(Box::pin(reports)))
    }

    type WatchSpansStream = SpanStream;

    async fn watch_spans(
        &self,
        _: Request<WatchSpansRequest>,
    ) -> Result<Response<Self::WatchSpansStream>, RpcStatus> {
        let spans = BroadcastStream::new(self.status.spans().subscribe());
        let messages = spans.map(|next| {
            Ok(match next {
                Ok(span) => NodeSpans {
                    spans: vec![span],
                    lost: 0,
                },
                Err(BroadcastStreamRecvError::Lagged(lost)) => NodeSpans {
                    spans: Vec::new(),
                    lost,
                },
            })
        });
        Ok(Response::new(Box::pin(messages)))
    }

    type WatchEventsStream = EventStream;

    async fn watch_events(
        &self,
        _: Request<WatchNodeEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, RpcStatus> {
        let events = self.status.shown().events;
        let (out, messages) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = out.closed() => return,
                };
                if out.send(Ok(event)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }

    async fn stop(
        &self,
        _: Request<StopNodeRequest>,
    ) -> Result<Response<StopNodeResponse>, RpcStatus> {
        let (status, stop) = (Arc::clone(&self.status), self.stop.clone());
        tokio::spawn(async move { request_stop(&status, &stop).await });
        Ok(Response::new(StopNodeResponse {}))
    }

    async fn set_params(
        &self,
        request: Request<SetNodeParamsRequest>,
    ) -> Result<Response<SetNodeParamsResponse>, RpcStatus> {
        let params = serde_json::from_str(&request.get_ref().params_json)
            .map_err(|error| RpcStatus::invalid_argument(format!("no JSON object: {error}")))?;
        match self.inbox.put(params).await {
            Ok(answer) => Ok(Response::new(SetNodeParamsResponse {
                refusal: answer.err().unwrap_or_default(),
            })),
            Err(_) => Err(RpcStatus::aborted("newer parameters took their place")),
        }
    }

    async fn dead_letters(
        &self,
        request: Request<DeadLettersAsk>,
    ) -> Result<Response<DeadLettersAnswer>, RpcStatus> {
        let (status, ask) = (Arc::clone(&self.status), request.into_inner());
        // It reads files.
        let answer =
            tokio::task::spawn_blocking(move || dead_letters::answer(&status.outputs(), &ask));
        let answer = answer
            .await
            .map_err(|e| RpcStatus::internal(e.to_string()))?;
        Ok(Response::new(answer))
    }
}
