//! The JSON Schema of a manifest, for editors and other tools. Made from the written form of a
//! system and the catalog; never stricter than the decoder.

use serde_json::{Map, Value, json};

use crate::{
    catalog::{BUILTINS, Builtin, MODELS, Param, ParamKind},
    text::SystemText,
};

/// The schema (JSON Schema 2020-12).
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(SystemText).to_value();
    if let Some(node) = schema
        .pointer_mut("/$defs/NodeText")
        .and_then(Value::as_object_mut)
    {
        node.insert(
            "oneOf".to_owned(),
            json!([{"required": ["use"]}, {"required": ["run"]}]),
        );
        node.insert(
            "allOf".to_owned(),
            BUILTINS.iter().map(parameters).collect(),
        );
        if let Some(uses) = node.get_mut("properties").and_then(|p| p.get_mut("use")) {
            *uses = json!({
                "description": "A built-in node.",
                "enum": BUILTINS.iter().map(|builtin| builtin.name).collect::<Vec<_>>(),
            });
        }
    }
    schema
}

/// `with:` of one built-in node, where `use:` names it.
fn parameters(builtin: &Builtin) -> Value {
    let properties: Map<String, Value> = builtin
        .params
        .iter()
        .map(|param| (param.name.to_owned(), parameter(param)))
        .collect();
    let required: Vec<&str> = builtin
        .params
        .iter()
        .filter(|param| param.required)
        .map(|param| param.name)
        .collect();
    let mut then = json!({
        "properties": {
            "with": {
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            }
        }
    });
    if !required.is_empty()
        && let Some(then) = then.as_object_mut()
    {
        then.insert("required".to_owned(), json!(["with"]));
    }
    json!({
        "if": {"required": ["use"], "properties": {"use": {"const": builtin.name}}},
        "then": then,
    })
}

fn parameter(param: &Param) -> Value {
    let mut schema = match &param.kind {
        ParamKind::Bool => json!({"type": "boolean"}),
        ParamKind::Integer { min, max } => {
            json!({"type": "integer", "minimum": min, "maximum": max})
        }
        ParamKind::Number { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        ParamKind::Text => json!({"type": "string", "minLength": 1}),
        ParamKind::Resolution => {
            json!({"type": "string", "pattern": "^[0-9]+x[0-9]+$|\\{\\{", "examples": ["1280x720"]})
        }
        ParamKind::Size { .. } => {
            json!({"type": "string", "minLength": 1, "examples": ["64MiB", "10GiB"]})
        }
        ParamKind::Duration { .. } => {
            json!({"type": "string", "minLength": 1, "examples": ["30s", "10m", "7d"]})
        }
        ParamKind::TextList => json!({"type": "array", "items": {"type": "string"}}),
        ParamKind::Choice { options } => json!({"type": "string", "enum": options}),
        ParamKind::NumberMap { min, max } => json!({
            "type": "object",
            "additionalProperties": {"type": "number", "minimum": min, "maximum": max},
        }),
        ParamKind::Shapes {
            min_points,
            max_points,
        } => json!({
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "minItems": min_points,
                "maxItems": max_points,
                "items": {
                    "type": "array",
                    "minItems": 2,
                    "maxItems": 2,
                    "items": {"type": "number", "minimum": 0, "maximum": 1},
                },
            },
        }),
        ParamKind::Model => json!({"type": "string", "minLength": 1, "examples": MODELS}),
    };
    if let Some(map) = schema.as_object_mut() {
        map.insert("description".to_owned(), param.summary.into());
        if let Some(default) = param.default.to_json() {
            map.insert("default".to_owned(), default);
        }
    }
    schema
}
