//! Reads maps, lists and scalars of expected types; says what is wrong with the others.

use std::collections::HashMap;

use super::Decoder;
use crate::{
    quantity,
    source::Mark,
    suggest,
    yaml::{Node, Scalar, ScalarKind, Value},
};

/// The fields that a map may have.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The map, for messages: `` `spec` ``.
    pub(crate) what: &'static str,
    pub(crate) known: &'static [&'static str],
    /// Fields of the language that this version does not carry out, with a word of explanation.
    pub(crate) unsupported: &'static [(&'static str, &'static str)],
    /// Fields that belong elsewhere, with a hint.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
}

/// The known fields of a map. A field without a value counts as absent, where that is allowed.
#[derive(Debug)]
pub(super) struct Fields<'t> {
    what: &'static str,
    /// Where the map starts: for fields that are missing.
    mark: Mark,
    found: HashMap<&'t str, (&'t Node, &'t Node)>,
}

impl<'t> Fields<'t> {
    pub(super) fn get(&self, field: &str) -> Option<&'t Node> {
        self.found
            .get(field)
            .map(|(_, value)| *value)
            .filter(|value| !value.is_null())
    }

    pub(super) fn key_mark(&self, field: &str) -> Mark {
        self.found.get(field).map_or(self.mark, |(key, _)| key.mark)
    }
}

impl Decoder<'_> {
    /// Reads a map with known fields; complains about the others.
    pub(super) fn fields<'t>(&mut self, node: &'t Node, shape: &Shape) -> Option<Fields<'t>> {
        if !matches!(node.value, Value::Mapping(_)) {
            self.wrong_type(node, shape.what, "a map");
            return None;
        }
        let mut found = HashMap::new();
        for (key, name, value) in self.entries(node, shape.what) {
            if shape.known.contains(&name) {
                found.insert(name, (key, value));
            } else {
                self.unknown_field(key.mark, name, shape);
            }
        }
        Some(Fields {
            what: shape.what,
            mark: node.mark,
            found,
        })
    }

    pub(super) fn required<'t>(
        &mut self,
        fields: &Fields<'t>,
        field: &'static str,
    ) -> Option<&'t Node> {
        let node = fields.get(field);
        if node.is_none() {
            self.error(
                "missing-field",
                fields.key_mark(field),
                format!("{} needs the field `{field}`", fields.what),
                "",
            );
        }
        node
    }

    /// Key, name and value of each entry of a map; complains about keys that are not text and about
    /// repeated ones.
    pub(super) fn entries<'t>(
        &mut self,
        node: &'t Node,
        field: &str,
    ) -> Vec<(&'t Node, &'t str, &'t Node)> {
        let Value::Mapping(entries) = &node.value else {
            self.wrong_type(node, field, "a map");
            return Vec::new();
        };
        let mut first: HashMap<&str, u32> = HashMap::new();
        let mut kept = Vec::new();
        for (key, value) in entries {
            let Value::Scalar(Scalar { text, .. }) = &key.value else {
                let hint = self.template_hint(node);
                self.error(
                    "wrong-type",
                    key.mark,
                    "the name of a field has to be text",
                    hint,
                );
                continue;
            };
            match first.get(text.as_str()) {
                Some(line) => self.error(
                    "duplicate-key",
                    key.mark,
                    format!("`{text}` is here twice"),
                    format!("it was given first on line {line}; keep one of the two"),
                ),
                None => {
                    first.insert(text, key.mark.line);
                    kept.push((key, text.as_str(), value));
                }
            }
        }
        kept
    }

    /// A text. Numbers and flags have to be in quotes.
    pub(super) fn text<'t>(&mut self, node: &'t Node, field: &str) -> Option<&'t str> {
        match &node.value {
            Value::Scalar(Scalar {
                text,
                kind: ScalarKind::Text,
                ..
            }) => Some(text),
            _ => {
                self.wrong_type(node, field, "text");
                None
            }
        }
    }

    /// A text, number or flag, as it is spelled.
    pub(super) fn plain<'t>(&mut self, node: &'t Node, field: &str) -> Option<&'t str> {
        match &node.value {
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => Some(&scalar.text),
            _ => {
                self.wrong_type(node, field, "text");
                None
            }
        }
    }

    /// A list of texts with the node of each.
    pub(super) fn texts<'t>(&mut self, node: &'t Node, field: &str) -> Vec<(&'t Node, &'t str)> {
        let Value::Sequence(items) = &node.value else {
            self.wrong_type(node, field, "a list");
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| Some((item, self.text(item, &format!("an entry of `{field}`"))?)))
            .collect()
    }

    /// A whole number in a range.
    pub(super) fn integer(&mut self, node: &Node, field: &str, min: u32, max: u32) -> Option<u32> {
        let Value::Scalar(Scalar {
            kind: ScalarKind::Number(number),
            text,
            ..
        }) = &node.value
        else {
            self.wrong_type(node, field, "a whole number");
            return None;
        };
        match number.as_u64().and_then(|value| u32::try_from(value).ok()) {
            Some(value) if (min..=max).contains(&value) => Some(value),
            _ => {
                self.error(
                    "out-of-range",
                    node.mark,
                    format!("`{field}` can't be {text}"),
                    format!("it has to be a whole number from {min} to {max}"),
                );
                None
            }
        }
    }

    /// A duration in milliseconds.
    pub(super) fn duration(&mut self, node: &Node, field: &str) -> Option<u64> {
        if let Value::Scalar(Scalar {
            kind: ScalarKind::Number(_),
            text,
            ..
        }) = &node.value
        {
            self.error(
                "invalid-duration",
                node.mark,
                format!("`{field}` needs a unit"),
                format!("write `{text}s` for seconds or `{text}ms` for milliseconds"),
            );
            return None;
        }
        let text = self.text(node, field)?;
        self.duration_text(text, node.mark, field)
    }

    pub(super) fn duration_text(&mut self, text: &str, mark: Mark, field: &str) -> Option<u64> {
        match quantity::parse_duration_ms(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(
                    "invalid-duration",
                    mark,
                    format!("`{field}: {text}` is not a duration: {error}"),
                    "durations look like `500ms`, `2s`, `5m` or `1h`, up to 24h",
                );
                None
            }
        }
    }

    pub(super) fn bytes_text(&mut self, text: &str, mark: Mark, field: &str) -> Option<u64> {
        match quantity::parse_bytes(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(
                    "invalid-size",
                    mark,
                    format!("`{field}: {text}` is not a size: {error}"),
                    "sizes look like `512KiB`, `64MiB`, `1GiB` or `500MB`",
                );
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        text: &str,
        mark: Mark,
        field: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let found = words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.error(
                "invalid-value",
                mark,
                format!("`{field}` can't be `{text}`"),
                suggest::hint(text, known, "value"),
            );
        }
        found
    }

    pub(super) fn wrong_type(&mut self, node: &Node, field: &str, expected: &str) {
        let hint = match &node.value {
            Value::Mapping(_) => self.template_hint(node),
            Value::Scalar(Scalar { text, kind, .. })
                if expected == "text" && *kind != ScalarKind::Null =>
            {
                format!("put it in quotes: \"{text}\"")
            }
            Value::Scalar(Scalar {
                text,
                kind: ScalarKind::Text,
                ..
            }) if expected == "a list" && text.len() < 40 && !text.contains('\n') => {
                let words: Vec<&str> = text.split_whitespace().collect();
                format!("write a list: [{}]", words.join(", "))
            }
            _ => String::new(),
        };
        let field = if field.contains(' ') || field.starts_with('`') {
            field.to_owned()
        } else {
            format!("`{field}`")
        };
        self.error(
            "wrong-type",
            node.mark,
            format!("{field} has to be {expected}, and here is {}", node.words()),
            hint,
        );
    }

    /// `{{ x }}` without quotes is a map in YAML.
    fn template_hint(&self, node: &Node) -> String {
        let line = self.source.line(node.mark.line);
        if line.contains("{{") {
            "a value with a template has to be in quotes: \"{{ device.name }}\"".to_owned()
        } else {
            String::new()
        }
    }
}
