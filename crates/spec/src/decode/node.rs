//! Reads one node.

use super::{Decoder, Fields, Shape};
use crate::{
    assignment::{Program, RestartPolicy},
    names,
    system::{MAX_PORTS, MAX_REPLICAS, MAX_STOP_GRACE_MS, NodeSpec},
    yaml::Node,
};

/// Fields of a node.
pub(crate) const NODE: Shape = Shape {
    what: "a node",
    known: &[
        "use",
        "run",
        "with",
        "env",
        "models",
        "on",
        "replicas",
        "inputs",
        "outputs",
        "restart",
        "stop_grace",
    ],
    unsupported: &[
        ("package", "the program has to be on the device already"),
        ("limits", "memory and processor limits are not enforced yet"),
    ],
    elsewhere: &[
        ("uses", "write `use`"),
        ("command", "write `run: [program, argument]`"),
        ("cmd", "write `run: [program, argument]`"),
        (
            "image",
            "containers are not supported; write `run: [program, argument]`",
        ),
        ("params", "parameters go under `with`"),
        ("parameters", "parameters go under `with`"),
        (
            "args",
            "arguments go behind the program: `run: [program, argument]`",
        ),
        ("links", "`links` belongs under `spec`"),
    ],
};

const RESTART: [(&str, RestartPolicy); 3] = [
    ("always", RestartPolicy::Always),
    ("on-failure", RestartPolicy::OnFailure),
    ("never", RestartPolicy::Never),
];

impl Decoder<'_> {
    /// A node; `None` if what it runs could not be read.
    pub(super) fn node(&mut self, name: &str, node: &Node) -> Option<NodeSpec> {
        let path = format!("nodes.{name}");
        let fields = self.fields(node, &NODE)?;
        // Everything is read before giving up, so that all problems show.
        let program = self.program(&fields, name, &path);
        let mut spec = NodeSpec::new(Program::Command(Vec::new()));
        if let Some(with) = fields.get("with") {
            self.marks
                .set(format!("{path}.with"), fields.key_mark("with"));
            spec.with = self.params(with, &format!("{path}.with"));
        }
        if let Some(env) = fields.get("env") {
            spec.env = self.plain_map(env, "env", &format!("{path}.env"));
        }
        if let Some(models) = fields.get("models") {
            spec.models = self.models(models, &path);
        }
        if let Some(replicas) = fields.get("replicas") {
            self.marks.set(format!("{path}.replicas"), replicas.mark);
            spec.replicas = self
                .integer(replicas, "replicas", 1, MAX_REPLICAS)
                .unwrap_or(1);
        }
        if let Some(on) = fields.get("on") {
            self.marks.set(format!("{path}.on"), fields.key_mark("on"));
            spec.on = self.selector(on, "on");
        }
        spec.inputs = self.ports(&fields, "inputs", &path);
        spec.outputs = self.ports(&fields, "outputs", &path);
        if let Some(restart) = fields.get("restart")
            && let Some(text) = self.text(restart, "restart")
            && let Some(policy) = self.word(text, restart.mark, "restart", &RESTART)
        {
            spec.restart = policy;
        }
        if let Some(grace) = fields.get("stop_grace")
            && let Some(value) = self.duration(grace, "stop_grace")
        {
            self.stop_grace(&mut spec, value, grace);
        }
        spec.program = program?;
        Some(spec)
    }

    fn stop_grace(&mut self, spec: &mut NodeSpec, value: u64, node: &Node) {
        if value <= MAX_STOP_GRACE_MS {
            spec.stop_grace_ms = value;
        } else {
            self.error(
                "out-of-range",
                node.mark,
                "`stop_grace` is too long",
                "at most `10m`",
            );
        }
    }

    fn program(&mut self, fields: &Fields<'_>, name: &str, path: &str) -> Option<Program> {
        match (fields.get("use"), fields.get("run")) {
            (Some(node), None) => {
                self.marks.set(format!("{path}.use"), node.mark);
                Some(Program::Builtin(self.text(node, "use")?.to_owned()))
            }
            (None, Some(node)) => {
                self.marks.set(format!("{path}.run"), node.mark);
                let mut command = Vec::new();
                let before = self.problems.len();
                for (item, word) in self.texts(node, "run") {
                    self.marks
                        .set(format!("{path}.run.{}", command.len()), item.mark);
                    command.push(word.to_owned());
                }
                if command.is_empty() && self.problems.len() == before {
                    let hint = "write `run: [program, argument]`";
                    self.error("invalid-value", node.mark, "`run` names no program", hint);
                }
                (self.problems.len() == before).then_some(Program::Command(command))
            }
            (Some(_), Some(_)) => {
                self.error(
                    "use-and-run",
                    fields.key_mark("run"),
                    format!("node `{name}` has both `use` and `run`"),
                    "keep `use` for a built-in node or `run` for a command of your own",
                );
                None
            }
            (None, None) => {
                self.error(
                    "missing-field",
                    self.marks.get(path),
                    format!("node `{name}` needs `use` or `run`"),
                    "write `use: detect` for a built-in node or `run: [program, argument]`",
                );
                None
            }
        }
    }

    fn models(&mut self, node: &Node, path: &str) -> Vec<String> {
        self.marks.set(format!("{path}.models"), node.mark);
        let mut models: Vec<String> = Vec::new();
        for (item, name) in self.texts(node, "models") {
            self.marks
                .set(format!("{path}.models.{}", models.len()), item.mark);
            models.push(name.to_owned());
        }
        models
    }

    fn ports(&mut self, fields: &Fields<'_>, field: &str, path: &str) -> Option<Vec<String>> {
        let node = fields.get(field)?;
        self.marks
            .set(format!("{path}.{field}"), fields.key_mark(field));
        let mut ports: Vec<String> = Vec::new();
        for (item, port) in self.texts(node, field) {
            if let Err(error) = names::check_name(port) {
                let message = format!("`{port}` can't be the name of a port: {error}");
                self.error("invalid-name", item.mark, message, "");
            } else if ports.iter().any(|other| other == port) {
                let message = format!("port `{port}` is listed twice");
                self.error(
                    "duplicate-port",
                    item.mark,
                    message,
                    "remove one of the two",
                );
            } else {
                ports.push(port.to_owned());
            }
        }
        if ports.len() > MAX_PORTS {
            let message = format!("{} {field}, at most {MAX_PORTS} are allowed", ports.len());
            self.error("out-of-range", node.mark, message, "");
            ports.truncate(MAX_PORTS);
        }
        Some(ports)
    }
}
