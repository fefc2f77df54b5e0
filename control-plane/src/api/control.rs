//! What people and programs ask.

use std::{pin::Pin, sync::Arc};

use edgeflow_proto::v1::{self, control_service_server::ControlService};
use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{models, status, tap};
use crate::{
    app::App,
    service::{ApplyRequest, ServiceError},
    store::TokenRow,
};

type Answer<T> = Result<Response<T>, Status>;
type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) struct Control {
    app: Arc<App>,
}

impl Control {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// A stream that ends when the control plane stops.
    fn stream<T: Send + 'static>(
        &self,
        items: impl Stream<Item = Result<T, ServiceError>> + Send + 'static,
    ) -> Response<Items<T>> {
        let items = items.map(|item| item.map_err(|error| status(&error)));
        Response::new(until(self.app.tasks.token().clone(), items))
    }
}

fn until<T: Send + 'static>(
    stop: CancellationToken,
    items: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Items<T> {
    Box::pin(items.take_until(async move { stop.cancelled().await }))
}

fn answer<T>(result: Result<T, ServiceError>) -> Answer<T> {
    result.map(Response::new).map_err(|error| status(&error))
}

fn token_message(row: TokenRow) -> v1::Token {
    v1::Token {
        id: row.id,
        created_unix_ms: row.created_ms,
        expires_unix_ms: row.expires_ms,
        uses: row.uses,
        max_uses: row.max_uses,
        labels: row.labels.into_iter().collect(),
    }
}

#[tonic::async_trait]
impl ControlService for Control {
    async fn get_server_info(
        &self,
        _request: Request<v1::GetServerInfoRequest>,
    ) -> Answer<v1::GetServerInfoResponse> {
        Ok(Response::new(v1::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ca_fingerprint: self.app.service.authority().fingerprint().to_owned(),
            agent_address: self.app.agent_address.clone(),
            started_unix_ms: self.app.started_ms,
        }))
    }

    async fn apply_system(
        &self,
        request: Request<v1::ApplySystemRequest>,
    ) -> Answer<v1::ApplySystemResponse> {
        let request = request.into_inner();
        let result = self
            .app
            .service
            .apply(ApplyRequest {
                manifest: request.manifest,
                file: request.file,
                etag: request.etag.into(),
                dry_run: request.dry_run,
            })
            .await;
        if let Ok(response) = &result {
            self.app
                .metrics
                .applied(response.outcome(), response.dry_run);
        }
        answer(result)
    }

    async fn get_system(
        &self,
        request: Request<v1::GetSystemRequest>,
    ) -> Answer<v1::GetSystemResponse> {
        let system = self.app.service.system_view(&request.get_ref().name);
        answer(system.map(|system| v1::GetSystemResponse {
            system: Some(system),
        }))
    }

    async fn list_systems(
        &self,
        _request: Request<v1::ListSystemsRequest>,
    ) -> Answer<v1::ListSystemsResponse> {
        let systems = self.app.service.system_views();
        Ok(Response::new(v1::ListSystemsResponse { systems }))
    }

    type WatchSystemStream = Items<v1::WatchSystemResponse>;

    async fn watch_system(
        &self,
        request: Request<v1::WatchSystemRequest>,
    ) -> Answer<Self::WatchSystemStream> {
        let items = self
            .app
            .service
            .watch_system(request.into_inner())
            .map_err(|error| status(&error))?;
        Ok(self.stream(items))
    }

    async fn delete_system(
        &self,
        request: Request<v1::DeleteSystemRequest>,
    ) -> Answer<v1::DeleteSystemResponse> {
        let request = request.into_inner();
        let result = self
            .app
            .service
            .delete_system(&request.name, request.etag.into())
            .await;
        answer(result.map(|()| v1::DeleteSystemResponse {}))
    }

    async fn list_revisions(
        &self,
        request: Request<v1::ListRevisionsRequest>,
    ) -> Answer<v1::ListRevisionsResponse> {
        let revisions = self.app.service.revisions(&request.get_ref().name).await;
        answer(revisions.map(|revisions| v1::ListRevisionsResponse { revisions }))
    }

    async fn rollback_system(
        &self,
        request: Request<v1::RollbackSystemRequest>,
    ) -> Answer<v1::ApplySystemResponse> {
        let request = request.into_inner();
        let result = self
            .app
            .service
            .rollback(&request.name, request.revision, request.etag.into())
            .await;
        if let Ok(response) = &result {
            self.app.metrics.applied(response.outcome(), false);
        }
        answer(result)
    }

    async fn set_params(
        &self,
        request: Request<v1::SetParamsRequest>,
    ) -> Answer<v1::SetParamsResponse> {
        answer(self.app.service.set_params(request.into_inner()).await)
    }

    async fn get_device(
        &self,
        request: Request<v1::GetDeviceRequest>,
    ) -> Answer<v1::GetDeviceResponse> {
        let device = self.app.service.device_view(&request.get_ref().device);
        answer(device.map(|device| v1::GetDeviceResponse {
            device: Some(device),
        }))
    }

    async fn list_devices(
        &self,
        request: Request<v1::ListDevicesRequest>,
    ) -> Answer<v1::ListDevicesResponse> {
        let devices = self.app.service.device_views(&request.get_ref().selector);
        answer(devices.map(|devices| v1::ListDevicesResponse { devices }))
    }

    type WatchDevicesStream = Items<v1::ListDevicesResponse>;

    async fn watch_devices(
        &self,
        request: Request<v1::WatchDevicesRequest>,
    ) -> Answer<Self::WatchDevicesStream> {
        let items = self
            .app
            .service
            .watch_devices(request.into_inner().selector)
            .map_err(|error| status(&error))?;
        Ok(self.stream(items))
    }

    async fn set_device_labels(
        &self,
        request: Request<v1::SetDeviceLabelsRequest>,
    ) -> Answer<v1::GetDeviceResponse> {
        let request = request.into_inner();
        let set = request.set.into_iter().collect();
        let device = self
            .app
            .service
            .set_labels(&request.device, set, &request.remove)
            .await;
        answer(device.map(|device| v1::GetDeviceResponse {
            device: Some(device),
        }))
    }

    async fn delete_device(
        &self,
        request: Request<v1::DeleteDeviceRequest>,
    ) -> Answer<v1::DeleteDeviceResponse> {
        let result = self
            .app
            .service
            .delete_device(&request.get_ref().device)
            .await;
        answer(result.map(|()| v1::DeleteDeviceResponse {}))
    }

    async fn get_device_load(
        &self,
        request: Request<v1::GetDeviceLoadRequest>,
    ) -> Answer<v1::GetDeviceLoadResponse> {
        let service = &self.app.service;
        let device = service.device(&request.get_ref().device);
        answer(device.map(|device| v1::GetDeviceLoadResponse {
            samples: service.fleet().load(&device.row.id),
        }))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Answer<v1::CreateTokenResponse> {
        let request = request.into_inner();
        let labels = request.labels.into_iter().collect();
        let token = self
            .app
            .service
            .create_token(request.ttl_seconds, request.max_uses, labels)
            .await;
        answer(token.map(|token| v1::CreateTokenResponse {
            token: Some(token_message(token.row)),
            secret: token.text,
            agent_address: self.app.agent_address.clone(),
        }))
    }

    async fn list_tokens(
        &self,
        _request: Request<v1::ListTokensRequest>,
    ) -> Answer<v1::ListTokensResponse> {
        let tokens = self.app.service.tokens().await;
        answer(tokens.map(|tokens| v1::ListTokensResponse {
            tokens: tokens.into_iter().map(token_message).collect(),
        }))
    }

    async fn delete_token(
        &self,
        request: Request<v1::DeleteTokenRequest>,
    ) -> Answer<v1::DeleteTokenResponse> {
        let result = self.app.service.delete_token(&request.get_ref().id).await;
        answer(result.map(|()| v1::DeleteTokenResponse {}))
    }

    async fn add_model(
        &self,
        request: Request<Streaming<v1::AddModelRequest>>,
    ) -> Answer<v1::AddModelResponse> {
        let parts = request.into_inner();
        models::add(&self.app, parts).await.map(Response::new)
    }

    async fn list_models(
        &self,
        _request: Request<v1::ListModelsRequest>,
    ) -> Answer<v1::ListModelsResponse> {
        let models = self.app.service.models();
        Ok(Response::new(v1::ListModelsResponse { models }))
    }

    async fn get_model(
        &self,
        request: Request<v1::GetModelRequest>,
    ) -> Answer<v1::GetModelResponse> {
        let model = self.app.service.model(&request.get_ref().name);
        answer(model.map(|model| v1::GetModelResponse { model: Some(model) }))
    }

    async fn delete_model(
        &self,
        request: Request<v1::DeleteModelRequest>,
    ) -> Answer<v1::DeleteModelResponse> {
        let result = self.app.service.delete_model(&request.get_ref().name).await;
        answer(result.map(|()| v1::DeleteModelResponse {}))
    }

    type WatchEventsStream = Items<v1::Event>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let events = self
            .app
            .service
            .events(request.get_ref())
            .await
            .map_err(|error| status(&error))?;
        let items = futures_util::stream::unfold(events, |mut events| async {
            let event = events.next().await?;
            Some((Ok(event), events))
        });
        Ok(self.stream(items))
    }

    type LogsStream = Items<v1::LogLine>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        let lines = self
            .app
            .logs
            .open(request.get_ref())
            .map_err(|error| status(&error))?;
        let items = futures_util::stream::unfold(lines, |mut lines| async {
            let batch = lines.next().await?;
            let batch: Vec<Result<v1::LogLine, ServiceError>> = batch.into_iter().map(Ok).collect();
            Some((futures_util::stream::iter(batch), lines))
        })
        .flatten();
        Ok(self.stream(items))
    }

    async fn dead_letters(
        &self,
        request: Request<v1::DeadLettersRequest>,
    ) -> Answer<v1::DeadLettersResponse> {
        let service = &self.app.service;
        answer(
            service
                .dead_letters()
                .ask(service, request.into_inner())
                .await,
        )
    }

    type TapFramesStream = Items<v1::TapFramesResponse>;

    async fn tap_frames(
        &self,
        request: Request<v1::TapFramesRequest>,
    ) -> Answer<Self::TapFramesStream> {
        let items = tap::open(&self.app, request.get_ref())?;
        let stop = self.app.tasks.token().clone();
        Ok(Response::new(until(stop, items)))
    }
}
