//! Live video for everything that is not the dashboard: MJPEG and single pictures.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use edgeflow_stream::Codec;
use tokio::time::timeout;

use crate::{
    app::App,
    views::{Picture, TargetError, Update, Viewer},
};

/// Time for the first frame.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(5);
const BOUNDARY: &str = "edgeflow-frame";

#[derive(serde::Deserialize)]
pub(super) struct Where {
    #[serde(default)]
    device: String,
}

/// `GET /video/{system}/{node}?device=`: MJPEG until the client leaves. Each frame is the newest
/// one at the time when the client has taken the one before.
pub(super) async fn video(
    State(app): State<Arc<App>>,
    Path((system, node)): Path<(String, String)>,
    Query(place): Query<Where>,
) -> Response {
    let (viewer, first) = match begin(&app, &system, &node, &place.device).await {
        Ok(begun) => begun,
        Err(response) => return response,
    };
    let stop = app.tasks.token().clone();
    let frames = futures_util::stream::unfold((viewer, Some(first)), move |(mut viewer, first)| {
        let stop = stop.clone();
        async move {
            let payload = match first {
                Some(payload) => payload,
                None => tokio::select! {
                    payload = next_jpeg(&mut viewer) => payload,
                    () = stop.cancelled() => return None,
                },
            };
            Some((
                Ok::<_, std::convert::Infallible>(part(&payload)),
                (viewer, None),
            ))
        }
    });
    let mime = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    (
        [
            (header::CONTENT_TYPE, mime),
            (header::CACHE_CONTROL, "no-store".to_owned()),
        ],
        Body::from_stream(frames),
    )
        .into_response()
}

/// `GET /snapshot/{system}/{node}.jpg?device=`: the next frame.
pub(super) async fn snapshot(
    State(app): State<Arc<App>>,
    Path((system, file)): Path<(String, String)>,
    Query(place): Query<Where>,
) -> Response {
    let Some(node) = file.strip_suffix(".jpg") else {
        return (
            StatusCode::NOT_FOUND,
            "a snapshot's address ends in .jpg: /snapshot/SYSTEM/NODE.jpg\n",
        )
            .into_response();
    };
    match begin(&app, &system, node, &place.device).await {
        Ok((_, payload)) => (
            [
                (header::CONTENT_TYPE, "image/jpeg"),
                (header::CACHE_CONTROL, "no-store"),
            ],
            payload,
        )
            .into_response(),
        Err(response) => response,
    }
}

/// `GET /events/{id}/picture`: the picture of an event.
pub(super) async fn event_picture(State(app): State<Arc<App>>, Path(id): Path<u64>) -> Response {
    match app.service.store().event_picture(id).await {
        Ok(Some(jpeg)) => (
            [
                (header::CONTENT_TYPE, "image/jpeg"),
                // An event never changes.
                (header::CACHE_CONTROL, "private, max-age=86400, immutable"),
            ],
            jpeg,
        )
            .into_response(),
        Ok(None) => (
            StatusCode::NOT_FOUND,
            "the event has no picture, or it was too long ago\n",
        )
            .into_response(),
        Err(error) => super::error_response(&error.into()),
    }
}

async fn begin(
    app: &App,
    system: &str,
    node: &str,
    device: &str,
) -> Result<(Viewer, Bytes), Response> {
    let mut viewer = app
        .views
        .find(system, node, device)
        .and_then(|target| app.views.open(&target))
        .map_err(|error| {
            let code = match error {
                TargetError::TooMany(_) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::NOT_FOUND,
            };
            (code, format!("{error}\n")).into_response()
        })?;
    let mut reason = "no frame came in time".to_owned();
    let first = async {
        loop {
            match viewer.next().await {
                Update::Picture(picture) => return jpeg(picture),
                // It may pass: a node that restarts is back in a second.
                Update::Problem(problem) => reason = problem.message,
            }
        }
    };
    match timeout(FIRST_FRAME_TIMEOUT, first).await {
        Ok(Ok(payload)) => Ok((viewer, payload)),
        Ok(Err(text)) => Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response()),
        Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()),
    }
}

async fn next_jpeg(viewer: &mut Viewer) -> Bytes {
    loop {
        // A client of MJPEG can't be told why there is no picture; the last one stays.
        if let Update::Picture(picture) = viewer.next().await
            && let Ok(payload) = jpeg(picture)
        {
            return payload;
        }
    }
}

fn jpeg(picture: Picture) -> Result<Bytes, String> {
    if picture.codec == Codec::Jpeg {
        Ok(picture.payload)
    } else {
        Err(format!(
            "the node sends {}, and only JPEG can be shown here\n",
            picture.codec.name()
        ))
    }
}

fn part(payload: &Bytes) -> Bytes {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    );
    let mut out = Vec::with_capacity(head.len() + payload.len() + 2);
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
    out.into()
}
