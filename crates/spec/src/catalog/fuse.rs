//! The entry of `fuse`: several inputs, named by the manifest.

use std::borrow::Cow;

use super::{Builtin, Param, ParamDefault, ParamKind, Port};

/// Longest time that `fuse` waits or tolerates, milliseconds.
const MAX_MS: i64 = 60_000;

pub(super) const FUSE: Builtin = Builtin {
    name: "fuse",
    summary: "Joins frames of several inputs that belong to one moment. `inputs:` names the inputs, \
              two or more.",
    inputs: &[],
    outputs: &[Port {
        name: "out",
        summary: "The frames of the primary input, with what was found at the other inputs under \
                  `fused` in their metadata.",
    }],
    params: &[
        Param {
            name: "primary",
            kind: ParamKind::Text,
            required: false,
            default: ParamDefault::None,
            summary: "The input whose frames are sent on; without it, the first of `inputs:`.",
        },
        Param {
            name: "policy",
            kind: ParamKind::Choice {
                options: Cow::Borrowed(&[
                    Cow::Borrowed("nearest"),
                    Cow::Borrowed("exact"),
                    Cow::Borrowed("latest"),
                ]),
            },
            required: false,
            default: ParamDefault::Text("nearest"),
            summary: "`nearest`: the frames captured closest to the primary one, within the \
                      tolerance. `exact`: captured at the same nanosecond, as frames that went \
                      different ways from one camera are. `latest`: the newest of each input when \
                      a primary frame comes.",
        },
        Param {
            name: "tolerance_ms",
            kind: ParamKind::Number {
                min: 0.0,
                max: MAX_MS as f64,
            },
            required: false,
            default: ParamDefault::None,
            summary: "Largest distance in capture time from the primary frame; without it, 50 for \
                      `nearest` and any for `latest`.",
        },
        Param {
            name: "tolerances_ms",
            kind: ParamKind::NumberMap {
                min: 0.0,
                max: MAX_MS as f64,
            },
            required: false,
            default: ParamDefault::None,
            summary: "The same for single inputs: `{lidar: 120}`.",
        },
        Param {
            name: "timeout_ms",
            kind: ParamKind::Integer {
                min: 1,
                max: MAX_MS,
            },
            required: false,
            default: ParamDefault::Integer(200),
            summary: "Longest wait of a frame for those that belong to it.",
        },
        Param {
            name: "partial",
            kind: ParamKind::Choice {
                options: Cow::Borrowed(&[Cow::Borrowed("drop"), Cow::Borrowed("allow")]),
            },
            required: false,
            default: ParamDefault::Text("drop"),
            summary: "A primary frame to which an input has nothing is dropped and counted, or sent \
                      on without that input.",
        },
        Param {
            name: "buffer",
            kind: ParamKind::Integer { min: 1, max: 1024 },
            required: false,
            default: ParamDefault::Integer(64),
            summary: "Frames of each input that may wait.",
        },
    ],
};
