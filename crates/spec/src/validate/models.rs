//! The models that nodes name: their names, and whether they are there.

use std::collections::BTreeSet;

use super::Check;
use crate::{
    assignment::Program,
    catalog::{self, MODELS, ParamKind},
    names,
    problem::Problem,
    source::{Marks, Source},
    suggest,
    system::{NodeSpec, System},
    template,
};

/// Models of a node.
const MAX_MODELS: usize = 16;

/// Checks that every model is one of `known`, in the catalogue, or a file of the device.
pub(crate) fn models(
    system: &System,
    known: &BTreeSet<&str>,
    marks: &Marks,
    source: &Source<'_>,
) -> Vec<Problem> {
    let mut check = Check {
        system,
        marks,
        source,
        problems: Vec::new(),
    };
    for (name, node) in &system.nodes {
        check.known(name, node, known);
    }
    check.problems
}

impl Check<'_> {
    /// `models` is for commands; built-in nodes have a parameter.
    pub(super) fn no_models(&mut self, node: &NodeSpec, path: &str) {
        if !node.models.is_empty() {
            let message = "`models` is for `run` nodes";
            let hint = "a built-in node names its model under `with`: `with: {model: yolox-nano}`";
            self.error("misplaced-field", &format!("{path}.models"), message, hint);
        }
    }

    /// Names of a command's models.
    pub(super) fn models(&mut self, node: &NodeSpec, path: &str) {
        if node.models.len() > MAX_MODELS {
            let message = format!(
                "{} models, at most {MAX_MODELS} are allowed",
                node.models.len()
            );
            self.error("out-of-range", &format!("{path}.models"), message, "");
        }
        for (index, model) in node.models.iter().enumerate() {
            let path = format!("{path}.models.{index}");
            if template::has_template(model) {
                self.template(model, &path);
            } else if let Err(error) = names::check_name(model) {
                let message = format!("`{model}` can't be the name of a model: {error}");
                let hint = "models have the names of `edgeflow model list`";
                self.error("invalid-name", &path, message, hint);
            }
        }
    }

    fn known(&mut self, name: &str, node: &NodeSpec, known: &BTreeSet<&str>) {
        let path = format!("nodes.{name}");
        match &node.program {
            Program::Builtin(_) => {
                let params = node.builtin().map_or(&[][..], |builtin| builtin.params);
                for param in params.iter().filter(|it| it.kind == ParamKind::Model) {
                    let Some(model) = node.with.get(param.name).and_then(|it| it.as_str()) else {
                        continue;
                    };
                    // Devices may have models of the catalogue already.
                    if !MODELS.contains(&model) && !catalog::is_file(model) {
                        let path = format!("{path}.with.{}", param.name);
                        self.is_known(model, known, &path);
                    }
                }
            }
            Program::Command(_) => {
                for (index, model) in node.models.iter().enumerate() {
                    self.is_known(model, known, &format!("{path}.models.{index}"));
                }
            }
        }
    }

    fn is_known(&mut self, model: &str, known: &BTreeSet<&str>, path: &str) {
        let is_name = names::check_name(model).is_ok();
        if known.contains(model) || !is_name || template::has_template(model) {
            return;
        }
        let all = known.iter().copied().chain(MODELS);
        let hint = match suggest::nearest(model, all) {
            Some(near) => format!("did you mean `{near}`?"),
            None if MODELS.contains(&model) => {
                format!("`edgeflow model add {model}` brings it to the control plane")
            }
            None => format!("add it with `edgeflow model add FILE --name {model}`"),
        };
        let message = format!("there is no model `{model}`");
        self.error("unknown-model", path, message, hint);
    }
}
