//! Checks one parameter value against its entry in the catalog.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::ParamKind;
use crate::{names, quantity, suggest, template};

/// Why a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParamError {
    /// Stable word for programs.
    pub code: &'static str,
    /// What is wrong, without the parameter's name: `expected a whole number, found text`.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Checks a value. A text with a template can be anything: its value is known on the device only.
pub(crate) fn check(kind: &ParamKind, value: &Value) -> Result<(), ParamError> {
    if value.as_str().is_some_and(template::has_template) {
        return match kind {
            ParamKind::Text
            | ParamKind::Model
            | ParamKind::Resolution
            | ParamKind::Size { .. }
            | ParamKind::Duration { .. } => Ok(()),
            kind => Err(wrong_type(kind, value)),
        };
    }
    match (kind, value) {
        (ParamKind::Bool, Value::Bool(_)) => Ok(()),
        (ParamKind::Integer { min, max }, Value::Number(number)) => {
            let Some(number) = number.as_i64() else {
                return Err(wrong_type(kind, value));
            };
            in_range((*min..=*max).contains(&number), number, *min, *max)
        }
        (ParamKind::Number { min, max }, value @ Value::Number(_)) => {
            check_number(*min, *max, value)
        }
        (ParamKind::Text, Value::String(text)) => not_empty(text),
        (ParamKind::Resolution, Value::String(text)) => match quantity::parse_resolution(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(ParamError {
                code: "invalid-value",
                message: format!("`{text}` is not a picture size: {error}"),
                hint: format!(
                    "write it like `640x480`; each side from 1 to {}",
                    quantity::MAX_SIDE
                ),
            }),
        },
        (ParamKind::Size { min, max }, Value::String(text)) => {
            let value = quantity::parse_bytes(text);
            in_quantity(text, value, *min..=*max, quantity::format_bytes, "64MiB")
        }
        (ParamKind::Duration { min_ms, max_ms }, Value::String(text)) => {
            let value = quantity::parse_long_duration_ms(text);
            let range = *min_ms..=*max_ms;
            in_quantity(text, value, range, quantity::format_duration_ms, "30s")
        }
        (ParamKind::TextList, Value::Array(items)) => {
            match items.iter().find(|item| !item.is_string()) {
                None => Ok(()),
                Some(item) => Err(wrong_type(&ParamKind::Text, item)),
            }
        }
        (ParamKind::Choice { options }, Value::String(text)) => choice(text, options),
        (ParamKind::NumberMap { min, max }, Value::Object(map)) => map
            .iter()
            .try_for_each(|(_, value)| check_number(*min, *max, value)),
        (
            ParamKind::Shapes {
                min_points,
                max_points,
            },
            Value::Object(map),
        ) => map
            .iter()
            .try_for_each(|(name, points)| shape(name, points, *min_points..=*max_points)),
        (ParamKind::Model, Value::String(text)) => model(text),
        (kind, value) => Err(wrong_type(kind, value)),
    }
}

fn check_number(min: f64, max: f64, value: &Value) -> Result<(), ParamError> {
    match value.as_f64() {
        Some(number) => in_range((min..=max).contains(&number), number, min, max),
        None => Err(wrong_type(&ParamKind::Number { min, max }, value)),
    }
}

fn choice(text: &str, options: &[Cow<'static, str>]) -> Result<(), ParamError> {
    if options.iter().any(|option| option == text) {
        return Ok(());
    }
    Err(ParamError {
        code: "invalid-value",
        message: format!("it can't be `{text}`"),
        hint: suggest::hint(text, options.iter().map(AsRef::as_ref), "value"),
    })
}

fn in_range<T: std::fmt::Display>(fits: bool, value: T, min: T, max: T) -> Result<(), ParamError> {
    if fits {
        return Ok(());
    }
    Err(ParamError {
        code: "out-of-range",
        message: format!("{value} is out of range"),
        hint: format!("it has to be from {min} to {max}"),
    })
}

fn in_quantity(
    text: &str,
    value: Result<u64, quantity::QuantityError>,
    range: RangeInclusive<u64>,
    format: fn(u64) -> String,
    example: &str,
) -> Result<(), ParamError> {
    match value {
        Ok(value) => in_range(
            range.contains(&value),
            text.to_owned(),
            format(*range.start()),
            format(*range.end()),
        ),
        Err(error) => Err(ParamError {
            code: "invalid-value",
            message: format!("`{text}` can't be read: {error}"),
            hint: format!("write a number and a unit, like `{example}`"),
        }),
    }
}

fn not_empty(text: &str) -> Result<(), ParamError> {
    if !text.is_empty() {
        return Ok(());
    }
    Err(ParamError {
        code: "invalid-value",
        message: "it is empty".to_owned(),
        hint: String::new(),
    })
}

/// A list of points of one name.
fn shape(name: &str, points: &Value, count: RangeInclusive<usize>) -> Result<(), ParamError> {
    let error = |message: String| ParamError {
        code: "invalid-value",
        message,
        hint: "points are `[x, y]` in shares of the picture, from 0 to 1".to_owned(),
    };
    let Some(points) = points.as_array() else {
        return Err(error(format!("`{name}` is no list of points")));
    };
    if !count.contains(&points.len()) {
        let (least, most) = (count.start(), count.end());
        let range = if least == most {
            least.to_string()
        } else {
            format!("{least} to {most}")
        };
        let text = format!("`{name}` has {} points and needs {range}", points.len());
        return Err(error(text));
    }
    let is_point = |point: &Value| {
        point.as_array().is_some_and(|pair| {
            let share = |it: &Value| it.as_f64().is_some_and(|it| (0.0..=1.0).contains(&it));
            pair.len() == 2 && pair.iter().all(share)
        })
    };
    match points.iter().find(|point| !is_point(point)) {
        None => Ok(()),
        Some(point) => Err(error(format!("`{name}`: {point} is no point of a picture"))),
    }
}

/// A name with a folder or an extension is a file of the device. Whether there is a model of another
/// name is not to be told from the value.
fn model(text: &str) -> Result<(), ParamError> {
    not_empty(text)?;
    if is_file(text) {
        return Ok(());
    }
    names::check_name(text).map_err(|error| ParamError {
        code: "invalid-name",
        message: format!("`{text}` can't be the name of a model: {error}"),
        hint: "write the name of a model, like `yolox-nano`, or a file, like `mine.onnx`"
            .to_owned(),
    })
}

/// Whether a model is named as a file of the device.
pub(crate) fn is_file(model: &str) -> bool {
    model.contains(['/', '.'])
}

fn wrong_type(kind: &ParamKind, value: &Value) -> ParamError {
    let hint = match (kind, value) {
        (ParamKind::Bool, Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" => "write `true`".to_owned(),
            "no" | "off" => "write `false`".to_owned(),
            _ => String::new(),
        },
        (ParamKind::Integer { .. } | ParamKind::Number { .. }, Value::String(text))
            if text.parse::<f64>().is_ok() =>
        {
            format!("write it without quotes: {text}")
        }
        (ParamKind::Text, Value::Number(_) | Value::Bool(_)) => {
            format!("put it in quotes: \"{value}\"")
        }
        (ParamKind::TextList, Value::String(text)) => format!("write a list: [{text}]"),
        (ParamKind::Resolution, _) => "write it like `640x480`".to_owned(),
        (ParamKind::Size { .. }, _) => "write a number and a unit, like `64MiB`".to_owned(),
        (ParamKind::Duration { .. }, _) => "write a number and a unit, like `30s`".to_owned(),
        _ => String::new(),
    };
    ParamError {
        code: "wrong-type",
        message: format!("expected {}, found {}", kind.words(), words(value)),
        hint,
    }
}

impl ParamKind {
    /// `a whole number`, for messages.
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Integer { .. } => "a whole number",
            Self::Number { .. } => "a number",
            Self::Text => "text",
            Self::Resolution => "a picture size",
            Self::Size { .. } => "a size in bytes",
            Self::Duration { .. } => "a duration",
            Self::TextList => "a list of texts",
            Self::Choice { .. } => "one of its words",
            Self::NumberMap { .. } => "a map of numbers",
            Self::Shapes { .. } => "a map of lists of points",
            Self::Model => "the name or the path of a model",
        }
    }
}

/// `a list`, for messages.
fn words(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
