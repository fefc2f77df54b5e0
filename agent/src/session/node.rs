//! The agent's side of a node's own socket: its state, statistics and spans, and the request to stop. A
//! node may be slow, hang or never listen; nothing here waits without a limit of its caller.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use edgeflow_proto::v1::{
    DeadLettersAnswer, DeadLettersAsk, NodeState, SetNodeParamsRequest, StopNodeRequest,
    WatchNodeEventsRequest, WatchNodeRequest, WatchSpansRequest,
    node_service_client::NodeServiceClient,
};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

/// Statistics pass through the agent as they are.
pub type Stats = edgeflow_proto::v1::NodeStats;

/// What a node declares passes through the agent as it is.
pub type Parameter = edgeflow_proto::v1::Parameter;
/// An event that a node tells of.
pub type Event = edgeflow_proto::v1::NodeEvent;
/// The stay of a sampled frame at a node.
pub type Span = edgeflow_proto::v1::Span;
/// Percentiles of a second.
pub type Latency = edgeflow_proto::v1::Latency;

/// Bytes of text in a declaration.
pub fn size(parameter: &Parameter) -> usize {
    let texts = [
        &parameter.name,
        &parameter.kind,
        &parameter.default_json,
        &parameter.summary,
    ];
    let options = parameter.options.iter();
    texts.into_iter().chain(options).map(String::len).sum()
}

/// Characters of a refusal that are kept.
const MAX_REFUSAL_CHARS: usize = 500;
/// Characters of a span's texts that are kept, and texts of a list.
const MAX_SPAN_CHARS: usize = 200;
const MAX_SPAN_TEXTS: usize = 16;
/// Pause before a node that refuses its spans, or has none to give, is asked again.
const SPANS_RETRY: Duration = Duration::from_secs(1);
/// The same for its events.
const EVENTS_RETRY: Duration = Duration::from_millis(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_REPORT_BYTES: usize = 256 * 1024;

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePhase {
    /// Preparing.
    Setup,
    /// In its loop.
    Ready,
    /// Ending.
    Stopping,
}

/// One report of a node.
#[derive(Clone, Debug)]
pub struct NodeUpdate {
    /// Where it is.
    pub phase: NodePhase,
    /// In words, if the node has any.
    pub message: String,
    /// What its runner counts.
    pub stats: Option<Stats>,
    /// What it declares.
    pub parameters: Vec<Parameter>,
}

/// What a node says to new parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParamsAnswer {
    /// It works with them.
    Applied,
    /// It keeps its old ones, and why.
    Refused(String),
    /// Nothing in time; it may still take them.
    None,
}

/// Follows a node's reports until it is dropped; dials again whenever the socket is not there.
pub async fn watch(socket: PathBuf, mut on_update: impl FnMut(NodeUpdate) + Send) {
    let begin = Instant::now();
    loop {
        // An error only means that the node does not listen yet or no more.
        let _ = watch_once(&socket, &mut on_update).await;
        let pause = match begin.elapsed().as_secs() {
            0..3 => Duration::from_millis(10),
            3..30 => Duration::from_millis(100),
            _ => Duration::from_millis(500),
        };
        tokio::time::sleep(pause).await;
    }
}

async fn watch_once(
    socket: &Path,
    on_update: &mut (impl FnMut(NodeUpdate) + Send),
) -> Result<(), tonic::Status> {
    let mut client =
        NodeServiceClient::new(connect(socket).await?).max_decoding_message_size(MAX_REPORT_BYTES);
    let mut reports = client.watch(WatchNodeRequest {}).await?.into_inner();
    while let Some(report) = reports.message().await? {
        let phase = match report.state() {
            NodeState::Ready => NodePhase::Ready,
            NodeState::Stopping => NodePhase::Stopping,
            NodeState::Setup | NodeState::Unspecified => NodePhase::Setup,
        };
        on_update(NodeUpdate {
            phase,
            message: report.message,
            stats: report.stats,
            parameters: report.parameters,
        });
    }
    Ok(())
}

/// Follows a node's events until it is dropped.
pub async fn watch_events(socket: PathBuf, mut on_event: impl FnMut(Event) + Send) {
    loop {
        // An error means that the node does not listen yet, no more, or is older than this.
        let _ = watch_events_once(&socket, &mut on_event).await;
        tokio::time::sleep(EVENTS_RETRY).await;
    }
}

async fn watch_events_once(
    socket: &Path,
    on_event: &mut (impl FnMut(Event) + Send),
) -> Result<(), tonic::Status> {
    let mut client =
        NodeServiceClient::new(connect(socket).await?).max_decoding_message_size(MAX_REPORT_BYTES);
    let asked = client.watch_events(WatchNodeEventsRequest {}).await;
    let mut events = asked?.into_inner();
    while let Some(event) = events.message().await? {
        on_event(event);
    }
    Ok(())
}

/// Follows a node's spans while they are wanted, until it is dropped.
pub async fn watch_spans(
    socket: PathBuf,
    mut wanted: watch::Receiver<bool>,
    mut on_spans: impl FnMut(Vec<Span>, u64) + Send,
) {
    while changed_to(&mut wanted, true).await {
        let mut unwanted = wanted.clone();
        let watch = async {
            // An error means that the node does not listen yet, no more, or is older than this.
            let _ = watch_spans_once(&socket, &mut on_spans).await;
            tokio::time::sleep(SPANS_RETRY).await;
        };
        tokio::select! {
            () = watch => {}
            _ = changed_to(&mut unwanted, false) => {}
        }
    }
}

/// False: it never will.
async fn changed_to(watch: &mut watch::Receiver<bool>, value: bool) -> bool {
    watch.wait_for(|now| *now == value).await.is_ok()
}

async fn watch_spans_once(
    socket: &Path,
    on_spans: &mut (impl FnMut(Vec<Span>, u64) + Send),
) -> Result<(), tonic::Status> {
    let mut client =
        NodeServiceClient::new(connect(socket).await?).max_decoding_message_size(MAX_REPORT_BYTES);
    let mut messages = client.watch_spans(WatchSpansRequest {}).await?.into_inner();
    while let Some(message) = messages.message().await? {
        let spans = message.spans.into_iter().map(bounded).collect();
        on_spans(spans, message.lost);
    }
    Ok(())
}

/// A span's texts cut to what is kept.
fn bounded(mut span: Span) -> Span {
    let cut = |text: &mut String| *text = text.chars().take(MAX_SPAN_CHARS).collect();
    span.trace_id.truncate(16);
    span.fused_with.truncate(MAX_SPAN_TEXTS);
    span.fused_with.iter_mut().for_each(cut);
    cut(&mut span.error);
    cut(&mut span.codec);
    span
}

/// Asks a node to end within `grace`. `false`: it did not take the request.
pub async fn stop(socket: &Path, grace: Duration) -> bool {
    let request = StopNodeRequest {
        grace_ms: u32::try_from(grace.as_millis()).unwrap_or(u32::MAX),
    };
    match connect(socket).await {
        Ok(channel) => NodeServiceClient::new(channel).stop(request).await.is_ok(),
        Err(_) => false,
    }
}

/// Hands a node new parameters, a JSON object, and waits for its answer for `wait` at most.
pub async fn set_params(socket: &Path, params_json: String, wait: Duration) -> ParamsAnswer {
    let call = async {
        let mut client = NodeServiceClient::new(connect(socket).await?);
        client
            .set_params(SetNodeParamsRequest { params_json })
            .await
    };
    match tokio::time::timeout(wait, call).await {
        Ok(Ok(answer)) => match answer.into_inner().refusal {
            refusal if refusal.is_empty() => ParamsAnswer::Applied,
            refusal => ParamsAnswer::Refused(refusal.chars().take(MAX_REFUSAL_CHARS).collect()),
        },
        Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => ParamsAnswer::Refused(
            "it was built with an SDK that can't change parameters while it runs".to_owned(),
        ),
        Ok(Err(_)) | Err(_) => ParamsAnswer::None,
    }
}

/// Asks a node about its dead letters.
pub(super) async fn dead_letters(
    socket: &Path,
    ask: DeadLettersAsk,
) -> Result<DeadLettersAnswer, tonic::Status> {
    let mut client =
        NodeServiceClient::new(connect(socket).await?).max_decoding_message_size(MAX_REPORT_BYTES);
    Ok(client.dead_letters(ask).await?.into_inner())
}

async fn connect(socket: &Path) -> Result<Channel, tonic::Status> {
    // Spares the attempt while the node has not made its socket.
    if !socket.exists() {
        return Err(tonic::Status::unavailable("no socket"));
    }
    let address = format!("unix:{}", socket.display());
    let endpoint =
        Endpoint::from_shared(address).map_err(|error| tonic::Status::from_error(error.into()))?;
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .connect()
        .await
        .map_err(|error| tonic::Status::from_error(error.into()))
}
