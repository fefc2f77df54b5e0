//! Node processes: this test program itself, started again by the agent. What it does is in the
//! instance's parameters.

use std::{io::Write, pin::Pin, time::Duration};

use edgeflow_proto::v1::{
    self as v1, NodeReport, NodeState, NodeStats, Parameter, SetNodeParamsRequest,
    SetNodeParamsResponse, StopNodeRequest, StopNodeResponse, WatchNodeRequest, WatchSpansRequest,
    node_service_server,
};
use edgeflow_spec::{
    assignment::{Instance, Output, Program},
    instance_config::{INSTANCE_ENV, InstanceConfig},
};
use serde_json::json;
use tokio::net::UnixListener;
use tokio_stream::{Stream, StreamExt, wrappers::IntervalStream, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status};

/// Above, a node process refuses its live parameter `level`, running or starting.
const MAX_LEVEL: u64 = 9;

/// An instance of a command.
pub(crate) fn command(node: &str, words: &[&str]) -> Instance {
    Instance {
        id: format!("test.{node}.0"),
        system: "test".to_owned(),
        node: node.to_owned(),
        replica: 0,
        revision: 1,
        program: Program::Command(words.iter().map(|word| (*word).to_owned()).collect()),
        env: Default::default(),
        params: Default::default(),
        inputs: Vec::new(),
        outputs: vec![Output {
            port: "out".to_owned(),
            groups: Vec::new(),
        }],
        broker: None,
        trace_every: 100,
        models: std::collections::BTreeSet::new(),
        restart: Default::default(),
        overrides: Default::default(),
        stop_grace_ms: 2000,
    }
}

/// An instance that becomes ready, with parameters of [`a_node_process`].
pub(crate) fn helper(node: &str, params: &serde_json::Value) -> Instance {
    let program = std::env::current_exe().unwrap();
    let words = [
        program.to_str().unwrap(),
        "node::a_node_process",
        "--exact",
        "--ignored",
        "--nocapture",
    ];
    let mut instance = command(node, &words);
    instance.params = params.as_object().unwrap().clone();
    instance
}

/// Ready at once, ends when asked.
pub(crate) fn well_behaved(node: &str) -> Instance {
    helper(node, &json!({}))
}

#[derive(Clone)]
struct Service {
    stubborn: bool,
}

#[tonic::async_trait]
impl node_service_server::NodeService for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<NodeReport, Status>> + Send>>;

    async fn watch(
        &self,
        _: Request<WatchNodeRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(200)));
        let reports = ticks.map(|_| {
            Ok(NodeReport {
                state: NodeState::Ready.into(),
                message: String::new(),
                stats: Some(NodeStats {
                    fps: 25.0,
                    ..NodeStats::default()
                }),
                pid: std::process::id(),
                parameters: vec![Parameter {
                    name: "level".to_owned(),
                    kind: "integer".to_owned(),
                    live: true,
                    ..Parameter::default()
                }],
            })
        });
        Ok(Response::new(Box::pin(reports)))
    }

    type WatchSpansStream = Pin<Box<dyn Stream<Item = Result<v1::NodeSpans, Status>> + Send>>;

    /// One with texts that are too long.
    async fn watch_spans(
        &self,
        _: Request<WatchSpansRequest>,
    ) -> Result<Response<Self::WatchSpansStream>, Status> {
        let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(100)));
        let messages = ticks.map(|_| {
            let span = v1::Span {
                trace_id: vec![7; 16],
                span_id: 1,
                error: "x".repeat(10_000),
                ..v1::Span::default()
            };
            Ok(v1::NodeSpans {
                spans: vec![span],
                lost: 1,
            })
        });
        Ok(Response::new(Box::pin(messages)))
    }

    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<v1::NodeEvent, Status>> + Send>>;

    /// One with a picture, then nothing more.
    async fn watch_events(
        &self,
        _: Request<v1::WatchNodeEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let event = v1::NodeEvent {
            at_unix_ms: 1,
            severity: "warning".to_owned(),
            reason: "PersonSeen".to_owned(),
            message: "1 person".to_owned(),
            picture: vec![0xff, 0xd8, 0xff, 0xd9],
            ..v1::NodeEvent::default()
        };
        let events = tokio_stream::iter([Ok(event)]).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(events)))
    }

    async fn dead_letters(
        &self,
        request: Request<v1::DeadLettersAsk>,
    ) -> Result<Response<v1::DeadLettersAnswer>, Status> {
        let ids = request.into_inner().replay_ids;
        let letter = v1::DeadLetter {
            id: "1-2".to_owned(),
            ..v1::DeadLetter::default()
        };
        Ok(Response::new(v1::DeadLettersAnswer {
            replayed: u32::try_from(ids.len()).unwrap(),
            dead_letters: vec![letter],
            error: String::new(),
        }))
    }

    async fn stop(
        &self,
        _: Request<StopNodeRequest>,
    ) -> Result<Response<StopNodeResponse>, Status> {
        if !self.stubborn {
            println!("asked to stop");
            std::process::exit(0);
        }
        Ok(Response::new(StopNodeResponse {}))
    }

    async fn set_params(
        &self,
        request: Request<SetNodeParamsRequest>,
    ) -> Result<Response<SetNodeParamsResponse>, Status> {
        let text = request.into_inner().params_json;
        let params: serde_json::Value = serde_json::from_str(&text).unwrap();
        let level = params["level"].as_u64().unwrap_or_default();
        let refusal = if level > MAX_LEVEL {
            "the level is too high"
        } else {
            println!("level {level}");
            ""
        };
        Ok(Response::new(SetNodeParamsResponse {
            refusal: refusal.to_owned(),
        }))
    }
}

#[tokio::test]
#[ignore = "the body of node processes, started by the agent"]
async fn a_node_process() {
    let Some(file) = std::env::var_os(INSTANCE_ENV) else {
        return;
    };
    let config: InstanceConfig = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let param = |name: &str| config.instance.params.get(name).cloned();
    println!(
        "{}",
        param("say")
            .and_then(|v| Some(v.as_str()?.to_owned()))
            .unwrap_or_default()
    );
    std::io::stdout().flush().unwrap();
    let level = param("level").and_then(|level| level.as_u64());
    if level > Some(MAX_LEVEL) {
        println!("the level is too high");
        std::process::exit(1);
    }
    let stubborn = param("stubborn").is_some();
    if stubborn {
        let mut term =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        tokio::spawn(async move { while term.recv().await.is_some() {} });
    }
    if param("frames").is_some() {
        let path = config.output_sockets[0].path.clone();
        std::thread::spawn(move || crate::bulk::publish(&path));
    }
    let listener = UnixListener::bind(&config.control_socket).unwrap();
    tonic::transport::Server::builder()
        .add_service(node_service_server::NodeServiceServer::new(Service {
            stubborn,
        }))
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await
        .unwrap();
}
