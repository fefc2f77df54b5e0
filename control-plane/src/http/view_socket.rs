//! `/ws/view`: many live views over one socket. One credit a tile: a frame is sent when the
//! browser has drawn the one before, and is the newest at that time.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    app::App,
    views::{Outage, TargetError, Update, Viewer},
};

/// Tiles of one socket.
const MAX_TILES: usize = 64;
/// Messages that wait for the socket. Credits keep it to about one a tile.
const OUT_QUEUE: usize = 8;
/// Biggest message of a browser.
const MAX_REQUEST_BYTES: usize = 4096;

/// What a browser says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Ask {
    Open {
        tile: u32,
        system: String,
        node: String,
        #[serde(default)]
        device: String,
    },
    Credit {
        tile: u32,
    },
    Close {
        tile: u32,
    },
}

/// What a browser is told besides frames.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Tell<'a> {
    Open {
        tile: u32,
        device: &'a str,
    },
    Error {
        tile: u32,
        reason: &'a str,
        message: &'a str,
        #[serde(flatten)]
        outage: Option<Outage>,
    },
}

struct Tile {
    credit: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

pub(super) async fn upgrade(State(app): State<Arc<App>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_REQUEST_BYTES)
        .on_upgrade(move |socket| serve(app, socket))
}

async fn serve(app: Arc<App>, socket: WebSocket) {
    let (mut sink, mut source) = socket.split();
    let (out, mut queue) = mpsc::channel::<Message>(OUT_QUEUE);
    let mut tiles: HashMap<u32, Tile> = HashMap::new();
    let stop = app.tasks.token().clone();
    let write = async {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(ask) => handle(&app, &mut tiles, &out, ask).await,
                    Err(error) => {
                        let message = format!("the request can't be read: {error}");
                        refuse(&out, 0, "request", &message).await;
                    }
                },
                Message::Close(_) => return,
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {}
            }
        }
    };
    // Whoever ends first ends all; the tiles leave their views when they are dropped.
    tokio::select! {
        () = write => {}
        () = read => {}
        () = stop.cancelled() => {}
    }
}

async fn handle(
    app: &Arc<App>,
    tiles: &mut HashMap<u32, Tile>,
    out: &mpsc::Sender<Message>,
    ask: Ask,
) {
    match ask {
        Ask::Credit { tile } => {
            if let Some(tile) = tiles.get(&tile) {
                // Credits beyond one are one.
                tile.credit.notify_one();
            }
        }
        Ask::Close { tile } => {
            tiles.remove(&tile);
        }
        Ask::Open {
            tile,
            system,
            node,
            device,
        } => {
            tiles.remove(&tile);
            if tiles.len() >= MAX_TILES {
                let message = format!("one page shows {MAX_TILES} live views at most");
                return refuse(out, tile, "limit", &message).await;
            }
            match open(app, out, tile, [&system, &node, &device]).await {
                Ok(opened) => {
                    tiles.insert(tile, opened);
                }
                Err(error) => refuse(out, tile, "not_found", &error.to_string()).await,
            }
        }
    }
}

async fn open(
    app: &App,
    out: &mpsc::Sender<Message>,
    tile: u32,
    [system, node, device]: [&str; 3],
) -> Result<Tile, TargetError> {
    let target = app.views.find(system, node, device)?;
    let viewer = app.views.open(&target)?;
    let device = &target.device_name;
    tell(out, &Tell::Open { tile, device }).await;
    let credit = Arc::new(Notify::new());
    // An opened tile is empty: it has room for its first frame.
    credit.notify_one();
    let task = tokio::spawn(feed(tile, viewer, Arc::clone(&credit), out.clone()));
    Ok(Tile {
        credit,
        _task: AbortOnDropHandle::new(task),
    })
}

async fn refuse(out: &mpsc::Sender<Message>, tile: u32, reason: &str, message: &str) {
    let outage = None;
    let told = Tell::Error {
        tile,
        reason,
        message,
        outage,
    };
    tell(out, &told).await;
}

async fn feed(tile: u32, mut viewer: Viewer, credit: Arc<Notify>, out: mpsc::Sender<Message>) {
    loop {
        credit.notified().await;
        loop {
            match viewer.next().await {
                Update::Picture(picture) => {
                    if out.send(frame_message(tile, &picture.bytes)).await.is_err() {
                        return;
                    }
                    break;
                }
                Update::Problem(problem) => {
                    let told = Tell::Error {
                        tile,
                        reason: problem.reason,
                        message: &problem.message,
                        outage: problem.outage,
                    };
                    tell(&out, &told).await;
                }
            }
        }
    }
}

fn frame_message(tile: u32, frame: &Bytes) -> Message {
    let mut out = BytesMut::with_capacity(4 + frame.len());
    out.put_u32_le(tile);
    out.put_slice(frame);
    Message::Binary(out.freeze())
}

async fn tell(out: &mpsc::Sender<Message>, message: &Tell<'_>) {
    // Plain strings and numbers always serialise; a socket that is gone needs no answer.
    let text = serde_json::to_string(message).unwrap_or_default();
    let _ = out.send(Message::Text(text.into())).await;
}
