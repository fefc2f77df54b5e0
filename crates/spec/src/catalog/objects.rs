//! The entries of `track` and `zones`: what is done with detections.

use super::{Builtin, Param, ParamDefault, ParamKind, Port};

/// Longest times of these nodes, milliseconds.
const MAX_MS: i64 = 60_000;

pub(super) const TRACK: Builtin = Builtin {
    name: "track",
    summary: "Gives detections numbers that stay with a thing from picture to picture (ByteTrack).",
    inputs: &[Port {
        name: "in",
        summary: "Frames with `detections` in their metadata.",
    }],
    outputs: &[Port {
        name: "out",
        summary: "The incoming frames, unchanged, with `tracks` in their metadata.",
    }],
    params: &[
        Param {
            name: "threshold",
            kind: ParamKind::Number { min: 0.0, max: 1.0 },
            required: false,
            default: ParamDefault::Number(0.5),
            summary: "Score from which a detection is sure. Less sure ones, down to 0.1, only keep \
                      tracks that there are; for that `detect` has to report them (`threshold: 0.1`). A \
                      new track needs 0.1 more.",
        },
        Param {
            name: "remember_ms",
            kind: ParamKind::Integer {
                min: 0,
                max: MAX_MS,
            },
            required: false,
            default: ParamDefault::Integer(1000),
            summary: "How long a thing that is hidden keeps its number.",
        },
    ],
};

pub(super) const ZONES: Builtin = Builtin {
    name: "zones",
    summary: "Counts things in areas of the picture, how long they stay, and those that cross lines.",
    inputs: &[Port {
        name: "in",
        summary: "Frames with `tracks` in their metadata.",
    }],
    outputs: &[Port {
        name: "out",
        summary: "The incoming frames, unchanged, with `zones` in their metadata.",
    }],
    params: &[
        Param {
            name: "zones",
            kind: ParamKind::Shapes {
                min_points: 3,
                max_points: 64,
            },
            required: false,
            default: ParamDefault::None,
            summary: "Areas by name, each a list of corners: `{door: [[0.4, 0], [0.6, 0], [0.6, 1], \
                      [0.4, 1]]}`. Points are shares of the picture's width and height, origin \
                      top-left. A thing is where the middle of the lower edge of its box is.",
        },
        Param {
            name: "lines",
            kind: ParamKind::Shapes {
                min_points: 2,
                max_points: 2,
            },
            required: false,
            default: ParamDefault::None,
            summary: "Lines by name, each two points. Forward is from the left of the line to its \
                      right, looking from its first point to its second.",
        },
        Param {
            name: "labels",
            kind: ParamKind::TextList,
            required: false,
            default: ParamDefault::None,
            summary: "Only things with these labels count; without it, all.",
        },
        Param {
            name: "settle_ms",
            kind: ParamKind::Integer {
                min: 0,
                max: MAX_MS,
            },
            required: false,
            default: ParamDefault::Integer(200),
            summary: "How long a thing has to be inside, or outside, before it counts, so that \
                      trembling at the border is no coming and going.",
        },
    ],
};
