//! Enrolment and sessions.

use std::{pin::Pin, sync::Arc};

use edgeflow_proto::v1::{
    self, agent_service_server::AgentService, enrollment_service_server::EnrollmentService,
};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{device, error::session_status, peer, status};
use crate::{app::App, fleet::run_session, service::EnrollmentRequest};

/// Messages on their way to an agent.
const SESSION_QUEUE: usize = 16;

pub(super) struct Agents {
    app: Arc<App>,
}

impl Agents {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl EnrollmentService for Agents {
    async fn enroll(
        &self,
        request: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollResponse>, Status> {
        let request = request.into_inner();
        let enrolled = self
            .app
            .service
            .enroll(EnrollmentRequest {
                token_id: request.token_id,
                token_secret: request.token_secret,
                csr_der: request.csr_der,
                name: request.name,
                labels: request.labels.into_iter().collect(),
                facts: request.facts.unwrap_or_default(),
            })
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(v1::EnrollResponse {
            device_id: enrolled.device_id,
            name: enrolled.name,
            certificate_pem: enrolled.certificate_pem,
            ca_bundle_pem: self.app.service.authority().pem().to_owned(),
        }))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let peer = peer(&request)?.clone();
        let certificate_pem = self
            .app
            .service
            .renew(&peer, &request.get_ref().csr_der)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(v1::RenewResponse {
            certificate_pem,
            ca_bundle_pem: self.app.service.authority().pem().to_owned(),
        }))
    }
}

#[tonic::async_trait]
impl AgentService for Agents {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::ControlMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let device = device(&self.app, &request)?;
        let service = Arc::clone(&self.app.service);
        let traces = Arc::clone(&self.app.traces);
        let stop = self.app.tasks.token().clone();
        let (sender, receiver) = mpsc::channel(SESSION_QUEUE);
        let (ended, result) = tokio::sync::oneshot::channel();
        self.app.tasks.spawn_graceful("session", async move {
            let run = run_session(
                service,
                traces,
                &device.row.id,
                request.into_inner(),
                sender,
            );
            let outcome = tokio::select! {
                outcome = run => outcome,
                // The store closes next: a stop is not an event of the device.
                () = stop.cancelled() => return,
            };
            if let Err(error) = outcome {
                // The agent may be gone already.
                let _ = ended.send(session_status(&error));
            }
        });
        // What was sent, then why it ended.
        let last =
            futures_util::stream::once(result).filter_map(|result| async { result.ok().map(Err) });
        let messages = ReceiverStream::new(receiver).map(Ok).chain(last);
        Ok(Response::new(Box::pin(messages)))
    }
}
