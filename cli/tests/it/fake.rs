//! A control plane that says what a test tells it to.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use edgeflow_proto::v1::{
    self,
    control_service_server::{ControlService, ControlServiceServer},
};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::run::Home;

pub(crate) const TOKEN: &str = "efa_test";

type Reply<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What it answers and what it was asked.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) apply: Option<v1::ApplySystemResponse>,
    pub(crate) apply_status: Option<Status>,
    /// `WatchSystem` sends these; after them the stream stays silent.
    pub(crate) watch: Vec<v1::WatchSystemResponse>,
    pub(crate) systems: Vec<v1::System>,
    pub(crate) devices: Vec<v1::Device>,
    pub(crate) events: Vec<v1::Event>,
    pub(crate) logs: Vec<v1::LogLine>,
    /// `TapFrames` sends these; after them the stream stays silent.
    pub(crate) tapped: Vec<v1::TapFramesResponse>,
    pub(crate) taps: Vec<v1::TapFramesRequest>,
    pub(crate) applied: Vec<v1::ApplySystemRequest>,
    pub(crate) labelled: Vec<v1::SetDeviceLabelsRequest>,
    pub(crate) deleted: Vec<String>,
    pub(crate) set: Vec<v1::SetParamsRequest>,
    pub(crate) set_answer: v1::SetParamsResponse,
}

/// A running fake and a home whose environment points to it.
pub(crate) struct Fake {
    pub(crate) home: Home,
    pub(crate) state: Arc<Mutex<State>>,
    _runtime: tokio::runtime::Runtime,
}

impl Fake {
    pub(crate) fn start(state: State) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let state = Arc::new(Mutex::new(state));
        let service = Service(Arc::clone(&state));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(ControlServiceServer::with_interceptor(service, authorise))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let home = Home::new()
            .env("EDGEFLOW_SERVER", &format!("http://{address}"))
            .env("EDGEFLOW_TOKEN", TOKEN);
        Self {
            home,
            state,
            _runtime: runtime,
        }
    }
}

#[allow(clippy::result_large_err)]
fn authorise(request: Request<()>) -> Result<Request<()>, Status> {
    let expected = format!("Bearer {TOKEN}");
    match request.metadata().get("authorization") {
        Some(value) if value.as_bytes() == expected.as_bytes() => Ok(request),
        _ => Err(Status::unauthenticated("the token is not valid")),
    }
}

struct Service(Arc<Mutex<State>>);

impl Service {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

fn stream<T: Send + 'static>(items: Vec<T>, open: bool) -> Response<Streamed<T>> {
    use tokio_stream::StreamExt;
    let items = tokio_stream::iter(items.into_iter().map(Ok));
    if open {
        Response::new(Box::pin(items.chain(tokio_stream::pending())))
    } else {
        Response::new(Box::pin(items))
    }
}

#[tonic::async_trait]
impl ControlService for Service {
    type WatchSystemStream = Streamed<v1::WatchSystemResponse>;
    type WatchDevicesStream = Streamed<v1::ListDevicesResponse>;
    type WatchEventsStream = Streamed<v1::Event>;
    type LogsStream = Streamed<v1::LogLine>;
    type TapFramesStream = Streamed<v1::TapFramesResponse>;

    async fn get_server_info(
        &self,
        _: Request<v1::GetServerInfoRequest>,
    ) -> Reply<v1::GetServerInfoResponse> {
        Ok(Response::new(v1::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            agent_address: "edge.example:7443".into(),
            ..Default::default()
        }))
    }

    async fn apply_system(
        &self,
        request: Request<v1::ApplySystemRequest>,
    ) -> Reply<v1::ApplySystemResponse> {
        let mut state = self.state();
        let request = request.into_inner();
        let dry_run = request.dry_run;
        state.applied.push(request);
        if let Some(status) = &state.apply_status {
            return Err(status.clone());
        }
        let mut response = state.apply.clone().unwrap_or_default();
        response.dry_run = dry_run;
        Ok(Response::new(response))
    }

    async fn get_system(
        &self,
        request: Request<v1::GetSystemRequest>,
    ) -> Reply<v1::GetSystemResponse> {
        let name = request.into_inner().name;
        let system = self
            .state()
            .systems
            .iter()
            .find(|one| one.name == name)
            .cloned();
        match system {
            Some(_) => Ok(Response::new(v1::GetSystemResponse { system })),
            None => Err(Status::not_found(format!("there is no system {name:?}"))),
        }
    }

    async fn list_systems(
        &self,
        _: Request<v1::ListSystemsRequest>,
    ) -> Reply<v1::ListSystemsResponse> {
        Ok(Response::new(v1::ListSystemsResponse {
            systems: self.state().systems.clone(),
        }))
    }

    async fn watch_system(
        &self,
        _: Request<v1::WatchSystemRequest>,
    ) -> Reply<Self::WatchSystemStream> {
        Ok(stream(self.state().watch.clone(), true))
    }

    async fn add_model(
        &self,
        _: Request<Streaming<v1::AddModelRequest>>,
    ) -> Reply<v1::AddModelResponse> {
        Err(Status::unimplemented("not in these tests"))
    }

    async fn list_models(
        &self,
        _: Request<v1::ListModelsRequest>,
    ) -> Reply<v1::ListModelsResponse> {
        Ok(Response::new(v1::ListModelsResponse::default()))
    }

    async fn get_model(&self, _: Request<v1::GetModelRequest>) -> Reply<v1::GetModelResponse> {
        Err(Status::unimplemented("not in these tests"))
    }

    async fn delete_model(
        &self,
        _: Request<v1::DeleteModelRequest>,
    ) -> Reply<v1::DeleteModelResponse> {
        Err(Status::unimplemented("not in these tests"))
    }

    async fn delete_system(
        &self,
        request: Request<v1::DeleteSystemRequest>,
    ) -> Reply<v1::DeleteSystemResponse> {
        self.state().deleted.push(request.into_inner().name);
        Ok(Response::new(v1::DeleteSystemResponse {}))
    }

    async fn list_revisions(
        &self,
        _: Request<v1::ListRevisionsRequest>,
    ) -> Reply<v1::ListRevisionsResponse> {
        let revision = |number| v1::Revision {
            number,
            manifest: format!("# {number}\n"),
            created_unix_ms: 1_700_000_000_000,
            cause: "apply".into(),
            current: number == 2,
        };
        Ok(Response::new(v1::ListRevisionsResponse {
            revisions: vec![revision(1), revision(2)],
        }))
    }

    async fn rollback_system(
        &self,
        request: Request<v1::RollbackSystemRequest>,
    ) -> Reply<v1::ApplySystemResponse> {
        let request = request.into_inner();
        if request.revision > 2 {
            return Err(Status::not_found(format!(
                "{} has no revision {}",
                request.name, request.revision
            )));
        }
        Ok(Response::new(
            self.state().apply.clone().unwrap_or_default(),
        ))
    }

    async fn set_params(
        &self,
        request: Request<v1::SetParamsRequest>,
    ) -> Reply<v1::SetParamsResponse> {
        self.state().set.push(request.into_inner());
        Ok(Response::new(self.state().set_answer.clone()))
    }

    async fn get_device(
        &self,
        request: Request<v1::GetDeviceRequest>,
    ) -> Reply<v1::GetDeviceResponse> {
        let name = request.into_inner().device;
        let device = self
            .state()
            .devices
            .iter()
            .find(|one| one.name == name)
            .cloned();
        match device {
            Some(_) => Ok(Response::new(v1::GetDeviceResponse { device })),
            None => Err(Status::not_found(format!("there is no device {name:?}"))),
        }
    }

    async fn list_devices(
        &self,
        _: Request<v1::ListDevicesRequest>,
    ) -> Reply<v1::ListDevicesResponse> {
        Ok(Response::new(v1::ListDevicesResponse {
            devices: self.state().devices.clone(),
        }))
    }

    async fn watch_devices(
        &self,
        _: Request<v1::WatchDevicesRequest>,
    ) -> Reply<Self::WatchDevicesStream> {
        Ok(stream(Vec::new(), true))
    }

    async fn set_device_labels(
        &self,
        request: Request<v1::SetDeviceLabelsRequest>,
    ) -> Reply<v1::GetDeviceResponse> {
        let request = request.into_inner();
        let device = v1::Device {
            name: request.device.clone(),
            labels: request.set.clone(),
            ..Default::default()
        };
        self.state().labelled.push(request);
        Ok(Response::new(v1::GetDeviceResponse {
            device: Some(device),
        }))
    }

    async fn delete_device(
        &self,
        request: Request<v1::DeleteDeviceRequest>,
    ) -> Reply<v1::DeleteDeviceResponse> {
        self.state().deleted.push(request.into_inner().device);
        Ok(Response::new(v1::DeleteDeviceResponse {}))
    }

    async fn get_device_load(
        &self,
        _: Request<v1::GetDeviceLoadRequest>,
    ) -> Reply<v1::GetDeviceLoadResponse> {
        Ok(Response::new(v1::GetDeviceLoadResponse::default()))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Reply<v1::CreateTokenResponse> {
        let request = request.into_inner();
        Ok(Response::new(v1::CreateTokenResponse {
            token: Some(v1::Token {
                id: "abc".into(),
                max_uses: request.max_uses,
                labels: request.labels,
                ..Default::default()
            }),
            secret: "EF1.hash.abc.secret".into(),
            agent_address: "edge.example:7443".into(),
        }))
    }

    async fn list_tokens(
        &self,
        _: Request<v1::ListTokensRequest>,
    ) -> Reply<v1::ListTokensResponse> {
        Ok(Response::new(v1::ListTokensResponse::default()))
    }

    async fn delete_token(
        &self,
        _: Request<v1::DeleteTokenRequest>,
    ) -> Reply<v1::DeleteTokenResponse> {
        Err(Status::not_found("there is no such token"))
    }

    async fn watch_events(
        &self,
        _: Request<v1::WatchEventsRequest>,
    ) -> Reply<Self::WatchEventsStream> {
        Ok(stream(self.state().events.clone(), false))
    }

    async fn logs(&self, _: Request<v1::LogsRequest>) -> Reply<Self::LogsStream> {
        Ok(stream(self.state().logs.clone(), false))
    }

    async fn dead_letters(
        &self,
        request: Request<v1::DeadLettersRequest>,
    ) -> Reply<v1::DeadLettersResponse> {
        let request = request.into_inner();
        if request.system != "a" {
            return Err(Status::not_found("there is no such system"));
        }
        let ask = request.ask.unwrap_or_default();
        let known = v1::DeadLetter {
            id: "1700000000000-42".into(),
            instance: "a.camera.0".into(),
            device_name: "pi-1".into(),
            link: "camera->detect".into(),
            group: "detect".into(),
            at_unix_ms: 1_700_000_000_000,
            deliveries: 5,
            sequence: 42,
            codec: "jpeg".into(),
            bytes: 2048,
            ..Default::default()
        };
        let unknown = ask.replay_ids.iter().find(|id| **id != known.id);
        let replayed = ask.replay_all || ask.replay_ids.contains(&known.id);
        Ok(Response::new(v1::DeadLettersResponse {
            failures: unknown
                .map(|id| format!("a.camera.0 on pi-1: there is no dead letter {id}"))
                .into_iter()
                .collect(),
            replayed: u32::from(replayed),
            dead_letters: if replayed { Vec::new() } else { vec![known] },
        }))
    }

    async fn tap_frames(
        &self,
        request: Request<v1::TapFramesRequest>,
    ) -> Reply<Self::TapFramesStream> {
        let request = request.into_inner();
        if request.node != "detect" {
            return Err(Status::not_found(format!(
                "system {} has no node {}",
                request.system, request.node
            )));
        }
        let mut state = self.state();
        state.taps.push(request);
        Ok(stream(state.tapped.clone(), true))
    }
}
