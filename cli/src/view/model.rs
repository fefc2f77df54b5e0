//! A model as shown to people and programs.

use edgeflow_model::{Description, Entry, Family};
use edgeflow_proto::v1;
use edgeflow_spec::quantity::rounded_bytes;
use serde::Serialize;

use crate::{
    cells,
    output::{
        Row,
        table::Cell,
        time::{age, now_ms, rfc3339},
    },
};

/// Digits of a digest in a table.
const SHORT_DIGEST: usize = 12;
/// Labels in a description for people.
const SHOWN_LABELS: usize = 20;

/// A model that the control plane keeps.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ModelView {
    pub(crate) name: String,
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
    /// What the file's name ends in: onnx.
    pub(crate) extension: String,
    pub(crate) added_at: Option<String>,
    /// Systems that use it now.
    pub(crate) systems: Vec<String>,
    /// What people said of it.
    pub(crate) description: Description,
    pub(crate) inputs: Vec<TensorView>,
    pub(crate) outputs: Vec<TensorView>,
    #[serde(skip)]
    added_unix_ms: i64,
}

/// An input or output of a model.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TensorView {
    pub(crate) name: String,
    /// Null: any size.
    pub(crate) dims: Vec<Option<i64>>,
}

/// A model that can be added by name.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CatalogueView {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) licence: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// The control plane has it.
    pub(crate) kept: bool,
}

impl From<v1::ModelTensor> for TensorView {
    fn from(tensor: v1::ModelTensor) -> Self {
        let dim = |dim: i64| (dim >= 0).then_some(dim);
        Self {
            name: tensor.name,
            dims: tensor.dims.into_iter().map(dim).collect(),
        }
    }
}

impl From<v1::Model> for ModelView {
    fn from(model: v1::Model) -> Self {
        // A newer control plane may know more than this program.
        let description = Description::from_json(model.description.as_bytes());
        Self {
            name: model.name,
            sha256: model.sha256,
            bytes: model.bytes,
            extension: model.extension,
            added_at: rfc3339(model.added_unix_ms),
            systems: model.systems,
            description: description.unwrap_or_default(),
            inputs: model.inputs.into_iter().map(TensorView::from).collect(),
            outputs: model.outputs.into_iter().map(TensorView::from).collect(),
            added_unix_ms: model.added_unix_ms,
        }
    }
}

impl ModelView {
    /// How a manifest names it.
    pub(crate) fn usage(&self) -> String {
        if self.inputs.is_empty() {
            return format!("run: […], models: [{}]", self.name);
        }
        let node = if self.is_classifier() {
            "classify"
        } else {
            "detect"
        };
        format!("use: {node}, with: {{model: {}}}", self.name)
    }

    /// By what is told of it, or else by its only output, which then is `[pictures, classes]`.
    fn is_classifier(&self) -> bool {
        match (&self.description.family, &self.outputs[..]) {
            (Some(family), _) => family == Family::Classes.name(),
            (None, [output]) => output.dims.len() == 2,
            _ => false,
        }
    }

    /// Labels and texts for people.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let told = &self.description;
        let mut facts = vec![
            ("Model", self.name.clone()),
            ("About", told.about.clone()),
            ("Licence", told.licence.clone()),
            ("Family", told.family.clone().unwrap_or_default()),
            ("Size", rounded_bytes(self.bytes)),
            ("SHA-256", self.sha256.clone()),
            ("Inputs", tensors(&self.inputs)),
            ("Outputs", tensors(&self.outputs)),
            ("Classes", labels(&told.labels)),
            ("Added", self.added_at.clone().unwrap_or_default()),
            ("Used by", self.systems.join(", ")),
            ("Manifest", self.usage()),
        ];
        facts.retain(|(_, text)| !text.is_empty());
        facts
    }
}

fn labels(labels: &[String]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let shown = labels.iter().take(SHOWN_LABELS).cloned();
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if labels.len() > SHOWN_LABELS {
        text.push_str(", …");
    }
    format!("{} ({text})", labels.len())
}

fn tensors(tensors: &[TensorView]) -> String {
    let one = |tensor: &TensorView| {
        let dim = |dim: &Option<i64>| dim.map_or("any".to_owned(), |it| it.to_string());
        let dims: Vec<String> = tensor.dims.iter().map(dim).collect();
        format!("{} [{}]", tensor.name, dims.join(", "))
    };
    tensors.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

impl Row for ModelView {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec![
            "MODEL", "SIZE", "FAMILY", "CLASSES", "LICENCE", "USED BY", "AGE",
        ];
        if wide {
            header.extend(["SHA-256", "INPUTS", "ABOUT"]);
        }
        header
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let told = &self.description;
        let classes = match told.labels.len() {
            0 => "-".to_owned(),
            count => count.to_string(),
        };
        let mut cells = cells![
            self.name.as_str(),
            rounded_bytes(self.bytes),
            or_dash(told.family.as_deref().unwrap_or_default()),
            classes,
            or_dash(&told.licence),
            or_dash(&self.systems.join(",")),
            age(self.added_unix_ms, now_ms()),
        ];
        if wide {
            let digest = self.sha256.get(..SHORT_DIGEST).unwrap_or(&self.sha256);
            cells.extend(cells![
                digest,
                or_dash(&tensors(&self.inputs)),
                or_dash(&told.about),
            ]);
        }
        cells
    }
}

impl CatalogueView {
    pub(crate) fn new(entry: &Entry, models: &[ModelView]) -> Self {
        Self {
            name: entry.name.clone(),
            about: entry.about.clone(),
            licence: entry.licence.clone(),
            bytes: entry.bytes,
            sha256: entry.sha256.clone(),
            kept: models.iter().any(|model| model.sha256 == entry.sha256),
        }
    }
}

impl Row for CatalogueView {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["MODEL", "SIZE", "LICENCE", "KEPT", "FINDS"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        cells![
            self.name.as_str(),
            rounded_bytes(self.bytes),
            self.licence.as_str(),
            if self.kept { "yes" } else { "no" },
            self.about.as_str(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_a_model_by_the_node_that_takes_it() {
        let tensor = |dims: &[i64]| v1::ModelTensor {
            name: "x".to_owned(),
            dims: dims.to_vec(),
        };
        let usage = |output: &[i64], description: &str| {
            let model = v1::Model {
                name: "mine".to_owned(),
                description: description.to_owned(),
                inputs: vec![tensor(&[-1, 3, 224, 224])],
                outputs: vec![tensor(output)],
                ..v1::Model::default()
            };
            ModelView::from(model).usage()
        };
        let detect = "use: detect, with: {model: mine}";
        let classify = "use: classify, with: {model: mine}";
        assert_eq!(usage(&[1, 84, 8400], ""), detect);
        assert_eq!(usage(&[-1, 4], ""), classify);
        assert_eq!(usage(&[-1, 4], r#"{"family": "yolov8"}"#), detect);
        assert_eq!(usage(&[1, 4, 1, 1], r#"{"family": "classes"}"#), classify);
    }
}
