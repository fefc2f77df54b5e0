//! Sends log lines to the control plane: the past ones, then new ones while it asks for them.

use std::sync::Arc;

use edgeflow_proto::v1::{PushLogs, StartLogs, log_service_client::LogServiceClient};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{Context, convert, dial};
use crate::logs::{Answer, Line, Query};

const BATCH_LINES: usize = 200;
const BATCH_BYTES: usize = 256 * 1024;
const BATCHES_WAITING: usize = 2;
const DEFAULT_TAIL: usize = 200;

/// Runs until everything is sent or, following, until it is dropped.
pub(super) async fn run(context: Arc<Context>, bulk: Channel, id: String, ask: StartLogs) {
    let (out, queue) = mpsc::channel(BATCHES_WAITING);
    let mut client = LogServiceClient::new(bulk);
    let pushed = client.push(ReceiverStream::new(queue));
    let (result, ()) = tokio::join!(pushed, feed(&context, out, id, ask));
    if let Err(status) = result {
        tracing::debug!(reason = dial::words(&status), "log push ended");
    }
}

async fn feed(context: &Context, out: mpsc::Sender<PushLogs>, id: String, ask: StartLogs) {
    let first = PushLogs {
        command_id: id,
        ..PushLogs::default()
    };
    if out.send(first).await.is_err() {
        return;
    }
    let instances = if ask.instances.is_empty() {
        context.board.ids_of(&ask.system, &ask.node)
    } else {
        ask.instances
            .iter()
            .filter(|id| context.board.get(id).is_some())
            .cloned()
            .collect()
    };
    let query = Query {
        instances,
        tail: match ask.tail {
            0 => DEFAULT_TAIL,
            tail => tail as usize,
        },
        since_unix_ms: ask.since_unix_ms,
        follow: ask.follow,
    };
    let Some(Answer { lines, follow }) = context.logs.read(query).await else {
        return;
    };
    let mut batch = Batch::default();
    for line in &lines {
        batch.add(line);
        if batch.is_full() && out.send(batch.take()).await.is_err() {
            return;
        }
    }
    if !batch.is_empty() && out.send(batch.take()).await.is_err() {
        return;
    }
    if let Some(follow) = follow {
        follow_on(follow, &ask, &out).await;
    }
}

async fn follow_on(
    mut follow: broadcast::Receiver<Arc<Line>>,
    ask: &StartLogs,
    out: &mpsc::Sender<PushLogs>,
) {
    let mut batch = Batch::default();
    loop {
        let received = tokio::select! {
            received = follow.recv() => received,
            () = out.closed() => return,
        };
        let mut next = Some(received);
        while let Some(received) = next.take() {
            match received {
                Ok(line) if wanted(ask, &line) => batch.add(&line),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(lines)) => batch.dropped += lines,
                Err(broadcast::error::RecvError::Closed) => return,
            }
            if !batch.is_full() {
                next = match follow.try_recv() {
                    Ok(line) => Some(Ok(line)),
                    Err(broadcast::error::TryRecvError::Lagged(lines)) => {
                        Some(Err(broadcast::error::RecvError::Lagged(lines)))
                    }
                    Err(_) => None,
                };
            }
        }
        if !batch.is_empty() && out.send(batch.take()).await.is_err() {
            return;
        }
    }
}

fn wanted(ask: &StartLogs, line: &Line) -> bool {
    if !ask.instances.is_empty() {
        return ask.instances.iter().any(|id| **id == *line.instance);
    }
    let (system, node) = convert::split_id(&line.instance);
    system == ask.system && (ask.node.is_empty() || node == ask.node)
}

#[derive(Default)]
struct Batch {
    lines: Vec<edgeflow_proto::v1::LogLine>,
    bytes: usize,
    dropped: u64,
}

impl Batch {
    fn add(&mut self, line: &Line) {
        self.bytes += line.text.len();
        self.lines.push(convert::log_line(line));
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= BATCH_LINES || self.bytes >= BATCH_BYTES
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }

    fn take(&mut self) -> PushLogs {
        let taken = std::mem::take(self);
        PushLogs {
            command_id: String::new(),
            lines: taken.lines,
            dropped: taken.dropped,
        }
    }
}
