//! Fetches models from the control plane, one after the other, while there is a session. What was cut
//! off goes on where it was.

use std::time::Duration;

use edgeflow_proto::v1::{FetchRequest, artifact_service_client::ArtifactServiceClient};
use edgeflow_spec::assignment::Model;
use tokio::time::timeout;
use tonic::{Status, transport::Channel};

use super::{Context, dial};
use crate::models::{Arrived, blocking};

/// A control plane that is silent for so long has gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Biggest piece.
const MAX_PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Runs until it is dropped. `bulk` is a connection of its own, so that the session stays quick.
pub(super) async fn run(context: &Context, bulk: Channel) {
    let mut client = ArtifactServiceClient::new(bulk).max_decoding_message_size(MAX_PIECE_BYTES);
    loop {
        let (name, model) = context.models.next_missing().await;
        let mut some_came = false;
        let fetched = fetch(context, &mut client, (&name, &model), &mut some_came);
        if let Err(trouble) = fetched.await {
            context.models.failed(&name, &trouble, some_came);
        }
    }
}

async fn fetch(
    context: &Context,
    client: &mut ArtifactServiceClient<Channel>,
    (name, model): (&str, &Model),
    some_came: &mut bool,
) -> Result<(), String> {
    let models = &context.models;
    let incoming = models.receive(model).await;
    let mut incoming = incoming.map_err(|error| error.to_string())?;
    let request = FetchRequest {
        sha256: model.sha256.clone(),
        offset: incoming.arrived(),
    };
    let silent = |_| "the control plane does not send it".to_owned();
    let words = |status: Status| dial::words(&status);
    let asked = timeout(SILENCE, client.fetch(request)).await;
    let mut pieces = asked.map_err(silent)?.map_err(words)?.into_inner();
    loop {
        if !models.progress(name, model, incoming.arrived()) {
            return Ok(());
        }
        let message = timeout(SILENCE, pieces.message()).await;
        let Some(message) = message.map_err(silent)?.map_err(words)? else {
            return Err("the control plane ended before it was whole".to_owned());
        };
        let taken = blocking(move || incoming.take(&message.piece)).await;
        let taken = taken.map_err(|error| {
            // A wrong file or a full disk is no better in a second.
            *some_came = false;
            error.to_string()
        });
        incoming = match taken? {
            Arrived::Part(incoming) => {
                *some_came = true;
                incoming
            }
            Arrived::Whole(path) => {
                models.arrived(name, model, path);
                return Ok(());
            }
        };
    }
}
