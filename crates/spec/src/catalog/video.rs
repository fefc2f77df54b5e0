//! The catalog's entry of `video`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Builtin, OUT_FRAMES, Param, ParamDefault, ParamKind};

pub(super) const VIDEO: Builtin = Builtin {
    name: "video",
    summary: "Frames of a clip, of a network stream, or of a program that delivers JPEGs.",
    inputs: &[],
    outputs: &[OUT_FRAMES],
    params: &[
        Param {
            name: "source",
            kind: ParamKind::Text,
            required: false,
            default: ParamDefault::None,
            summary: "A clip (`.avi` with MJPEG, `.mjpeg`), found in the asset folders if it is named \
                      without a folder. Anything else (`rtsp://…`, `http://…`, `udp://…`, `.mp4`) is \
                      read through `ffmpeg`, which has to be installed on the device. Either this or \
                      `command`.",
        },
        Param {
            name: "command",
            kind: ParamKind::TextList,
            required: false,
            default: ParamDefault::None,
            summary: "A program on the device, with its arguments, that writes JPEGs to its standard \
                      output: `[rpicam-vid, -t, \"0\", --codec, mjpeg, -o, \"-\"]`.",
        },
        Param {
            name: "password_file",
            kind: ParamKind::Text,
            required: false,
            default: ParamDefault::None,
            summary: "A file on the device whose first line is the password of the user that `source` \
                      names (`rtsp://admin@camera/stream`).",
        },
        Param {
            name: "loop",
            kind: ParamKind::Bool,
            required: false,
            default: ParamDefault::Bool(true),
            summary: "Whether a clip starts again at its end.",
        },
        Param {
            name: "fps",
            kind: ParamKind::Number {
                min: 0.1,
                max: 240.0,
            },
            required: false,
            default: ParamDefault::None,
            summary: "Frames per second; without it, the source's own rate. Not for `command`.",
        },
        Param {
            name: "decoder",
            kind: ParamKind::Choice {
                options: Cow::Borrowed(&[
                    Cow::Borrowed("software"),
                    Cow::Borrowed("cuda"),
                    Cow::Borrowed("vaapi"),
                    Cow::Borrowed("v4l2-h264"),
                    Cow::Borrowed("v4l2-hevc"),
                ]),
            },
            required: false,
            default: ParamDefault::Text("software"),
            summary: "What decodes compressed video: the processor, NVIDIA's decoder, VA-API, or a \
                      V4L2 memory-to-memory decoder for H.264 or H.265. The device's `ffmpeg` has to \
                      have it.",
        },
        Param {
            name: "low_latency",
            kind: ParamKind::Bool,
            required: false,
            default: ParamDefault::Bool(true),
            summary: "Streams: no buffering before decoding. `false` helps where packets come late or \
                      in a wrong order.",
        },
        Param {
            name: "rtsp_transport",
            kind: ParamKind::Choice {
                options: Cow::Borrowed(&[Cow::Borrowed("tcp"), Cow::Borrowed("udp")]),
            },
            required: false,
            default: ParamDefault::Text("tcp"),
            summary: "What carries the pictures of `rtsp://` sources. `udp` is for cameras that know \
                      nothing else: pictures may be lost or broken.",
        },
    ],
};

/// Whether it reads from something that does not wait.
pub(super) fn is_live(with: &Map<String, Value>) -> bool {
    let source = with.get("source").and_then(Value::as_str);
    with.contains_key("command")
        || source.is_some_and(|source| source.starts_with("/dev/") || source.contains("://"))
}
