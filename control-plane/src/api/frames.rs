//! Bulk streams from agents: frames of live views and log lines. Never on the session's stream.

use std::{pin::Pin, sync::Arc, time::Duration};

use edgeflow_proto::v1::{
    self, log_service_server::LogService, stream_service_server::StreamService,
};
use futures_util::{Stream, StreamExt};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::device;
use crate::app::App;

/// Time for the first message, which names the request.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Credits on their way to an agent; there is never more than one.
const CREDIT_QUEUE: usize = 2;

pub(super) struct Bulk {
    app: Arc<App>,
}

impl Bulk {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

async fn first<T>(stream: &mut Streaming<T>) -> Result<T, Status> {
    match timeout(FIRST_MESSAGE_TIMEOUT, stream.next()).await {
        Ok(Some(message)) => message,
        Ok(None) => Err(Status::invalid_argument(
            "the stream ended without a message",
        )),
        Err(_) => Err(Status::deadline_exceeded("no message came")),
    }
}

fn nobody() -> Status {
    Status::not_found("nobody waits for this stream any more")
}

#[tonic::async_trait]
impl StreamService for Bulk {
    type PushStream = Pin<Box<dyn Stream<Item = Result<v1::PushCredit, Status>> + Send>>;

    async fn push(
        &self,
        request: Request<Streaming<v1::PushFrame>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let device = device(&self.app, &request)?;
        let id = device.row.id.clone();
        let app = Arc::clone(&self.app);
        let trust = app.service.fleet().trust(&id);
        let (credits, receiver) = mpsc::channel(CREDIT_QUEUE);
        let (ended, result) = tokio::sync::oneshot::channel();
        self.app.tasks.spawn("frames", async move {
            let mut inbound = request.into_inner();
            let work = async {
                let first = first(&mut inbound).await?;
                let push = app
                    .views
                    .attach(&first.command_id, &id)
                    .ok_or_else(nobody)?;
                // The first message may already say why there is no picture.
                let rest = futures_util::stream::iter([Ok(first)]).chain(inbound);
                push.run(Box::pin(rest), credits).await;
                Ok::<(), Status>(())
            };
            tokio::select! {
                outcome = work => if let Err(error) = outcome {
                    // The agent may be gone already.
                    let _ = ended.send(error);
                },
                () = trust.cancelled() => {}
            }
        });
        let last =
            futures_util::stream::once(result).filter_map(|result| async { result.ok().map(Err) });
        let stream = ReceiverStream::new(receiver).map(Ok).chain(last);
        Ok(Response::new(Box::pin(stream)))
    }
}

#[tonic::async_trait]
impl LogService for Bulk {
    async fn push(
        &self,
        request: Request<Streaming<v1::PushLogs>>,
    ) -> Result<Response<v1::PushLogsResponse>, Status> {
        let device = device(&self.app, &request)?;
        let trust = self.app.service.fleet().trust(&device.row.id);
        let stop = self.app.tasks.token().clone();
        let mut inbound = request.into_inner();
        let work = async {
            let first = first(&mut inbound).await?;
            if self.app.logs.receive(&device.row.id, first, inbound).await {
                Ok(Response::new(v1::PushLogsResponse {}))
            } else {
                Err(nobody())
            }
        };
        tokio::select! {
            outcome = work => outcome,
            () = trust.cancelled() => Err(Status::unauthenticated("the device was removed")),
            () = stop.cancelled() => Err(Status::unavailable("the control plane stops")),
        }
    }
}
