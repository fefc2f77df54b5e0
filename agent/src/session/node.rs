//! The agent's side of a node's own socket: its state and statistics, and the request to stop. A
//! node may be slow, hang or never listen; nothing here waits without a limit of its caller.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use edgeflow_proto::v1::{
    DeadLettersAnswer, DeadLettersAsk, NodeState, SetNodeParamsRequest, StopNodeRequest,
    WatchNodeRequest, node_service_client::NodeServiceClient,
};
use tonic::transport::{Channel, Endpoint};

/// Statistics pass through the agent as they are.
pub type Stats = edgeflow_proto::v1::NodeStats;

/// What a node declares passes through the agent as it is.
pub type Parameter = edgeflow_proto::v1::Parameter;
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
