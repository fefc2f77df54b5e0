//! Models on their way in, from people, and out, to agents.

use std::{pin::Pin, sync::Arc, time::Duration};

use edgeflow_proto::v1::{self, add_model_request::Part, artifact_service_server::ArtifactService};
use futures_util::Stream;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::{device, status};
use crate::{
    app::App,
    artifacts::Outgoing,
    service::{Adding, ServiceError},
};

/// A sender that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) async fn add(
    app: &App,
    mut parts: Streaming<v1::AddModelRequest>,
) -> Result<v1::AddModelResponse, Status> {
    let Some(Part::Model(model)) = next(&mut parts).await? else {
        return Err(Status::invalid_argument(
            "the first message has to describe the model",
        ));
    };
    let service = &app.service;
    let failed = |error: ServiceError| status(&error);
    let (row, unchanged) = match service.begin_model(model).await.map_err(failed)? {
        Adding::There(row) => (row, true),
        Adding::Known(row) => (row, false),
        Adding::Expected(row, mut incoming) => {
            while let Some(part) = next(&mut parts).await? {
                let Part::Piece(piece) = part else {
                    return Err(Status::invalid_argument("a model is described once"));
                };
                let written = incoming.write(&piece).await;
                written.map_err(|error| failed(error.into()))?;
            }
            let kept = incoming.keep().await;
            kept.map_err(|error| failed(error.into()))?;
            (row, false)
        }
    };
    let row = match unchanged {
        true => row,
        false => service.add_model(row).await.map_err(failed)?,
    };
    let model = service.model(&row.name).map_err(failed)?;
    Ok(v1::AddModelResponse {
        model: Some(model),
        unchanged,
    })
}

async fn next(parts: &mut Streaming<v1::AddModelRequest>) -> Result<Option<Part>, Status> {
    let silent = |_| Status::deadline_exceeded("nothing came for a minute; send the model again");
    let message = timeout(SILENCE, parts.message()).await.map_err(silent)??;
    Ok(message.and_then(|message| message.part))
}

/// Files for agents.
pub(super) struct Files {
    app: Arc<App>,
}

impl Files {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl ArtifactService for Files {
    type FetchStream = Pin<Box<dyn Stream<Item = Result<v1::FetchResponse, Status>> + Send>>;

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let device = device(&self.app, &request)?;
        let ask = request.get_ref();
        let service = &self.app.service;
        let file = service.model_file(&device.row.id, &ask.sha256, ask.offset);
        let file = file.await.map_err(|error| status(&error))?;
        let stop = self.app.tasks.token().clone();
        let pieces = futures_util::stream::unfold(Some(file), |file| async {
            let mut file: Outgoing = file?;
            match file.next().await {
                Ok(piece) => Some((Ok(v1::FetchResponse { piece: piece? }), Some(file))),
                Err(error) => {
                    let status = Status::unavailable(format!("the file can't be read: {error}"));
                    Some((Err(status), None))
                }
            }
        });
        let pieces = futures_util::StreamExt::take_until(pieces, stop.cancelled_owned());
        Ok(Response::new(Box::pin(pieces)))
    }
}
