//! Whether a system makes sense: names, programs, parameters, links, views. Reports everything;
//! changes nothing.

use crate::{
    assignment::Program,
    catalog::{self, BUILTINS, Builtin},
    names,
    placement::Placement,
    problem::{Problem, Severity},
    source::{Marks, Source},
    suggest,
    system::{MAX_NODES, NodeSpec, System},
    template,
};

mod links;
mod models;

pub(crate) use models::models;

/// Checks a system.
pub(crate) fn validate(system: &System, marks: &Marks, source: &Source<'_>) -> Vec<Problem> {
    let mut check = Check {
        system,
        marks,
        source,
        problems: Vec::new(),
    };
    check.metadata();
    check.nodes();
    check.links();
    check.views();
    check.problems
}

struct Check<'a> {
    system: &'a System,
    marks: &'a Marks,
    source: &'a Source<'a>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn error(
        &mut self,
        code: &'static str,
        path: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(code, Severity::Error, path, message, hint);
    }

    fn add(
        &mut self,
        code: &'static str,
        severity: Severity,
        path: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let mark = self.marks.get(path);
        self.problems
            .push(self.source.problem(code, severity, mark, message, hint));
    }

    fn metadata(&mut self) {
        let metadata = &self.system.metadata;
        // A name that is missing in a text was complained about when it was read.
        let name = &metadata.name;
        let is_missing = self.marks.has_text() && self.marks.get("metadata.name").line == 0;
        if let Err(error) = names::check_name(name)
            && !is_missing
        {
            let hint = names::to_name(name).map_or_else(
                || "use lower-case letters, digits and `-`".to_owned(),
                |near| format!("write `{near}`"),
            );
            let message = format!("`{name}` can't be the name of a system: {error}");
            self.error("invalid-name", "metadata.name", message, hint);
        }
        for (key, value) in &metadata.labels {
            let path = format!("metadata.labels.{key}");
            if let Err(error) = names::check_label_key(key) {
                let message = format!("`{key}` can't be the key of a label: {error}");
                self.error("invalid-label", &path, message, "");
            }
            if let Err(error) = names::check_label_value(value) {
                let message = format!("`{value}` can't be the value of a label: {error}");
                self.error("invalid-label", &path, message, "");
            }
        }
    }

    fn nodes(&mut self) {
        let system = self.system;
        if system.nodes.is_empty() && self.marks.broken_nodes().next().is_none() {
            if self.marks.get("nodes").line > 0 || !self.marks.has_text() {
                let hint = "a node looks like `camera: {use: pattern}`";
                self.error("no-nodes", "nodes", "the system has no nodes", hint);
            }
            return;
        }
        if system.nodes.len() > MAX_NODES {
            let message = format!(
                "{} nodes, at most {MAX_NODES} are allowed",
                system.nodes.len()
            );
            self.error("out-of-range", "nodes", message, "");
        }
        for (name, node) in &system.nodes {
            self.node(name, node);
        }
    }

    fn node(&mut self, name: &str, node: &NodeSpec) {
        let path = format!("nodes.{name}");
        if self.marks.get(&path).line == 0
            && let Err(error) = names::check_name(name)
        {
            // With a place, the name was checked when it was read.
            let message = format!("`{name}` can't be the name of a node: {error}");
            self.error("invalid-name", &path, message, "");
        }
        match &node.program {
            Program::Builtin(uses) => match catalog::builtin(uses) {
                Some(builtin) => {
                    self.builtin(name, node, builtin, &path);
                    self.no_models(node, &path);
                    self.named_inputs(name, node, builtin, &path);
                }
                None => {
                    let known = BUILTINS.iter().map(|builtin| builtin.name);
                    self.error(
                        "unknown-node",
                        &format!("{path}.use"),
                        format!("there is no built-in node `{uses}`"),
                        suggest::hint(uses, known, "node"),
                    );
                }
            },
            Program::Command(command) => {
                for (index, word) in command.iter().enumerate() {
                    self.template(word, &format!("{path}.run.{index}"));
                }
                if command
                    .first()
                    .is_none_or(|program| program.trim().is_empty())
                {
                    let message = format!("node `{name}` runs an empty command");
                    self.error("invalid-value", &format!("{path}.run"), message, "");
                }
            }
        }
        for (key, value) in &node.env {
            self.env(key, value, &path);
        }
        self.models(node, &path);
        self.templates_in(
            &serde_json::Value::Object(node.with.clone()),
            &format!("{path}.with"),
        );
        self.replicas(name, node, &path);
        self.on(name, node, &path);
    }

    fn builtin(&mut self, name: &str, node: &NodeSpec, builtin: &'static Builtin, path: &str) {
        for (field, ports) in [("inputs", &node.inputs), ("outputs", &node.outputs)] {
            if ports.is_some() && !(field == "inputs" && builtin.names_inputs()) {
                self.error(
                    "fixed-ports",
                    &format!("{path}.{field}"),
                    format!(
                        "the ports of the built-in node `{}` are fixed",
                        builtin.name
                    ),
                    format!("remove `{field}`; it is for `run` nodes"),
                );
            }
        }
        for (key, value) in &node.with {
            let Some(param) = builtin.param(key) else {
                let known = builtin.params.iter().map(|param| param.name);
                self.error(
                    "unknown-parameter",
                    &format!("{path}.with.{key}.#key"),
                    format!("`{}` has no parameter `{key}`", builtin.name),
                    suggest::hint(key, known, "parameter"),
                );
                continue;
            };
            if let Err(error) = catalog::check(&param.kind, value) {
                let message = format!("parameter `{key}` of node `{name}`: {}", error.message);
                self.error(
                    error.code,
                    &format!("{path}.with.{key}"),
                    message,
                    error.hint,
                );
            }
        }
        self.required_params(name, node, builtin, path);
    }

    fn required_params(&mut self, name: &str, node: &NodeSpec, builtin: &Builtin, path: &str) {
        for param in builtin.params.iter().filter(|param| param.required) {
            if !node.with.contains_key(param.name) {
                self.error(
                    "missing-parameter",
                    path,
                    format!("node `{name}` needs the parameter `{}`", param.name),
                    format!("add `with: {{{}: …}}`. {}", param.name, param.summary),
                );
            }
        }
        let Some([one, other]) = builtin.one_of() else {
            return;
        };
        match (node.with.contains_key(one), node.with.contains_key(other)) {
            (false, false) => {
                let summary = builtin.param(one).map_or("", |param| param.summary);
                self.error(
                    "missing-parameter",
                    path,
                    format!("node `{name}` needs the parameter `{one}` or `{other}`"),
                    format!("add `with: {{{one}: …}}`. {summary}"),
                );
            }
            (true, true) => self.error(
                "conflicting-parameters",
                &format!("{path}.with.{other}.#key"),
                format!("node `{name}` has both the parameters `{one}` and `{other}`"),
                format!("remove one of them: `{}` takes either", builtin.name),
            ),
            _ => {}
        }
    }

    /// A built-in node whose inputs the manifest names.
    fn named_inputs(&mut self, name: &str, node: &NodeSpec, builtin: &Builtin, path: &str) {
        if !builtin.names_inputs() {
            return;
        }
        let inputs = node.input_ports();
        if inputs.len() < 2 {
            self.error(
                "missing-field",
                path,
                format!(
                    "`{}` joins two inputs or more; `{name}` names {}",
                    builtin.name,
                    inputs.len()
                ),
                "name them: `inputs: [left, right]`",
            );
            return;
        }
        let primary = node.with.get("primary").and_then(serde_json::Value::as_str);
        let tolerances = node
            .with
            .get("tolerances_ms")
            .and_then(serde_json::Value::as_object);
        let keys = tolerances.into_iter().flat_map(|map| map.keys());
        let named = primary.map(|input| ("primary", input.to_owned()));
        let named = named
            .into_iter()
            .chain(keys.map(|key| ("tolerances_ms", key.clone())));
        for (param, input) in named {
            if !inputs.contains(&input) && !template::has_template(&input) {
                let hint = suggest::hint(&input, inputs.iter().map(String::as_str), "input");
                let message = format!("`{name}` has no input `{input}`");
                self.error(
                    "unknown-port",
                    &format!("{path}.with.{param}"),
                    message,
                    hint,
                );
            }
        }
    }

    fn env(&mut self, key: &str, value: &str, path: &str) {
        let path = format!("{path}.env.{key}");
        if let Err(error) = names::check_env_name(key) {
            let message = format!("`{key}` can't be an environment variable: {error}");
            self.error("invalid-env", &path, message, "");
        }
        if key.starts_with("EDGEFLOW_") {
            let message = format!("`{key}` is set by the agent");
            self.error(
                "invalid-env",
                &path,
                message,
                "choose a name without `EDGEFLOW_`",
            );
        }
        if value.contains('\0') {
            let message = format!("`{key}` has a NUL character in it");
            self.error("invalid-env", &path, message, "");
        }
        self.template(value, &path);
    }

    fn replicas(&mut self, name: &str, node: &NodeSpec, path: &str) {
        let path = format!("{path}.replicas");
        if !(1..=crate::system::MAX_REPLICAS).contains(&node.replicas) {
            let message = format!("node `{name}` can't have {} replicas", node.replicas);
            let hint = format!("from 1 to {}", crate::system::MAX_REPLICAS);
            self.error("out-of-range", &path, message, hint);
        } else if node.replicas > 1 && self.system.links_to(name).next().is_none() {
            self.add(
                "replicated-source",
                Severity::Warning,
                &path,
                format!(
                    "`{name}` has no input, so each of its replicas produces frames of its own"
                ),
                "replicas share the work of nodes that have an input; remove `replicas` here",
            );
        }
    }

    fn on(&mut self, name: &str, node: &NodeSpec, path: &str) {
        if !node.on.is_empty() && self.system.placement == Placement::Copies {
            self.error(
                "needs-spread",
                &format!("{path}.on"),
                format!("node `{name}` says where it runs, but every device runs a whole copy"),
                "add `placement: spread` under `spec` to have one copy over several devices, or remove `on`",
            );
        }
    }

    fn templates_in(&mut self, value: &serde_json::Value, path: &str) {
        match value {
            serde_json::Value::String(text) => self.template(text, path),
            serde_json::Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.templates_in(item, &format!("{path}.{index}"));
                }
            }
            serde_json::Value::Object(map) => {
                for (key, item) in map {
                    self.templates_in(item, &format!("{path}.{key}"));
                }
            }
            _ => {}
        }
    }

    fn template(&mut self, text: &str, path: &str) {
        if let Err(error) = template::check(text) {
            self.error(
                "invalid-template",
                path,
                error.message,
                "templates are `{{ device.name }}`, `{{ device.id }}` and `{{ device.labels.KEY }}`",
            );
        }
    }

    fn views(&mut self) {
        let system = self.system;
        for (index, view) in system.views.iter().enumerate() {
            let path = format!("views.{index}");
            if system.views[..index].contains(view) {
                let message = format!("`{view}` is in `views` twice");
                self.error("duplicate-view", &path, message, "remove one of the two");
                continue;
            }
            if self.marks.is_broken(view) {
                continue;
            }
            match system.node(view) {
                None => self.unknown_node(view, &path),
                Some(node) if node.output_ports().is_empty() => self.error(
                    "no-output",
                    &path,
                    format!("`{view}` has no output to look at"),
                    "list a node that sends frames on",
                ),
                Some(_) => {}
            }
        }
    }

    fn unknown_node(&mut self, name: &str, path: &str) {
        let marks = self.marks;
        let known = self
            .system
            .nodes
            .keys()
            .map(String::as_str)
            .chain(marks.broken_nodes());
        let hint = suggest::hint(name, known, "node");
        self.error(
            "unknown-node",
            path,
            format!("there is no node `{name}`"),
            hint,
        );
    }
}
