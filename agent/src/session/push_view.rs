//! Sends the frames of one live view to the control plane, each on a credit.

use std::{sync::Arc, time::Duration};

use edgeflow_proto::v1::{
    PushCredit, PushFrame, StartView, stream_service_client::StreamServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{Context, dial};
use crate::views::{Output, Tap};

/// The first message and one picture or reason.
const MESSAGES_WAITING: usize = 2;
/// Time for the last message to arrive.
const DELIVERY: Duration = Duration::from_secs(5);

/// Runs until the control plane ends the view or it is dropped.
pub(super) async fn run(context: Arc<Context>, bulk: Channel, id: String, view: StartView) {
    context.metrics.views.inc();
    let guard = scopeguard(&context);
    if let Err(status) = push(&context, bulk, id, view).await {
        tracing::debug!(reason = dial::words(&status), "live view ended");
    }
    drop(guard);
}

/// Counts the view off even when its task is aborted.
fn scopeguard(context: &Arc<Context>) -> impl Drop + use<> {
    struct Guard(Arc<Context>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.metrics.views.dec();
        }
    }
    Guard(Arc::clone(context))
}

async fn push(context: &Context, bulk: Channel, id: String, view: StartView) -> Result<(), Status> {
    let (out, queue) = mpsc::channel(MESSAGES_WAITING);
    let first = PushFrame {
        command_id: id.clone(),
        ..PushFrame::default()
    };
    // The queue is new and has room.
    let _ = out.try_send(first);
    let credits = StreamServiceClient::new(bulk)
        .push(ReceiverStream::new(queue))
        .await?
        .into_inner();
    let tap = Tap::start(
        &context.paths,
        &context.board,
        &id,
        &view.instance,
        &view.port,
    );
    let mut credits = credits;
    match tap {
        Ok(mut tap) => relay(&mut credits, &mut tap, &out).await?,
        Err(error) => {
            let error = PushFrame {
                error: error.to_string(),
                ..PushFrame::default()
            };
            // Nobody is left to be told when this fails.
            let _ = out.send(error).await;
        }
    }
    drop(out);
    // Leaving at once would cancel the call together with what is still on its way.
    let rest = async { while let Ok(Some(_)) = credits.message().await {} };
    let _ = tokio::time::timeout(DELIVERY, rest).await;
    Ok(())
}

async fn relay(
    credits: &mut Streaming<PushCredit>,
    tap: &mut Tap,
    out: &mpsc::Sender<PushFrame>,
) -> Result<(), Status> {
    loop {
        tokio::select! {
            credit = credits.message() => match credit? {
                Some(credit) => tap.grant(credit.frames),
                None => return Ok(()),
            },
            output = tap.next() => {
                let message = match output {
                    Some(Output::Frame(frame)) => PushFrame { frame: frame.into(), ..PushFrame::default() },
                    Some(Output::NoSignal(error)) => PushFrame { error, ..PushFrame::default() },
                    None => return Ok(()),
                };
                if out.send(message).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
