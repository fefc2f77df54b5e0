//! A look at frames for people and programs: a viewer of a live view as a stream of messages. A frame
//! is asked for only when the caller has room for it.

use std::time::{SystemTime, UNIX_EPOCH};

use edgeflow_proto::v1::{self, tap_frames_response::Event};
use edgeflow_stream::{Frame, Limits};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Map, Value};
use tonic::Status;

use crate::{
    app::App,
    views::{Target, TargetError, Update, Viewer},
};

/// Bytes of metadata that are sent as JSON.
const MAX_META_JSON: usize = 1024 * 1024;

pub(super) fn open(
    app: &App,
    request: &v1::TapFramesRequest,
) -> Result<impl Stream<Item = Result<v1::TapFramesResponse, Status>> + Send + use<>, Status> {
    let v1::TapFramesRequest {
        system,
        node,
        device,
        port,
        payload,
    } = request;
    let target = app
        .views
        .find_port(system, node, port, device)
        .map_err(|error| refusal(&error))?;
    let viewer = app.views.open(&target).map_err(|error| refusal(&error))?;
    let opened = response(Event::Opened(opened(target)));
    let payload = *payload;
    let frames = stream::unfold(viewer, move |mut viewer| async move {
        let event = next(&mut viewer, payload).await;
        Some((response(event), viewer))
    });
    Ok(stream::iter([opened]).chain(frames).map(Ok))
}

fn response(event: Event) -> v1::TapFramesResponse {
    v1::TapFramesResponse { event: Some(event) }
}

fn opened(target: Target) -> v1::TapOpened {
    v1::TapOpened {
        device_name: target.device_name,
        instance: target.instance,
        port: target.port,
    }
}

fn refusal(error: &TargetError) -> Status {
    let text = error.to_string();
    match error {
        TargetError::NoOutput(_) | TargetError::NowhereRuns(_) => Status::failed_precondition(text),
        TargetError::TooMany(_) => Status::resource_exhausted(text),
        TargetError::NoSystem(_)
        | TargetError::NoNode { .. }
        | TargetError::NoPort { .. }
        | TargetError::NoDevice(_)
        | TargetError::NotOnDevice { .. } => Status::not_found(text),
    }
}

async fn next(viewer: &mut Viewer, payload: bool) -> Event {
    let problem = |reason: &str, message: String| {
        let reason = reason.to_owned();
        Event::Problem(v1::TapProblem { reason, message })
    };
    match viewer.next().await {
        Update::Problem(why) => problem(why.reason, why.message),
        Update::Picture(picture) => match Frame::decode(&picture.bytes, &Limits::default()) {
            Ok(frame) => Event::Frame(message(&frame, payload)),
            Err(error) => problem("damaged", format!("a frame can't be read: {error}")),
        },
    }
}

fn message(frame: &Frame, payload: bool) -> v1::TappedFrame {
    let header = &frame.header;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    v1::TappedFrame {
        stream_id: header.stream_id,
        epoch: header.epoch,
        seq: header.seq,
        capture_unix_ns: header.capture_ns,
        clock_error_us: header.clock_error_us,
        ttl_ms: header.ttl_ms,
        codec: header.codec.name().to_owned(),
        width: header.width.into(),
        height: header.height.into(),
        stride: header.stride,
        trace_id: hex(&header.trace_id),
        meta_json: meta_json(frame),
        payload_bytes: u32::try_from(frame.payload.len()).unwrap_or(u32::MAX),
        payload: if payload {
            frame.payload.to_vec()
        } else {
            Vec::new()
        },
        received_unix_ns: i64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX),
    }
}

/// The metadata as JSON. What has no JSON form (bytes, a node's own types) is null.
fn meta_json(frame: &Frame) -> String {
    let Ok(meta) = frame.read_meta() else {
        return "null".to_owned();
    };
    let mut map = Map::new();
    for key in meta.keys() {
        let value = meta.get::<Value>(key).ok().flatten();
        map.insert(key.to_owned(), value.unwrap_or_default());
    }
    let text = Value::Object(map).to_string();
    if text.len() > MAX_META_JSON {
        return "null".to_owned();
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use edgeflow_stream::{Detection, Meta};

    use super::*;

    #[test]
    fn metadata_becomes_json_with_nulls_for_what_has_no_form() {
        let mut meta = Meta::new();
        let detection = Detection {
            label: "cup".to_owned(),
            score: 0.5,
            ..Detection::default()
        };
        meta.set_detections(&[detection]).unwrap();
        meta.set("zones", &[1, 2]).unwrap();
        let mut frame = Frame::jpeg(4, 2, vec![1, 2, 3]);
        frame.set_meta(&meta);
        let message = message(&frame, false);
        let json: Value = serde_json::from_str(&message.meta_json).unwrap();
        assert_eq!(json["detections"][0]["label"], "cup");
        assert_eq!(json["zones"], serde_json::json!([1, 2]));
        assert_eq!((message.payload_bytes, message.payload.len()), (3, 0));
        // A map whose value is a MessagePack binary.
        frame.meta = vec![0x81, 0xa1, b'b', 0xc4, 1, 7].into();
        assert_eq!(meta_json(&frame), r#"{"b":null}"#);
        frame.meta = vec![0xc1].into();
        assert_eq!(meta_json(&frame), "null");
    }
}
