//! Declared parameters between the protocol and the spec. What comes from outside is bounded; what
//! has an unknown type is a text, which its node checks itself.

use std::borrow::Cow;

use edgeflow_spec::{
    catalog::{MODELS, ParamKind},
    params::{MAX_PARAMETERS, Parameter},
};

use crate::v1;

/// Words of a choice that are kept.
const MAX_OPTIONS: usize = 64;
/// Bytes of a name, a word or a default that is kept; longer ones are left out.
const MAX_TEXT_BYTES: usize = 1024;

impl From<Parameter> for v1::Parameter {
    fn from(parameter: Parameter) -> Self {
        let (kind, min, max, options) = match parameter.kind {
            ParamKind::Bool => ("bool", None, None, Vec::new()),
            // Ranges of parameters stay far below 2^53.
            ParamKind::Integer { min, max } => {
                ("integer", Some(min as f64), Some(max as f64), Vec::new())
            }
            ParamKind::Number { min, max } => ("number", Some(min), Some(max), Vec::new()),
            ParamKind::Text => ("text", None, None, Vec::new()),
            ParamKind::Resolution => ("resolution", None, None, Vec::new()),
            ParamKind::Size { min, max } => {
                ("size", Some(min as f64), Some(max as f64), Vec::new())
            }
            ParamKind::Duration { min_ms, max_ms } => (
                "duration",
                Some(min_ms as f64),
                Some(max_ms as f64),
                Vec::new(),
            ),
            ParamKind::TextList => ("text_list", None, None, Vec::new()),
            ParamKind::Model => ("model", None, None, MODELS.map(str::to_owned).to_vec()),
            ParamKind::Shapes {
                min_points,
                max_points,
            } => (
                "shapes",
                Some(min_points as f64),
                Some(max_points as f64),
                Vec::new(),
            ),
            ParamKind::NumberMap { min, max } => ("number_map", Some(min), Some(max), Vec::new()),
            ParamKind::Choice { options } => {
                let options = options.iter().map(|word| word.clone().into_owned());
                ("choice", None, None, options.collect())
            }
        };
        Self {
            name: parameter.name,
            kind: kind.to_owned(),
            min,
            max,
            options,
            default_json: parameter
                .default
                .map(|value| value.to_string())
                .unwrap_or_default(),
            required: parameter.required,
            live: parameter.live,
            summary: parameter.summary,
        }
    }
}

/// The declared parameters in a message; those beyond the limits are left out.
pub fn declared(parameters: &[v1::Parameter]) -> Vec<Parameter> {
    parameters
        .iter()
        .filter(|parameter| {
            let texts = [&parameter.name, &parameter.default_json, &parameter.summary];
            !parameter.name.is_empty() && texts.iter().all(|text| text.len() <= MAX_TEXT_BYTES)
        })
        .take(MAX_PARAMETERS)
        .map(read)
        .collect()
}

fn read(parameter: &v1::Parameter) -> Parameter {
    let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
    let (min, max) = (parameter.min.unwrap_or(low), parameter.max.unwrap_or(high));
    let kind = match parameter.kind.as_str() {
        "bool" => ParamKind::Bool,
        // Saturates.
        "integer" => ParamKind::Integer {
            min: min as i64,
            max: max as i64,
        },
        "number" => ParamKind::Number { min, max },
        "number_map" => ParamKind::NumberMap { min, max },
        // Saturates.
        "shapes" => ParamKind::Shapes {
            min_points: min as usize,
            max_points: max as usize,
        },
        "resolution" => ParamKind::Resolution,
        // Saturates.
        "size" => ParamKind::Size {
            min: min as u64,
            max: max as u64,
        },
        "duration" => ParamKind::Duration {
            min_ms: min as u64,
            max_ms: max as u64,
        },
        "text_list" => ParamKind::TextList,
        "model" => ParamKind::Model,
        "choice" => ParamKind::Choice {
            options: parameter
                .options
                .iter()
                .filter(|option| option.len() <= MAX_TEXT_BYTES)
                .take(MAX_OPTIONS)
                .map(|option| Cow::Owned(option.clone()))
                .collect(),
        },
        _ => ParamKind::Text,
    };
    Parameter {
        name: parameter.name.clone(),
        kind,
        default: serde_json::from_str(&parameter.default_json).ok(),
        required: parameter.required,
        live: parameter.live,
        summary: parameter.summary.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_parameter_survives_the_way() {
        let builtins = edgeflow_spec::catalog::BUILTINS.iter();
        let mut all: Vec<Vec<Parameter>> = builtins.map(|it| it.parameters()).collect();
        all.push(vec![Parameter::choice("mode", ["day", "night"]).live()]);
        for sent in all {
            let messages: Vec<v1::Parameter> = sent.iter().cloned().map(Into::into).collect();
            assert_eq!(declared(&messages), sent);
        }
    }

    #[test]
    fn foreign_declarations_are_bounded() {
        let many = vec![
            v1::Parameter {
                name: "x".to_owned(),
                kind: "from the future".to_owned(),
                ..Default::default()
            };
            10_000
        ];
        assert_eq!(declared(&many).len(), MAX_PARAMETERS);
        let long = v1::Parameter {
            name: "x".repeat(100_000),
            ..Default::default()
        };
        assert_eq!(declared(&[long, v1::Parameter::default()]), []);
        let odd = v1::Parameter {
            name: "n".to_owned(),
            kind: "integer".to_owned(),
            min: Some(f64::NAN),
            max: Some(f64::INFINITY),
            default_json: "{".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            declared(&[odd])[0].kind,
            ParamKind::Integer {
                min: 0,
                max: i64::MAX
            }
        );
    }
}
