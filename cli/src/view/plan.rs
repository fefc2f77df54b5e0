//! What an apply changes or changed, for programs and for people.

use edgeflow_proto::v1;
use serde::Serialize;

use crate::output::colour::{Paint, Style};

/// The result of an apply, a dry run or a rollback.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ApplyView {
    pub(crate) system: String,
    pub(crate) file: String,
    /// created | updated | unchanged | rejected | unknown
    pub(crate) outcome: &'static str,
    pub(crate) dry_run: bool,
    pub(crate) revision: u64,
    pub(crate) etag: String,
    pub(crate) problems: Vec<ProblemView>,
    pub(crate) plan: PlanView,
}

/// A problem found in a manifest.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProblemView {
    pub(crate) code: String,
    pub(crate) severity: String,
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
    pub(crate) source_line: String,
}

/// Changes, before or after they are made.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct PlanView {
    pub(crate) nodes: Vec<NodeChangeView>,
    pub(crate) links: Vec<LinkChangeView>,
    pub(crate) devices: Vec<DevicePlanView>,
    pub(crate) overrides: Vec<OverrideChangeView>,
    pub(crate) manifest_diff: String,
}

/// What becomes of a parameter that was set.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OverrideChangeView {
    pub(crate) node: String,
    pub(crate) name: String,
    pub(crate) value: serde_json::Value,
    /// keep | remove
    pub(crate) action: &'static str,
    pub(crate) reason: String,
}

/// What happens to a node.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeChangeView {
    pub(crate) node: String,
    pub(crate) action: &'static str,
    pub(crate) details: Vec<String>,
}

/// What happens to a link.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LinkChangeView {
    pub(crate) link: String,
    pub(crate) action: &'static str,
    pub(crate) qos: String,
    pub(crate) transport: String,
    pub(crate) transport_reason: String,
}

/// What happens on a device.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DevicePlanView {
    pub(crate) device: String,
    pub(crate) device_id: String,
    pub(crate) online: bool,
    pub(crate) instances: Vec<InstanceChangeView>,
}

/// What happens to a process.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InstanceChangeView {
    pub(crate) instance: String,
    /// keep | start | restart | stop
    pub(crate) action: &'static str,
    pub(crate) reason: String,
}

impl InstanceChangeView {
    /// It runs on with other parameters.
    fn takes_params(&self) -> bool {
        self.action == "keep" && !self.reason.is_empty()
    }
}

impl ApplyView {
    pub(crate) fn new(file: &str, response: v1::ApplySystemResponse) -> Self {
        let outcome = match response.outcome() {
            v1::ApplyOutcome::Created => "created",
            v1::ApplyOutcome::Updated => "updated",
            v1::ApplyOutcome::Unchanged => "unchanged",
            v1::ApplyOutcome::Rejected => "rejected",
            v1::ApplyOutcome::Unspecified => "unknown",
        };
        let system = response.system.unwrap_or_default();
        Self {
            system: system.name,
            file: file.to_owned(),
            outcome,
            dry_run: response.dry_run,
            revision: system.revision,
            etag: system.etag,
            problems: response
                .problems
                .into_iter()
                .map(ProblemView::from)
                .collect(),
            plan: response.plan.map(PlanView::from).unwrap_or_default(),
        }
    }

    pub(crate) fn changes(&self) -> bool {
        matches!(self.outcome, "created" | "updated")
    }
}

impl From<v1::Problem> for ProblemView {
    fn from(problem: v1::Problem) -> Self {
        Self {
            code: problem.code,
            severity: problem.severity,
            message: problem.message,
            hint: problem.hint,
            file: problem.file,
            line: problem.line,
            column: problem.column,
            length: problem.length,
            source_line: problem.source_line,
        }
    }
}

impl From<v1::Plan> for PlanView {
    fn from(plan: v1::Plan) -> Self {
        Self {
            nodes: plan.nodes.into_iter().map(NodeChangeView::from).collect(),
            links: plan.links.into_iter().map(LinkChangeView::from).collect(),
            devices: plan.devices.into_iter().map(DevicePlanView::from).collect(),
            overrides: plan
                .overrides
                .into_iter()
                .map(OverrideChangeView::from)
                .collect(),
            manifest_diff: plan.manifest_diff,
        }
    }
}

impl From<v1::OverrideChange> for OverrideChangeView {
    fn from(change: v1::OverrideChange) -> Self {
        Self {
            action: action_name(change.action()),
            value: super::params::json(&change.value_json),
            node: change.node,
            name: change.name,
            reason: change.reason,
        }
    }
}

impl OverrideChangeView {
    fn line(&self, paint: Paint) -> String {
        let what = if self.action == "keep" {
            "kept"
        } else {
            "dropped"
        };
        format!(
            "    {} override {}.{}={} {what}  {}",
            mark(self.action, paint),
            self.node,
            self.name,
            self.value,
            paint.dim(&self.reason)
        )
    }
}

impl From<v1::NodeChange> for NodeChangeView {
    fn from(change: v1::NodeChange) -> Self {
        Self {
            action: action_name(change.action()),
            node: change.node,
            details: change.details,
        }
    }
}

impl From<v1::LinkChange> for LinkChangeView {
    fn from(change: v1::LinkChange) -> Self {
        Self {
            action: action_name(change.action()),
            link: change.id,
            qos: change.qos,
            transport: change.transport,
            transport_reason: change.transport_reason,
        }
    }
}

impl From<v1::DevicePlan> for DevicePlanView {
    fn from(plan: v1::DevicePlan) -> Self {
        let change = |change: v1::InstanceChange| InstanceChangeView {
            action: match change.action() {
                v1::ChangeAction::Add => "start",
                v1::ChangeAction::Change => "restart",
                v1::ChangeAction::Remove => "stop",
                v1::ChangeAction::Keep | v1::ChangeAction::Unspecified => "keep",
            },
            instance: change.instance,
            reason: change.reason,
        };
        Self {
            device: plan.device_name,
            device_id: plan.device_id,
            online: plan.online,
            instances: plan.instances.into_iter().map(change).collect(),
        }
    }
}

fn action_name(action: v1::ChangeAction) -> &'static str {
    match action {
        v1::ChangeAction::Add => "add",
        v1::ChangeAction::Change => "change",
        v1::ChangeAction::Remove => "remove",
        v1::ChangeAction::Keep | v1::ChangeAction::Unspecified => "keep",
    }
}

fn mark(action: &str, paint: Paint) -> String {
    match action {
        "add" | "start" => paint.good("+"),
        "change" | "restart" => paint.warn("~"),
        "remove" | "stop" => paint.style(Style::Bad, "-"),
        _ => paint.dim("="),
    }
}

impl PlanView {
    /// The changes as indented lines. Things that stay as they are appear as a count.
    pub(crate) fn lines(&self, paint: Paint, with_diff: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let nodes = self.nodes.iter().filter(|node| node.action != "keep");
        section(&mut lines, paint, "nodes", nodes, |node, lines| {
            lines.push(format!("    {} {}", mark(node.action, paint), node.node));
            lines.extend(node.details.iter().map(|text| format!("        {text}")));
        });
        let links = self.links.iter().filter(|link| link.action != "keep");
        section(&mut lines, paint, "links", links, |link, lines| {
            let how = [link.qos.as_str(), link.transport.as_str()].join(" ");
            let why = if link.transport_reason.is_empty() {
                String::new()
            } else {
                format!(" ({})", link.transport_reason)
            };
            let how = paint.dim(&format!("{}{why}", how.trim()));
            lines.push(format!(
                "    {} {}  {how}",
                mark(link.action, paint),
                link.link
            ));
        });
        section(
            &mut lines,
            paint,
            "devices",
            self.devices.iter(),
            |device, lines| {
                device_lines(device, lines, paint);
            },
        );
        section(
            &mut lines,
            paint,
            "parameters that were set",
            self.overrides.iter(),
            |change, lines| lines.push(change.line(paint)),
        );
        if with_diff && !self.manifest_diff.trim().is_empty() {
            lines.push(format!("  {}", paint.bold("manifest")));
            lines.extend(
                self.manifest_diff
                    .lines()
                    .map(|line| diff_line(line, paint)),
            );
        }
        lines
    }

    /// `2 to start, 1 to restart on 3 devices`.
    pub(crate) fn summary(&self) -> String {
        let count = |action: &str| {
            self.devices
                .iter()
                .flat_map(|device| &device.instances)
                .filter(|change| change.action == action)
                .count()
        };
        let live = self
            .devices
            .iter()
            .flat_map(|device| &device.instances)
            .filter(|change| change.takes_params())
            .count();
        let live = (live > 0).then(|| format!("{live} to change as it runs"));
        let parts: Vec<String> = ["start", "restart", "stop"]
            .into_iter()
            .filter_map(|action| match count(action) {
                0 => None,
                count => Some(format!("{count} to {action}")),
            })
            .chain(live)
            .collect();
        let devices = match self.devices.len() {
            0 => return "no device matches the selector".to_owned(),
            1 => "1 device".to_owned(),
            count => format!("{count} devices"),
        };
        if parts.is_empty() {
            format!("no process changes on {devices}")
        } else {
            format!("{} on {devices}", parts.join(", "))
        }
    }
}

fn section<'a, T: 'a>(
    lines: &mut Vec<String>,
    paint: Paint,
    title: &str,
    items: impl Iterator<Item = &'a T>,
    mut each: impl FnMut(&'a T, &mut Vec<String>),
) {
    let mut items = items.peekable();
    if items.peek().is_some() {
        lines.push(format!("  {}", paint.bold(title)));
        items.for_each(|item| each(item, lines));
    }
}

fn device_lines(device: &DevicePlanView, lines: &mut Vec<String>, paint: Paint) {
    let state = if device.online {
        String::new()
    } else {
        format!("  {}", paint.warn("offline: changes when it is back"))
    };
    lines.push(format!("    {}{state}", device.device));
    let mut kept = 0;
    for change in &device.instances {
        if change.action == "keep" && !change.takes_params() {
            kept += 1;
            continue;
        }
        let what = if change.takes_params() {
            "change as it runs"
        } else {
            change.action
        };
        let why = if change.reason.is_empty() {
            String::new()
        } else {
            paint.dim(&format!("  {}", change.reason))
        };
        let sign = mark(change.action, paint);
        lines.push(format!("      {sign} {what} {}{why}", change.instance));
    }
    if kept > 0 {
        lines.push(format!(
            "      {} {}",
            mark("keep", paint),
            paint.dim(&format!("{kept} kept running"))
        ));
    }
}

fn diff_line(line: &str, paint: Paint) -> String {
    let style = match line.as_bytes().first() {
        Some(b'+') => Style::Good,
        Some(b'-') => Style::Bad,
        Some(b'@') => Style::Accent,
        _ => Style::Dim,
    };
    format!("    {}", paint.style(style, line))
}
