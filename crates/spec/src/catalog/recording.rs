//! The catalog's entries of `record` and `replay`.

use super::{Builtin, IN_ANY, OUT_FRAMES, Param, ParamDefault, ParamKind};
use crate::quantity::MAX_LONG_DURATION_MS;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

pub(super) const RECORD: Builtin = Builtin {
    name: "record",
    summary: "Writes every frame with its metadata to disk, as MCAP files: see recording.md.",
    inputs: &[IN_ANY],
    outputs: &[],
    params: &[
        Param {
            name: "path",
            kind: ParamKind::Text,
            required: true,
            default: ParamDefault::None,
            summary: "A folder on the device; it is made if it is missing. A relative path is in the \
                      node's own folder.",
        },
        Param {
            name: "keep",
            kind: ParamKind::Size {
                min: MIB,
                max: 100_000 * GIB,
            },
            required: false,
            default: ParamDefault::Text("10GiB"),
            summary: "Bytes kept; the oldest segments are removed to make room.",
        },
        Param {
            name: "keep_for",
            kind: ParamKind::Duration {
                min_ms: 1000,
                max_ms: MAX_LONG_DURATION_MS,
            },
            required: false,
            default: ParamDefault::None,
            summary: "Segments that are older are removed; without it, only `keep` counts.",
        },
        Param {
            name: "segment",
            kind: ParamKind::Size {
                min: 64 << 10,
                max: 64 * GIB,
            },
            required: false,
            default: ParamDefault::Text("256MiB"),
            summary: "A new file begins at this size, at a quarter of `keep` at the latest.",
        },
        Param {
            name: "segment_for",
            kind: ParamKind::Duration {
                min_ms: 1000,
                max_ms: MAX_LONG_DURATION_MS,
            },
            required: false,
            default: ParamDefault::Text("10m"),
            summary: "A new file begins after this time.",
        },
        Param {
            name: "sync",
            kind: ParamKind::Duration {
                min_ms: 0,
                max_ms: 60_000,
            },
            required: false,
            default: ParamDefault::Text("1s"),
            summary: "How much a power cut may cost: what was written is brought to the disk this \
                      often. `0s`: every frame, before it counts as delivered. A killed process costs \
                      nothing at any setting.",
        },
    ],
};

pub(super) const REPLAY: Builtin = Builtin {
    name: "replay",
    summary: "Sends the frames of a recording again: see recording.md.",
    inputs: &[],
    outputs: &[OUT_FRAMES],
    params: &[
        Param {
            name: "path",
            kind: ParamKind::Text,
            required: true,
            default: ParamDefault::None,
            summary: "The folder of a recording, or one of its files; found in the asset folders if it \
                      is named without a folder.",
        },
        Param {
            name: "speed",
            kind: ParamKind::Number {
                min: 0.0,
                max: 1000.0,
            },
            required: false,
            default: ParamDefault::Number(1.0),
            summary: "1: as recorded, 2: twice as fast, from 0.01. 0: as fast as durable links take it.",
        },
        Param {
            name: "loop",
            kind: ParamKind::Bool,
            required: false,
            default: ParamDefault::Bool(true),
            summary: "Whether it starts again at its end.",
        },
        Param {
            name: "retime",
            kind: ParamKind::Bool,
            required: false,
            default: ParamDefault::Bool(true),
            summary: "Whether frames count as captured now, so that they are not too old for \
                      `max_age`; the time in the recording is in the metadata then (`recorded_ns`).",
        },
        Param {
            name: "topics",
            kind: ParamKind::TextList,
            required: false,
            default: ParamDefault::None,
            summary: "Only frames of these producers, like `camera/out`; without it, all.",
        },
        Param {
            name: "from",
            kind: ParamKind::Duration {
                min_ms: 0,
                max_ms: MAX_LONG_DURATION_MS,
            },
            required: false,
            default: ParamDefault::None,
            summary: "Begin this long after the first frame of the recording.",
        },
        Param {
            name: "to",
            kind: ParamKind::Duration {
                min_ms: 1,
                max_ms: MAX_LONG_DURATION_MS,
            },
            required: false,
            default: ParamDefault::None,
            summary: "End this long after the first frame of the recording.",
        },
    ],
};
