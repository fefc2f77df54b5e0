//! Parameters as a node declares them, and the check of a value that somebody wants to set while
//! the node runs. The same rules and texts as for a manifest; knows no running node.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};

use crate::{
    catalog::{Builtin, ParamKind},
    problem::{Problem, Severity},
    suggest, template,
};

pub use crate::catalog::ParamError;

/// Most parameters that a node may declare.
pub const MAX_PARAMETERS: usize = 64;
/// Longest value that can be set, as JSON.
pub const MAX_VALUE_BYTES: usize = 4096;

/// Values that take the place of those in the manifest: node name, parameter, value.
pub type Overrides = BTreeMap<String, Map<String, Value>>;

/// A parameter as its node declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Name under `with:`.
    pub name: String,
    /// Type and range.
    pub kind: ParamKind,
    /// Value if it is not given.
    pub default: Option<Value>,
    /// Whether it must be given.
    pub required: bool,
    /// Whether a running node takes a new value without a restart.
    pub live: bool,
    /// One or two sentences.
    pub summary: String,
}

impl Parameter {
    /// A parameter that may be left out and needs a restart to change.
    pub fn new(name: impl Into<String>, kind: ParamKind) -> Self {
        Self {
            name: name.into(),
            kind,
            default: None,
            required: false,
            live: false,
            summary: String::new(),
        }
    }

    /// `true` or `false`.
    pub fn bool(name: impl Into<String>) -> Self {
        Self::new(name, ParamKind::Bool)
    }

    /// A whole number from `min` to `max`.
    pub fn integer(name: impl Into<String>, min: i64, max: i64) -> Self {
        Self::new(name, ParamKind::Integer { min, max })
    }

    /// A number from `min` to `max`.
    pub fn number(name: impl Into<String>, min: f64, max: f64) -> Self {
        Self::new(name, ParamKind::Number { min, max })
    }

    /// A text that is not empty.
    pub fn text(name: impl Into<String>) -> Self {
        Self::new(name, ParamKind::Text)
    }

    /// A list of texts.
    pub fn text_list(name: impl Into<String>) -> Self {
        Self::new(name, ParamKind::TextList)
    }

    /// One of some words.
    pub fn choice<T: Into<String>>(
        name: impl Into<String>,
        options: impl IntoIterator<Item = T>,
    ) -> Self {
        let options = options
            .into_iter()
            .map(|word| Cow::Owned(word.into()))
            .collect();
        Self::new(name, ParamKind::Choice { options })
    }

    /// The value if it is not given, for people; the node's own type fills it in.
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// It must be given.
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// A running node takes a new value without a restart.
    pub fn live(mut self) -> Self {
        self.live = true;
        self
    }

    /// What it means, in a sentence.
    pub fn summary(mut self, text: impl Into<String>) -> Self {
        self.summary = text.into();
        self
    }

    /// Whether a value fits.
    pub fn check(&self, value: &Value) -> Result<(), ParamError> {
        crate::catalog::check(&self.kind, value)
    }

    /// The value that a person means with a text on a command line. What does not fit the type
    /// stays a text, and [`Self::check`] then says what is wrong with it.
    pub fn read(&self, text: &str) -> Value {
        let typed = match &self.kind {
            ParamKind::Bool => text.parse::<bool>().ok().map(Value::from),
            ParamKind::Integer { .. } => text.parse::<i64>().ok().map(Value::from),
            ParamKind::Number { .. } => text
                .parse::<i64>()
                .ok()
                .map(Value::from)
                .or_else(|| text.parse::<f64>().ok().map(Value::from))
                // Not finite.
                .filter(|value| !value.is_null()),
            ParamKind::TextList => Some(list(text)),
            ParamKind::NumberMap { .. } => serde_json::from_str(text).ok().or_else(|| map(text)),
            ParamKind::Shapes { .. } => serde_json::from_str(text).ok(),
            ParamKind::Text
            | ParamKind::Resolution
            | ParamKind::Size { .. }
            | ParamKind::Duration { .. }
            | ParamKind::Model
            | ParamKind::Choice { .. } => None,
        };
        typed.unwrap_or_else(|| Value::from(text))
    }
}

/// `a=1,b=2`, as it is quicker to type than JSON.
fn map(text: &str) -> Option<Value> {
    let items = text.split(',').map(|item| {
        let (name, number) = item.split_once(['=', ':'])?;
        let number: serde_json::Number = number.trim().parse().ok()?;
        Some((name.trim().to_owned(), Value::Number(number)))
    });
    items.collect::<Option<Map<_, _>>>().map(Value::Object)
}

/// `[a, b]`, or `a,b` as it is quicker to type.
fn list(text: &str) -> Value {
    if let Ok(Value::Array(items)) = serde_json::from_str(text) {
        return Value::Array(items);
    }
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    inner
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(Value::from)
        .collect()
}

impl Builtin {
    /// Its parameters, as a node of one's own would declare them.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.params
            .iter()
            .map(|param| Parameter {
                name: param.name.to_owned(),
                kind: param.kind.clone(),
                default: param.default.to_json(),
                required: param.required,
                live: self.live_params().contains(&param.name),
                summary: param.summary.to_owned(),
            })
            .collect()
    }
}

/// The live parameter that a change names, or what is wrong with naming it. `program` is what the
/// node runs, for the text.
pub fn find_live<'a>(
    node: &str,
    program: &str,
    declared: &'a [Parameter],
    name: &str,
) -> Result<&'a Parameter, Box<Problem>> {
    let Some(parameter) = declared.iter().find(|parameter| parameter.name == name) else {
        let known = declared.iter().map(|parameter| parameter.name.as_str());
        return Err(refused(
            "unknown-parameter",
            format!("`{program}` has no parameter `{name}`"),
            suggest::hint(name, known, "parameter"),
        ));
    };
    if parameter.live {
        return Ok(parameter);
    }
    let live: Vec<String> = declared
        .iter()
        .filter(|parameter| parameter.live)
        .map(|parameter| format!("`{}`", parameter.name))
        .collect();
    let others = if live.is_empty() {
        String::new()
    } else {
        format!("; these change while it runs: {}", live.join(", "))
    };
    Err(refused(
        "not-live",
        format!("parameter `{name}` of node `{node}` can't change while the node runs"),
        format!("edit it under `with:` and apply the system, which restarts the node{others}"),
    ))
}

/// Checks a value that is to be set on a running node.
pub fn check_change(node: &str, parameter: &Parameter, value: &Value) -> Result<(), Box<Problem>> {
    let name = &parameter.name;
    let length = serde_json::to_vec(value).map_or(usize::MAX, |json| json.len());
    if length > MAX_VALUE_BYTES {
        return Err(refused(
            "too-long",
            format!("parameter `{name}` of node `{node}`: the value is too long"),
            format!("it has {MAX_VALUE_BYTES} bytes at most"),
        ));
    }
    let texts: Vec<&str> = match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if let Some(error) = texts.iter().find_map(|text| template::check(text).err()) {
        return Err(refused("invalid-template", error.message, String::new()));
    }
    parameter.check(value).map_err(|error| {
        let message = format!("parameter `{name}` of node `{node}`: {}", error.message);
        refused(error.code, message, error.hint)
    })
}

/// There is no such node; `known` are those that there are.
pub fn unknown_node<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Problem {
    problem(
        "unknown-node",
        format!("there is no node `{name}`"),
        suggest::hint(name, known, "node"),
    )
}

fn refused(code: &str, message: String, hint: String) -> Box<Problem> {
    Box::new(problem(code, message, hint))
}

/// A problem without a place in a file.
pub fn problem(code: &str, message: String, hint: String) -> Problem {
    Problem {
        code: code.to_owned(),
        severity: Severity::Error,
        message,
        hint,
        file: String::new(),
        line: 0,
        column: 0,
        length: 1,
        source_line: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog;

    fn detect() -> Vec<Parameter> {
        catalog::builtin("detect").unwrap().parameters()
    }

    fn change(name: &str, text: &str) -> Result<Value, String> {
        let declared = detect();
        let words = |problem: Box<Problem>| format!("{}; {}", problem.message, problem.hint);
        let parameter = find_live("faces", "detect", &declared, name).map_err(words)?;
        let value = parameter.read(text);
        check_change("faces", parameter, &value).map_err(words)?;
        Ok(value)
    }

    #[test]
    fn a_text_becomes_a_value_of_the_declared_type() {
        assert_eq!(change("threshold", "0.6"), Ok(json!(0.6)));
        assert_eq!(change("threshold", "1"), Ok(json!(1)));
        assert_eq!(
            change("labels", "person, cup"),
            Ok(json!(["person", "cup"]))
        );
        assert_eq!(change("labels", "[person]"), Ok(json!(["person"])));
        assert_eq!(change("labels", r#"["a, b"]"#), Ok(json!(["a, b"])));
        let flag = Parameter::bool("on");
        assert_eq!(flag.read("true"), json!(true));
        assert!(flag.check(&flag.read("yes")).is_err());
        let controls = catalog::builtin("camera").unwrap().parameters();
        let controls = controls.iter().find(|one| one.name == "controls").unwrap();
        let value = json!({"brightness": 140, "gain": -1});
        assert_eq!(controls.read("brightness=140, gain=-1"), value);
        assert_eq!(controls.read(r#"{"brightness":140,"gain":-1}"#), value);
        assert_eq!(controls.read("brightness"), json!("brightness"));
        let mode = Parameter::choice("mode", ["day", "night"]);
        assert_eq!(mode.check(&mode.read("night")), Ok(()));
        let error = mode.check(&mode.read("nigth")).unwrap_err();
        assert_eq!(error.hint, "did you mean `night`?");
    }

    #[test]
    fn a_change_that_does_not_fit_is_refused_in_the_words_of_the_manifest() {
        for (name, text, words) in [
            (
                "threshold",
                "2",
                "parameter `threshold` of node `faces`: 2 is out of range; it has to be from 0 to 1",
            ),
            (
                "threshold",
                "high",
                "parameter `threshold` of node `faces`: expected a number, found text; ",
            ),
            (
                "treshold",
                "1",
                "`detect` has no parameter `treshold`; did you mean `threshold`?",
            ),
            (
                "model",
                "yolox-nano",
                "parameter `model` of node `faces` can't change while the node runs; edit it under \
                 `with:` and apply the system, which restarts the node; these change while it runs: \
                 `threshold`, `iou`, `labels`",
            ),
            (
                "labels",
                "{{ device.nam }}",
                "there is no template value `device.nam`; ",
            ),
        ] {
            assert_eq!(change(name, text), Err(words.to_owned()));
        }
        let long = "x".repeat(MAX_VALUE_BYTES);
        assert!(change("labels", &long).unwrap_err().contains("too long"));
        for not_finite in ["NaN", "inf"] {
            assert!(change("threshold", not_finite).is_err());
        }
    }

    #[test]
    fn what_is_live_exists() {
        for builtin in &catalog::BUILTINS {
            for name in builtin.live_params() {
                assert!(builtin.param(name).is_some(), "{}.{name}", builtin.name);
            }
        }
    }
}
