//! Checks links: ends, duplicates, cycles, inputs without a link, policies that can't hold.

use std::collections::{BTreeMap, HashMap};

use super::Check;
use crate::{
    assignment::Program,
    placement::Placement,
    problem::Severity,
    qos::{OnFull, QosMode},
    quantity::format_bytes,
    source::IMPLIED_SPILL,
    suggest,
    system::{Link, MAX_LINKS, NodeSpec, PortRef},
};

impl Check<'_> {
    pub(super) fn links(&mut self) {
        let links = &self.system.links;
        if links.len() > MAX_LINKS {
            let message = format!("{} links, at most {MAX_LINKS} are allowed", links.len());
            self.error("out-of-range", "links", message, "");
            return;
        }
        for (index, link) in links.iter().enumerate() {
            let path = format!("links.{index}");
            self.port(&link.from, &format!("{path}.from"), true);
            self.port(&link.to, &format!("{path}.to"), false);
            if link.from.node == link.to.node {
                let message = format!("`{}` is linked to itself", link.from.node);
                self.error(
                    "self-link",
                    &path,
                    message,
                    "a link joins two different nodes",
                );
            }
            self.via(link, &path);
            self.policy(link, &path);
            self.order(link, &path);
        }
        self.duplicate_links();
        self.cycles();
        if !self.marks.links_incomplete() {
            self.unlinked_ports();
        }
    }

    fn port(&mut self, port: &PortRef, path: &str, is_output: bool) {
        if self.marks.is_broken(&port.node) {
            return;
        }
        let Some(node) = self.system.node(&port.node) else {
            self.unknown_node(&port.node, path);
            return;
        };
        if matches!(node.program, Program::Builtin(_)) && node.builtin().is_none() {
            // The node itself is unknown; its ports are too.
            return;
        }
        let (ports, what) = if is_output {
            (node.output_ports(), "output")
        } else {
            (node.input_ports(), "input")
        };
        if ports.contains(&port.port) {
            return;
        }
        let message = if ports.is_empty() {
            format!("`{}` has no {what}", port.node)
        } else {
            format!("`{}` has no {what} `{}`", port.node, port.port)
        };
        let hint = if ports.is_empty() {
            match (is_output, node_words(node)) {
                (true, words) => format!("{words} only takes frames in"),
                (false, words) => format!("{words} only sends frames out"),
            }
        } else {
            suggest::hint(&port.port, ports.iter().map(String::as_str), what)
        };
        self.error("unknown-port", path, message, hint);
    }

    /// Durable and blocking right behind something that can't wait is a promise nobody can keep.
    fn via(&mut self, link: &Link, path: &str) {
        let system = self.system;
        if link.qos.wants_broker()
            && system.placement == Placement::Spread
            && system.broker.is_none()
        {
            self.error(
                "no-broker",
                &format!("{path}.qos"),
                "a device's own broker can't be reached from the other devices of a spread system",
                "name a server that all of them reach: `broker: {redis: redis://HOST:6379}`",
            );
        }
    }

    fn policy(&mut self, link: &Link, path: &str) {
        let live = self
            .system
            .node(&link.from.node)
            .is_some_and(NodeSpec::is_live);
        if link.qos.mode != QosMode::Durable || !live {
            return;
        }
        let implied = format!("{path}.{IMPLIED_SPILL}");
        if link.qos.on_full == OnFull::Spill && self.marks.has(&implied) {
            self.add(
                "durable-live-source",
                Severity::Warning,
                &implied,
                format!(
                    "`{}` reads a live source, which can't wait: when this link is full, frames go \
                     to the device's disk, up to {}",
                    link.from.node,
                    format_bytes(link.qos.spill_bytes)
                ),
                "say so with `on_full=spill`, with `spill=SIZE` for another limit",
            );
        }
        if link.qos.on_full == OnFull::Block {
            self.error(
                "durable-live-source",
                &format!("{path}.qos"),
                format!(
                    "`{}` reads a live source, which can't wait while a durable link is full",
                    link.from.node
                ),
                "use a realtime link, `on_full=spill` to keep frames on disk meanwhile, or \
                 `on_full=fail` to have them refused and counted",
            );
        }
    }

    /// Replicas that share the frames of a link have no order among them.
    fn order(&mut self, link: &Link, path: &str) {
        let consumer = self.system.node(&link.to.node);
        let replicas = consumer.map_or(1, |node| node.replicas);
        if link.qos.order_timeout_ms.is_some() && replicas > 1 {
            self.error(
                "ordered-replicas",
                path,
                format!(
                    "`{}` has {replicas} replicas, which share the frames of this link: there is \
                     no order between them",
                    link.to.node
                ),
                "put `ordered` on the link that leads from the replicas to a single node",
            );
        }
    }

    fn duplicate_links(&mut self) {
        let mut first: BTreeMap<(&PortRef, &PortRef), usize> = BTreeMap::new();
        let mut repeated = Vec::new();
        for (index, link) in self.system.links.iter().enumerate() {
            match first.get(&(&link.from, &link.to)) {
                Some(earlier) => repeated.push((index, *earlier, link.id())),
                None => {
                    first.insert((&link.from, &link.to), index);
                }
            }
        }
        for (index, earlier, id) in repeated {
            let hint = match self.marks.get(&format!("links.{earlier}")).line {
                0 => "remove one of the two".to_owned(),
                line => format!("it was given first on line {line}; remove one of the two"),
            };
            let message = format!("the link `{id}` is here twice");
            self.error("duplicate-link", &format!("links.{index}"), message, hint);
        }
    }

    /// Reports each cycle once, on the link that closes it.
    fn cycles(&mut self) {
        let mut next: HashMap<&str, Vec<(usize, &str)>> = HashMap::new();
        for (index, link) in self.system.links.iter().enumerate() {
            if link.from.node != link.to.node {
                next.entry(&link.from.node)
                    .or_default()
                    .push((index, &link.to.node));
            }
        }
        let mut done: HashMap<&str, bool> = HashMap::new();
        let mut found = Vec::new();
        for start in self.system.nodes.keys() {
            walk(start, &next, &mut done, &mut found);
        }
        for (index, cycle) in found {
            self.error(
                "cycle",
                &format!("links.{index}"),
                format!("the links form a cycle: {}", cycle.join(" -> ")),
                "frames flow one way; remove one of these links",
            );
        }
    }

    fn unlinked_ports(&mut self) {
        let system = self.system;
        for (name, node) in &system.nodes {
            let path = format!("nodes.{name}");
            let declared = node.builtin().is_some() || node.inputs.is_some();
            for port in node.input_ports().into_iter().filter(|_| declared) {
                if system.links_to(name).any(|link| link.to.port == port) {
                    continue;
                }
                let shown = if node.input_ports().len() == 1 {
                    format!("node `{name}` gets no frames: nothing is linked to its input")
                } else {
                    format!("node `{name}` gets no frames on its input `{port}`")
                };
                let hint = format!("add a link: `… -> {}`", input_text(name, node, &port));
                self.error("unlinked-input", &path, shown, hint);
            }
            let is_source = node
                .builtin()
                .is_some_and(|builtin| builtin.inputs.is_empty() && !builtin.names_inputs());
            if is_source && system.links_from(name).next().is_none() && !system.views.contains(name)
            {
                self.add(
                    "unused-output",
                    Severity::Warning,
                    &path,
                    format!("nothing uses the frames of `{name}`"),
                    format!("add a link `{name} -> …`, list it in `views`, or remove it"),
                );
            }
        }
    }
}

/// Depth first, without recursion; `done[node]` is false while the node is on the current path.
fn walk<'a>(
    start: &'a str,
    next: &HashMap<&'a str, Vec<(usize, &'a str)>>,
    done: &mut HashMap<&'a str, bool>,
    found: &mut Vec<(usize, Vec<String>)>,
) {
    if done.contains_key(start) {
        return;
    }
    done.insert(start, false);
    let mut path: Vec<(&str, usize)> = vec![(start, 0)];
    while let Some((node, at)) = path.last_mut() {
        let edge = next.get(*node).and_then(|edges| edges.get(*at)).copied();
        *at += 1;
        match edge {
            None => {
                done.insert(node, true);
                path.pop();
            }
            Some((index, to)) => match done.get(to) {
                Some(true) => {}
                Some(false) => {
                    let from = path.iter().position(|(name, _)| *name == to).unwrap_or(0);
                    let mut cycle: Vec<String> = path[from..]
                        .iter()
                        .map(|(name, _)| (*name).to_owned())
                        .collect();
                    cycle.push(to.to_owned());
                    found.push((index, cycle));
                }
                None => {
                    done.insert(to, false);
                    path.push((to, 0));
                }
            },
        }
    }
}

fn input_text(name: &str, node: &NodeSpec, port: &str) -> String {
    PortRef::new(name, port).short(&node.default_input())
}

fn node_words(node: &NodeSpec) -> String {
    match &node.program {
        Program::Builtin(name) => format!("`{name}`"),
        Program::Command(_) => "it".to_owned(),
    }
}
