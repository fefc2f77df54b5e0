//! The catalog's entry of `camera`.

use std::borrow::Cow;

use super::{Builtin, OUT_FRAMES, Param, ParamDefault, ParamKind, Port};

pub(super) const CAMERA: Builtin = Builtin {
    name: "camera",
    summary: "Pictures of a camera that speaks Video4Linux: USB webcams, capture cards and what else \
              is under `/dev/video*`.",
    inputs: &[],
    outputs: &[
        OUT_FRAMES,
        Port {
            name: "raw",
            summary: "The camera's pixels as they are: nv12, yuyv, rgb8 or grey8. While it is linked, \
                      the camera is not asked for JPEG.",
        },
    ],
    params: &[
        Param {
            name: "device",
            kind: ParamKind::Text,
            required: false,
            default: ParamDefault::Text("auto"),
            summary: "Which camera: `auto` (the first one that works), a path (`/dev/video0`, \
                      `by-id/…`, `by-path/…`), or its serial number, its bus or a part of its name. \
                      `edgeflow get cameras` lists them. Once found, a camera is followed by what it \
                      is, whatever number it comes back under.",
        },
        Param {
            name: "size",
            kind: ParamKind::Resolution,
            required: false,
            default: ParamDefault::None,
            summary: "Picture size. The nearest that the camera has is taken, and the difference is \
                      shown; without it, what is nearest to 1280x720.",
        },
        Param {
            name: "fps",
            kind: ParamKind::Number {
                min: 0.1,
                max: 240.0,
            },
            required: false,
            default: ParamDefault::None,
            summary: "Frames per second, likewise; without it, what is nearest to 30. Of a camera that can't \
                      be that slow, pictures are left out.",
        },
        Param {
            name: "format",
            kind: ParamKind::Choice {
                options: Cow::Borrowed(&[
                    Cow::Borrowed("auto"),
                    Cow::Borrowed("mjpeg"),
                    Cow::Borrowed("nv12"),
                    Cow::Borrowed("yuyv"),
                    Cow::Borrowed("rgb24"),
                    Cow::Borrowed("grey"),
                ]),
            },
            required: false,
            default: ParamDefault::Text("auto"),
            summary: "What the camera delivers. `auto`: what has the size and rate at the least cost. \
                      Only `mjpeg` goes out untouched; the others become JPEG while somebody takes \
                      `out`.",
        },
        Param {
            name: "quality",
            kind: ParamKind::Integer { min: 1, max: 100 },
            required: false,
            default: ParamDefault::Integer(80),
            summary: "JPEG quality where pixels become JPEG.",
        },
        Param {
            name: "controls",
            kind: ParamKind::NumberMap {
                min: -2_147_483_648.0,
                max: 2_147_483_647.0,
            },
            required: false,
            default: ParamDefault::None,
            summary: "Settings of the camera by the driver's names, like `{brightness: 140, \
                      auto_exposure: 1, exposure: 200}`. `edgeflow get cameras -o yaml` lists them \
                      with their ranges; switches are 0 and 1.",
        },
    ],
};
