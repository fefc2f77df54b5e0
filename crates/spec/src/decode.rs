//! From the YAML tree to a system: field by field, every problem collected. Whether the system
//! makes sense as a whole is for `validate`.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::{
    catalog::BUILTINS,
    names,
    placement::Placement,
    problem::{Problem, Severity},
    selector::Selector,
    source::{Mark, Marks, Source},
    suggest,
    system::{API_VERSION, KIND, Metadata, System},
    yaml::Node,
};

mod broker;
mod fields;
mod json;
mod link;
mod node;
mod order;
#[cfg(test)]
mod tests;
mod tracing;

use fields::{Fields, Shape};
#[cfg(test)]
pub(crate) use link::LINK;
pub(crate) use link::mask_links;
pub(crate) use node::NODE;

/// What could be read, and what was wrong.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// `None` if there is no list of nodes to go on with.
    pub(crate) system: Option<System>,
    pub(crate) marks: Marks,
    pub(crate) problems: Vec<Problem>,
}

/// Fields at the top.
pub(crate) const TOP: Shape = Shape {
    what: "the manifest",
    known: &["apiVersion", "kind", "metadata", "spec"],
    unsupported: &[(
        "status",
        "it is reported by the control plane, not written by hand",
    )],
    elsewhere: &[
        ("name", "`name` belongs under `metadata`"),
        ("labels", "`labels` belongs under `metadata`"),
        ("nodes", "`nodes` belongs under `spec`"),
        ("links", "`links` belongs under `spec`"),
        ("views", "`views` belongs under `spec`"),
        ("devices", "`devices` belongs under `spec`"),
        ("selector", "`selector` belongs under `spec.devices`"),
    ],
};

/// Fields of `metadata`.
pub(crate) const METADATA: Shape = Shape {
    what: "`metadata`",
    known: &["name", "labels"],
    unsupported: &[
        ("annotations", "use `labels`"),
        ("namespace", "names are unique on the control plane"),
    ],
    elsewhere: &[],
};

/// Fields of `spec`.
pub(crate) const SPEC: Shape = Shape {
    what: "`spec`",
    known: &[
        "devices",
        "placement",
        "broker",
        "tracing",
        "nodes",
        "links",
        "views",
    ],
    unsupported: &[("rollout", "a change goes to all matching devices at once")],
    elsewhere: &[("selector", "`selector` belongs under `spec.devices`")],
};

const PLACEMENT: [(&str, Placement); 2] =
    [("copies", Placement::Copies), ("spread", Placement::Spread)];

/// Fields of `spec.devices`.
pub(crate) const DEVICES: Shape = Shape {
    what: "`devices`",
    known: &["selector"],
    unsupported: &[],
    elsewhere: &[],
};

/// Decodes a document.
pub(crate) fn decode(tree: &Node, source: &Source<'_>) -> Decoded {
    let mut decoder = Decoder {
        source,
        marks: Marks::default(),
        problems: Vec::new(),
        no_broker: false,
    };
    let system = decoder.document(tree);
    Decoded {
        system,
        marks: decoder.marks,
        problems: decoder.problems,
    }
}

struct Decoder<'a> {
    source: &'a Source<'a>,
    marks: Marks,
    problems: Vec<Problem>,
    /// `broker: none`.
    no_broker: bool,
}

impl Decoder<'_> {
    fn error(
        &mut self,
        code: &'static str,
        mark: Mark,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.push(
            self.source
                .problem(code, Severity::Error, mark, message, hint),
        );
    }

    fn document(&mut self, tree: &Node) -> Option<System> {
        let top = self.fields(tree, &TOP)?;
        self.constant(&top, "apiVersion", API_VERSION);
        self.constant(&top, "kind", KIND);
        let metadata = self.metadata(&top);
        let spec = self.required(&top, "spec")?;
        self.marks.set("spec", top.key_mark("spec"));
        let spec = self.fields(spec, &SPEC)?;
        let devices = self.devices(&spec);
        let placement = self.placement(&spec);
        let broker = self.broker(&spec);
        let trace_every = self.tracing(&spec);
        let nodes = self.nodes(&spec);
        let links = self.links(&spec, &nodes);
        let views = self.views(&spec);
        Some(System {
            metadata,
            devices,
            placement,
            broker,
            trace_every,
            nodes,
            links,
            views,
        })
    }

    fn constant(&mut self, top: &Fields<'_>, field: &'static str, expected: &str) {
        let Some(node) = self.required(top, field) else {
            return;
        };
        let Some(text) = self.plain(node, field) else {
            return;
        };
        if text != expected {
            let code = if field == "kind" {
                "unknown-kind"
            } else {
                "unknown-version"
            };
            self.error(
                code,
                node.mark,
                format!("`{field}` is `{text}`, and this version reads `{expected}`"),
                format!("write `{field}: {expected}`"),
            );
        }
    }

    fn metadata(&mut self, top: &Fields<'_>) -> Metadata {
        let mut metadata = Metadata::default();
        let Some(node) = self.required(top, "metadata") else {
            return metadata;
        };
        let Some(fields) = self.fields(node, &METADATA) else {
            return metadata;
        };
        if let Some(node) = self.required(&fields, "name")
            && let Some(name) = self.text(node, "name")
        {
            self.marks.set("metadata.name", node.mark);
            metadata.name = name.to_owned();
        }
        if let Some(node) = fields.get("labels") {
            metadata.labels = self.plain_map(node, "labels", "metadata.labels");
        }
        metadata
    }

    fn devices(&mut self, spec: &Fields<'_>) -> Selector {
        let Some(node) = spec.get("devices") else {
            return Selector::default();
        };
        let Some(fields) = self.fields(node, &DEVICES) else {
            return Selector::default();
        };
        let Some(node) = self.required(&fields, "selector") else {
            return Selector::default();
        };
        self.selector(node, "selector")
    }

    fn selector(&mut self, node: &Node, field: &str) -> Selector {
        let Some(text) = self.text(node, field) else {
            return Selector::default();
        };
        Selector::parse(text).unwrap_or_else(|error| {
            self.error(
                "invalid-selector",
                node.part(error.offset, error.length),
                error.message,
                "a selector looks like `site=berlin, camera!=none, gpu`",
            );
            Selector::default()
        })
    }

    fn placement(&mut self, spec: &Fields<'_>) -> Placement {
        let Some(node) = spec.get("placement") else {
            return Placement::default();
        };
        let Some(text) = self.text(node, "placement") else {
            return Placement::default();
        };
        self.word(text, node.mark, "placement", &PLACEMENT)
            .unwrap_or_default()
    }

    fn nodes(&mut self, spec: &Fields<'_>) -> IndexMap<String, crate::system::NodeSpec> {
        let mut nodes = IndexMap::new();
        let Some(list) = self.required(spec, "nodes") else {
            return nodes;
        };
        self.marks.set("nodes", spec.key_mark("nodes"));
        for (key, name, value) in self.entries(list, "nodes") {
            self.marks.set(format!("nodes.{name}"), key.mark);
            if let Err(error) = names::check_name(name) {
                let hint =
                    names::to_name(name).map_or_else(String::new, |near| format!("write `{near}`"));
                self.error(
                    "invalid-name",
                    key.mark,
                    format!("`{name}` can't be the name of a node: {error}"),
                    hint,
                );
            }
            match self.node(name, value) {
                Some(node) => {
                    nodes.insert(name.to_owned(), node);
                }
                None => self.marks.set_broken(name),
            }
        }
        nodes
    }

    fn views(&mut self, spec: &Fields<'_>) -> Vec<String> {
        let Some(node) = spec.get("views") else {
            return Vec::new();
        };
        let mut views = Vec::new();
        for (item, text) in self.texts(node, "views") {
            self.marks.set(format!("views.{}", views.len()), item.mark);
            views.push(text.to_owned());
        }
        views
    }

    /// A map of texts in which numbers and flags are taken as they are spelled.
    fn plain_map(&mut self, node: &Node, field: &str, path: &str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for (key, name, value) in self.entries(node, field) {
            self.marks.set(format!("{path}.{name}"), key.mark);
            if let Some(text) = self.plain(value, name) {
                self.marks.set(format!("{path}.{name}"), value.mark);
                map.insert(name.to_owned(), text.to_owned());
            }
        }
        map
    }

    fn unknown_field(&mut self, key: Mark, name: &str, shape: &Shape) {
        if let Some((_, why)) = shape.unsupported.iter().find(|(field, _)| *field == name) {
            self.error(
                "not-supported",
                key,
                format!("`{name}` is not supported by this version"),
                format!("remove it: {why}"),
            );
            return;
        }
        let hint = match shape.elsewhere.iter().find(|(field, _)| *field == name) {
            Some((_, hint)) => (*hint).to_owned(),
            None if is_parameter(shape, name) => {
                format!("`{name}` is a parameter; it goes under `with`")
            }
            None if name == "<<" => "merge keys are not supported; write the fields out".to_owned(),
            None => suggest::hint(name, shape.known.iter().copied(), "field"),
        };
        self.error(
            "unknown-field",
            key,
            format!("{} has no field `{name}`", shape.what),
            hint,
        );
    }
}

/// Whether a field that a node does not have is a parameter of some built-in node.
fn is_parameter(shape: &Shape, field: &str) -> bool {
    shape.what == NODE.what
        && BUILTINS
            .iter()
            .any(|builtin| builtin.param(field).is_some())
}
