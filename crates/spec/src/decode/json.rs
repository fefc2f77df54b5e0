//! Free-form values (`with:`) as JSON, with a mark on each.

use serde_json::{Map, Value as Json};

use super::Decoder;
use crate::yaml::{Node, Scalar, ScalarKind, Value};

impl Decoder<'_> {
    /// The parameters of a node.
    pub(super) fn params(&mut self, node: &Node, path: &str) -> Map<String, Json> {
        let mut map = Map::new();
        for (key, name, value) in self.entries(node, "with") {
            let path = format!("{path}.{name}");
            // The key, for problems with the parameter itself.
            self.marks.set(format!("{path}.#key"), key.mark);
            let json = self.json(value, &path);
            map.insert(name.to_owned(), json);
        }
        map
    }

    fn json(&mut self, node: &Node, path: &str) -> Json {
        self.marks.set(path, node.mark);
        match &node.value {
            Value::Scalar(Scalar { text, kind, .. }) => match kind {
                ScalarKind::Null => Json::Null,
                ScalarKind::Bool(value) => Json::Bool(*value),
                ScalarKind::Number(value) => Json::Number(value.clone()),
                ScalarKind::Text => Json::String(text.clone()),
            },
            Value::Sequence(items) => Json::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.json(item, &format!("{path}.{index}")))
                    .collect(),
            ),
            Value::Mapping(_) => {
                let mut map = Map::new();
                for (_, name, value) in self.entries(node, "with") {
                    let json = self.json(value, &format!("{path}.{name}"));
                    map.insert(name.to_owned(), json);
                }
                Json::Object(map)
            }
        }
    }
}
