//! The entry of `events`: when something is an event, and who is told.

use std::borrow::Cow;

use super::{Builtin, Param, ParamDefault, ParamKind, Port};

/// Longest times, milliseconds.
const MAX_MS: i64 = 3_600_000;
/// Most things.
const MAX_THINGS: i64 = 1000;

const fn optional(name: &'static str, kind: ParamKind, summary: &'static str) -> Param {
    Param {
        name,
        kind,
        required: false,
        default: ParamDefault::None,
        summary,
    }
}

pub(super) const EVENTS: Builtin = Builtin {
    name: "events",
    summary: "Tells when something is seen: in the list of events, to a webhook, to an MQTT broker.",
    inputs: &[Port {
        name: "in",
        summary: "Frames with `detections` or `tracks`, and for `zone` and `line` also `zones`, in their metadata.",
    }],
    outputs: &[],
    params: &[
        Param {
            name: "event",
            kind: ParamKind::Text,
            required: false,
            default: ParamDefault::Text("Seen"),
            summary: "Name of the event, letters and digits: `PersonAtDoor`.",
        },
        optional(
            "labels",
            ParamKind::TextList,
            "Only things with these labels count; without it, all.",
        ),
        Param {
            name: "min_score",
            kind: ParamKind::Number { min: 0.0, max: 1.0 },
            required: false,
            default: ParamDefault::Number(0.0),
            summary: "Lowest score of a thing that counts.",
        },
        Param {
            name: "at_least",
            kind: ParamKind::Integer {
                min: 1,
                max: MAX_THINGS,
            },
            required: false,
            default: ParamDefault::Integer(1),
            summary: "How many things it takes.",
        },
        optional(
            "zone",
            ParamKind::Text,
            "Things in this zone of `zones` count; which labels, `zones` says.",
        ),
        optional(
            "line",
            ParamKind::Text,
            "Each thing that crosses this line of `zones` is an event.",
        ),
        Param {
            name: "for_ms",
            kind: ParamKind::Integer {
                min: 0,
                max: MAX_MS,
            },
            required: false,
            default: ParamDefault::Integer(500),
            summary: "How long it has to hold without a break before it is an event.",
        },
        Param {
            name: "pause_ms",
            kind: ParamKind::Integer {
                min: 0,
                max: MAX_MS,
            },
            required: false,
            default: ParamDefault::Integer(10_000),
            summary: "How long it must not hold before it is over, and can be an event again.",
        },
        Param {
            name: "severity",
            kind: ParamKind::Choice {
                options: Cow::Borrowed(&[
                    Cow::Borrowed("info"),
                    Cow::Borrowed("warning"),
                    Cow::Borrowed("error"),
                ]),
            },
            required: false,
            default: ParamDefault::Text("info"),
            summary: "How much it matters.",
        },
        Param {
            name: "picture",
            kind: ParamKind::Bool,
            required: false,
            default: ParamDefault::Bool(true),
            summary: "Whether a small picture goes with it (not to MQTT).",
        },
        optional(
            "webhook",
            ParamKind::Text,
            "Address that gets each event as JSON in a POST request: `https://example.com/hook`.",
        ),
        optional(
            "webhook_token_file",
            ParamKind::Text,
            "File on the device with a token, which goes along as `Authorization: Bearer`.",
        ),
        optional(
            "mqtt",
            ParamKind::Text,
            "Broker and topic that get each event as JSON: `mqtt://user@broker:1883/site/events`, or `mqtts://`.",
        ),
        optional(
            "mqtt_password_file",
            ParamKind::Text,
            "File on the device with the password of the user at the broker.",
        ),
        optional(
            "mqtt_ca_file",
            ParamKind::Text,
            "File on the device with certificates in PEM that the broker's is checked with, in place of those that the device trusts.",
        ),
    ],
};
