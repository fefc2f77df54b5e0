//! A node's parameters from JSON into its own type, with errors that name the parameter.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

/// The parameters of a node that has none. Any parameter is an error.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Why parameters are not accepted. Names the parameter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParamsError(String);

/// Reads parameters into a node's type.
pub fn parse_params<P: DeserializeOwned>(params: Map<String, Value>) -> Result<P, ParamsError> {
    P::deserialize(Params {
        entries: params.into_iter(),
        value: None,
    })
}

impl de::Error for ParamsError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self(format!("parameter `{field}` is required"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        if expected.is_empty() {
            return Self(format!(
                "unknown parameter `{field}`: this node has no parameters"
            ));
        }
        Self(format!(
            "unknown parameter `{field}`; expected {}",
            one_of(expected)
        ))
    }
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        many => format!("one of {}", many.join(", ")),
    }
}

/// A map deserializer that remembers which key it is at.
struct Params {
    entries: serde_json::map::IntoIter,
    value: Option<(String, Value)>,
}

impl<'de> de::Deserializer<'de> for Params {
    type Error = ParamsError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParamsError> {
        visitor.visit_map(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParamsError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ParamsError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Params {
    type Error = ParamsError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ParamsError> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        let parsed = seed.deserialize(key.as_str().into_deserializer())?;
        self.value = Some((key, value));
        Ok(Some(parsed))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ParamsError> {
        let (key, value) = self
            .value
            .take()
            .ok_or_else(|| ParamsError("a value was read before its key".to_owned()))?;
        seed.deserialize(value)
            .map_err(|error| ParamsError(format!("parameter `{key}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        source: String,
        #[serde(default)]
        fps: Option<f64>,
        #[serde(default)]
        labels: Vec<String>,
    }

    fn parse<P: DeserializeOwned>(value: Value) -> Result<P, String> {
        let Value::Object(map) = value else {
            panic!("not an object")
        };
        parse_params(map).map_err(|error| error.to_string())
    }

    #[test]
    fn good_parameters_are_read() {
        let sample: Sample = parse(json!({"source": "a", "fps": 30, "labels": ["x"]})).unwrap();
        assert_eq!(
            sample,
            Sample {
                source: "a".into(),
                fps: Some(30.0),
                labels: vec!["x".into()]
            }
        );
        assert!(parse::<NoParams>(json!({})).is_ok());
        assert!(parse::<Map<String, Value>>(json!({"any": 1})).is_ok());
    }

    #[test]
    fn errors_name_the_parameter() {
        let cases = [
            (
                json!({"source": "a", "fps": "x"}),
                r#"parameter `fps`: invalid type: string "x", expected f64"#,
            ),
            (json!({}), "parameter `source` is required"),
            (
                json!({"source": "a", "fsp": 1}),
                "unknown parameter `fsp`; expected one of `source`, `fps`, `labels`",
            ),
        ];
        for (params, message) in cases {
            assert_eq!(parse::<Sample>(params).unwrap_err(), message);
        }
        assert_eq!(
            parse::<NoParams>(json!({"fps": 1})).unwrap_err(),
            "unknown parameter `fps`: this node has no parameters"
        );
    }
}
