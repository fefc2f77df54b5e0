//! The built-in nodes as users meet them: ports and parameters with type, range, default and docs.
//! Validation, the defaults in an assignment, the JSON Schema, the reference and the UI all come
//! from here. Never runs a node.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

mod camera;
mod events;
mod fuse;
mod inference;
mod objects;
mod params;
mod picture;
mod recording;
mod video;

use camera::CAMERA;
use events::EVENTS;
use fuse::FUSE;
use inference::{CLASSIFY, DETECT};
use objects::{TRACK, ZONES};
pub use params::ParamError;
pub(crate) use params::{check, is_file};
use picture::{DRAW, REDACT};
use recording::{RECORD, REPLAY};
use video::VIDEO;

/// A built-in node.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Builtin {
    /// The word after `use:`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Input ports; every one of them has to be linked.
    pub inputs: &'static [Port],
    /// Output ports.
    pub outputs: &'static [Port],
    /// Parameters under `with:`.
    pub params: &'static [Param],
}

/// A port of a built-in node.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Port {
    /// Name used in links.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
}

/// A parameter of a built-in node.
#[derive(Clone, Debug, Serialize)]
pub struct Param {
    /// Name under `with:`.
    pub name: &'static str,
    /// Type and range.
    pub kind: ParamKind,
    /// Whether it must be given.
    pub required: bool,
    /// Value if it is not given.
    pub default: ParamDefault,
    /// One or two sentences.
    pub summary: &'static str,
}

/// Type and range of a parameter.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamKind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A number.
    Number {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// Any text that is not empty.
    Text,
    /// `WIDTHxHEIGHT`.
    Resolution,
    /// A number of bytes: `10GiB`.
    Size {
        /// Smallest value, in bytes.
        min: u64,
        /// Largest value, in bytes.
        max: u64,
    },
    /// A time, days too: `7d`.
    Duration {
        /// Shortest value, in milliseconds.
        min_ms: u64,
        /// Longest value, in milliseconds.
        max_ms: u64,
    },
    /// A list of texts.
    TextList,
    /// One of a few words.
    Choice {
        /// The words.
        options: Cow<'static, [Cow<'static, str>]>,
    },
    /// A number for each of some names.
    NumberMap {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// Lists of points `[x, y]`, in shares of the picture, for each of some names.
    Shapes {
        /// Fewest points.
        min_points: usize,
        /// Most points.
        max_points: usize,
    },
    /// One of the named models, or a file.
    Model,
}

/// The value of a parameter that is not given.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ParamDefault {
    /// The node does without.
    None,
    /// A flag.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(&'static str),
}

impl ParamDefault {
    /// As JSON; `None` if there is no default.
    pub fn to_json(self) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Bool(value) => Some(value.into()),
            Self::Integer(value) => Some(value.into()),
            Self::Number(value) => Some(value.into()),
            Self::Text(value) => Some(value.into()),
        }
    }
}

/// Models that are known by name.
pub const MODELS: [&str; 4] = [
    "centerface",
    "page-orientation",
    "picodet-layout",
    "yolox-nano",
];

const OUT_FRAMES: Port = Port {
    name: "out",
    summary: "Frames.",
};
const OUT_DETECTIONS: Port = Port {
    name: "out",
    summary: "The incoming frames, unchanged, with `detections` in their metadata.",
};
const IN_FRAMES: Port = Port {
    name: "in",
    summary: "Pictures: JPEG, or raw pixels (nv12, yuyv, rgb8, grey8).",
};
const IN_ANY: Port = Port {
    name: "in",
    summary: "Any frames.",
};

/// Every built-in node, in the order of the reference.
pub const BUILTINS: [Builtin; 15] = [
    PATTERN, CAMERA, VIDEO, MOTION, DETECT, CLASSIFY, TRACK, ZONES, EVENTS, REDACT, DRAW, FUSE,
    LOG, RECORD, REPLAY,
];

/// Parameters that a running node takes without a restart. One that a node may refuse for another
/// reason than its value (a camera's controls) is told so, and goes on as before.
const LIVE: [(&str, &[&str]); 11] = [
    ("camera", &["quality", "controls"]),
    ("pattern", &["fps", "quality"]),
    ("motion", &["threshold", "min_area"]),
    ("detect", &["threshold", "iou", "labels"]),
    ("classify", &["of", "threshold", "most"]),
    ("track", &["threshold", "remember_ms"]),
    ("zones", &["zones", "lines", "labels", "settle_ms"]),
    (
        "events",
        &[
            "labels",
            "min_score",
            "at_least",
            "zone",
            "line",
            "for_ms",
            "pause_ms",
            "severity",
            "picture",
        ],
    ),
    ("redact", &["labels", "mode", "margin", "quality"]),
    ("draw", &["boxes", "text", "zones", "quality"]),
    ("log", &["every_ms"]),
];

/// A built-in node by name.
pub fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

const PATTERN: Builtin = Builtin {
    name: "pattern",
    summary: "A moving test card with a clock burned in. Needs no camera.",
    inputs: &[],
    outputs: &[OUT_FRAMES],
    params: &[
        Param {
            name: "size",
            kind: ParamKind::Resolution,
            required: false,
            default: ParamDefault::Text("640x480"),
            summary: "Picture size.",
        },
        Param {
            name: "fps",
            kind: ParamKind::Integer { min: 1, max: 240 },
            required: false,
            default: ParamDefault::Integer(30),
            summary: "Frames per second.",
        },
        Param {
            name: "quality",
            kind: ParamKind::Integer { min: 1, max: 100 },
            required: false,
            default: ParamDefault::Integer(80),
            summary: "JPEG quality.",
        },
    ],
};

const MOTION: Builtin = Builtin {
    name: "motion",
    summary: "Marks what moves, without a model.",
    inputs: &[IN_FRAMES],
    outputs: &[OUT_DETECTIONS],
    params: &[
        Param {
            name: "threshold",
            kind: ParamKind::Number { min: 0.0, max: 1.0 },
            required: false,
            default: ParamDefault::Number(0.05),
            summary: "Change of brightness that counts as motion, as a share of the full range.",
        },
        Param {
            name: "min_area",
            kind: ParamKind::Number { min: 0.0, max: 1.0 },
            required: false,
            default: ParamDefault::Number(0.001),
            summary: "Smallest moving area, as a share of the picture.",
        },
    ],
};

const LOG: Builtin = Builtin {
    name: "log",
    summary: "Writes one line about the newest frame at an interval.",
    inputs: &[IN_ANY],
    outputs: &[],
    params: &[Param {
        name: "every_ms",
        kind: ParamKind::Integer {
            min: 1,
            max: 3_600_000,
        },
        required: false,
        default: ParamDefault::Integer(1000),
        summary: "Milliseconds between two lines.",
    }],
};

impl Builtin {
    /// A parameter by name.
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.params.iter().find(|param| param.name == name)
    }

    /// Names of the parameters that it takes while it runs.
    pub fn live_params(&self) -> &'static [&'static str] {
        LIVE.iter()
            .find(|(name, _)| *name == self.name)
            .map_or(&[], |(_, live)| *live)
    }

    /// Parameters with the defaults filled in, in the order of the catalog.
    pub fn with_defaults(&self, given: &Map<String, Value>) -> Map<String, Value> {
        let mut all = Map::new();
        for param in self.params {
            let value = given
                .get(param.name)
                .cloned()
                .or_else(|| param.default.to_json());
            if let Some(value) = value {
                all.insert(param.name.to_owned(), value);
            }
        }
        for (name, value) in given {
            all.entry(name.clone()).or_insert_with(|| value.clone());
        }
        all
    }

    /// Two parameters of which exactly one has to be given.
    pub(crate) fn one_of(&self) -> Option<[&'static str; 2]> {
        (self.name == VIDEO.name).then_some(["source", "command"])
    }

    /// Whether `inputs:` names its input ports, and not the catalog.
    pub fn names_inputs(&self) -> bool {
        self.name == FUSE.name
    }

    /// Whether it reads from something that does not wait: a camera or a network stream.
    pub(crate) fn is_live(&self, with: &Map<String, Value>) -> bool {
        self.name == CAMERA.name || (self.name == VIDEO.name && video::is_live(with))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_fits_its_own_parameter() {
        for builtin in &BUILTINS {
            for param in builtin.params {
                if let Some(default) = param.default.to_json() {
                    assert_eq!(
                        check(&param.kind, &default),
                        Ok(()),
                        "{}.{}",
                        builtin.name,
                        param.name
                    );
                }
                assert!(!(param.required && param.default != ParamDefault::None));
            }
        }
    }

    #[test]
    fn defaults_are_filled_in_and_given_values_win() {
        let given = Map::from_iter([("fps".to_owned(), Value::from(5))]);
        let all = PATTERN.with_defaults(&given);
        assert_eq!(
            Value::from(all),
            serde_json::json!({"size": "640x480", "fps": 5, "quality": 80})
        );
    }
}
