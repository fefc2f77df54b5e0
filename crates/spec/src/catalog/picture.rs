//! The catalog's entries of the nodes that change pictures: `redact` and `draw`.

use std::borrow::Cow;

use super::{Builtin, Param, ParamDefault, ParamKind, Port};

const QUALITY: Param = Param {
    name: "quality",
    kind: ParamKind::Integer { min: 1, max: 100 },
    required: false,
    default: ParamDefault::Integer(80),
    summary: "JPEG quality of what goes out.",
};

const IN: Port = Port {
    name: "in",
    summary: "Pictures, JPEG or raw pixels, with `tracks` or `detections` in their metadata.",
};

pub(super) const REDACT: Builtin = Builtin {
    name: "redact",
    summary: "Makes what was found in a picture unrecognisable. Frames that nobody has looked at do \
              not pass.",
    inputs: &[IN],
    outputs: &[Port {
        name: "out",
        summary: "The pictures as JPEG, coded anew, with the same metadata.",
    }],
    params: &[
        Param {
            name: "labels",
            kind: ParamKind::TextList,
            required: false,
            default: ParamDefault::None,
            summary: "Only things with these labels; without it, all.",
        },
        Param {
            name: "mode",
            kind: ParamKind::Choice {
                options: Cow::Borrowed(&[Cow::Borrowed("mosaic"), Cow::Borrowed("fill")]),
            },
            required: false,
            default: ParamDefault::Text("mosaic"),
            summary: "`mosaic`: six blocks along the shorter side. `fill`: one plain colour, which is \
                      the safe choice for writing.",
        },
        Param {
            name: "margin",
            kind: ParamKind::Number { min: 0.0, max: 2.0 },
            required: false,
            default: ParamDefault::Number(0.15),
            summary: "How far beyond its box a thing is covered, as a share of the box.",
        },
        QUALITY,
    ],
};

const fn switch(name: &'static str, summary: &'static str) -> Param {
    Param {
        name,
        kind: ParamKind::Bool,
        required: false,
        default: ParamDefault::Bool(true),
        summary,
    }
}

pub(super) const DRAW: Builtin = Builtin {
    name: "draw",
    summary: "Burns boxes, labels, zones and lines into the picture, for recordings and for programs \
              that only show pictures. The dashboard draws them by itself.",
    inputs: &[IN],
    outputs: &[Port {
        name: "out",
        summary: "The pictures as JPEG, drawn on, with the same metadata.",
    }],
    params: &[
        switch(
            "boxes",
            "Whether tracks, or detections where nothing is tracked, are drawn.",
        ),
        switch("text", "Whether labels, scores and counts are written."),
        switch("zones", "Whether zones and lines are drawn."),
        QUALITY,
    ],
};
