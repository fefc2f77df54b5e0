//! Parameters of running nodes: what may be set, what was set, and whether the nodes took it. An
//! override is part of the desired state like the manifest; an apply drops it unless it is durable.

use std::{collections::BTreeMap, time::Duration};

use edgeflow_proto::v1::{self, ChangeAction, InstancePhase, ParamsProgress, param_value::Value};
use edgeflow_spec::{
    NodeSpec, System,
    assignment::{Instance, Program},
    params::{self, Overrides, Parameter},
    problem::Problem,
};
use tokio::time::Instant;

use super::{
    Service, ServiceError, SystemState,
    plan::problem_message,
    systems::{Etag, no_system, system_event, touched},
};
use crate::{changes::WAIT_INTERVAL, clock::now_ms, fleet::Live, store::OverrideRow};

/// Values that one call may set or reset.
const MAX_CHANGES: usize = params::MAX_PARAMETERS;
/// Longest wait of a call.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// A change of a system's overrides that was made.
struct Change {
    before: Vec<OverrideRow>,
    after: Vec<OverrideRow>,
}

/// Everything that keeps a change from being made.
struct Refused(Vec<Problem>);

impl Service {
    /// Sets and resets parameters, and waits for the nodes. When one of them refuses, the change is
    /// taken back everywhere.
    pub async fn set_params(
        &self,
        request: v1::SetParamsRequest,
    ) -> Result<v1::SetParamsResponse, ServiceError> {
        let mut follower = self.changes.follow_every(WAIT_INTERVAL);
        let change = match self.change_params(&request).await? {
            Ok(change) => change,
            Err(Refused(problems)) => {
                return Ok(v1::SetParamsResponse {
                    problems: problems.into_iter().map(problem_message).collect(),
                    ..v1::SetParamsResponse::default()
                });
            }
        };
        let wait = Duration::from_millis(request.wait_ms.into()).min(MAX_WAIT);
        let deadline = Instant::now() + wait;
        loop {
            let outcomes = self.outcomes(&request.system, &request.node)?;
            let mut refused = outcomes.iter();
            let refused = refused.find(|one| one.progress() == ParamsProgress::Refused);
            if !wait.is_zero()
                && let Some(refused) = refused
            {
                let why = refused.message.clone();
                let withdrawn = self.withdraw(&request, change, &why).await?;
                return self.params_response(&request.system, outcomes, withdrawn);
            }
            let waits =
                |one: &v1::ParamsOutcome| one.online && one.progress() == ParamsProgress::Pending;
            let settled = !outcomes.iter().any(waits);
            if settled || Instant::now() >= deadline {
                return self.params_response(&request.system, outcomes, false);
            }
            tokio::select! {
                changed = follower.changed() => if !changed {
                    return self.params_response(&request.system, outcomes, false);
                },
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    fn params_response(
        &self,
        system: &str,
        outcomes: Vec<v1::ParamsOutcome>,
        withdrawn: bool,
    ) -> Result<v1::SetParamsResponse, ServiceError> {
        Ok(v1::SetParamsResponse {
            problems: Vec::new(),
            outcomes,
            withdrawn,
            system: Some(self.system_view(system)?),
        })
    }

    async fn change_params(
        &self,
        request: &v1::SetParamsRequest,
    ) -> Result<Result<Change, Refused>, ServiceError> {
        if request.set.is_empty() && request.reset.is_empty() {
            return Err(ServiceError::Invalid(
                "name a parameter to set or to reset".to_owned(),
            ));
        }
        if request.set.len() + request.reset.len() > MAX_CHANGES {
            return Err(ServiceError::Limit(format!(
                "a call changes {MAX_CHANGES} parameters at most"
            )));
        }
        let mutation = self.mutate().await?;
        let name = &request.system;
        let current = mutation.world.systems.get(name).cloned();
        let current = current.ok_or_else(|| no_system(name))?;
        Etag::from(request.etag.clone()).check(name, Some(&current))?;
        let Some(node) = current.spec.node(&request.node) else {
            let known = current.spec.nodes.keys().map(String::as_str);
            return Ok(Err(Refused(vec![params::unknown_node(
                &request.node,
                known,
            )])));
        };
        let lives = mutation.world.devices.values();
        let lives = lives
            .filter(|device| current.concerns(device))
            .map(|device| self.fleet.live(&device.row.id));
        let declared = declarations(&request.node, node, lives);
        let after = match next_rows(request, node, &declared, &current.set) {
            Ok(rows) => rows,
            Err(refused) => return Ok(Err(refused)),
        };
        let before = current.set.clone();
        if before != after {
            let state = touched(&current, after.clone());
            let message = words(request, &after);
            mutation.put_set(state, "ParametersSet", message).await?;
        }
        Ok(Ok(Change { before, after }))
    }

    /// Takes a change back unless another one has come since.
    async fn withdraw(
        &self,
        request: &v1::SetParamsRequest,
        change: Change,
        why: &str,
    ) -> Result<bool, ServiceError> {
        let mutation = self.mutate().await?;
        let Some(current) = mutation.world.systems.get(&request.system).cloned() else {
            return Ok(false);
        };
        if current.set != change.after || change.before == change.after {
            return Ok(false);
        }
        let state = touched(&current, change.before);
        let message = format!("{} goes back to its old parameters: {why}", request.node);
        mutation
            .put_set(state, "ParametersWithdrawn", message)
            .await?;
        Ok(true)
    }

    /// How far each copy of a node is.
    fn outcomes(&self, system: &str, node: &str) -> Result<Vec<v1::ParamsOutcome>, ServiceError> {
        let world = self.world();
        let state = world.systems.get(system).ok_or_else(|| no_system(system))?;
        let devices = world
            .devices
            .values()
            .filter(|device| state.concerns(device));
        let mut outcomes = Vec::new();
        for device in devices {
            let live = self.fleet.live(&device.row.id);
            let wanted = device.instances_of(system).filter(|one| one.node == node);
            outcomes.extend(wanted.map(|wanted| outcome(wanted, &device.row.name, &live)));
        }
        Ok(outcomes)
    }
}

impl super::Mutation<'_> {
    /// Stores a system with other overrides.
    async fn put_set(
        mut self,
        state: SystemState,
        reason: &str,
        message: String,
    ) -> Result<(), ServiceError> {
        let name = state.row.name.clone();
        self.write.touch_system(&state.row).await?;
        self.write.put_overrides(&name, &state.set).await?;
        self.world
            .systems
            .insert(name.clone(), std::sync::Arc::new(state));
        let devices: Vec<String> = self.world.devices_of(&name).into_iter().collect();
        self.render(&devices).await?;
        self.event(system_event(&name, reason, message)).await?;
        self.commit().await?;
        tracing::info!(system = %name, reason, "parameters changed");
        Ok(())
    }
}

/// What the copies of a node declare; built-in nodes are known without one. Copies of several
/// versions may differ, and a value has to suit all of them.
pub(super) fn declarations(
    name: &str,
    node: &NodeSpec,
    lives: impl Iterator<Item = Live>,
) -> Vec<Vec<Parameter>> {
    if let Some(builtin) = node.builtin() {
        return vec![builtin.parameters()];
    }
    let mut all = Vec::new();
    for status in lives.filter_map(|live| live.status) {
        let copies = status.instances.iter().filter(|one| one.node == name);
        for copy in copies.filter(|one| !one.parameters.is_empty()) {
            let declared = edgeflow_proto::declared(&copy.parameters);
            if !all.contains(&declared) {
                all.push(declared);
            }
        }
    }
    all
}

/// The overrides as they are after the request.
fn next_rows(
    request: &v1::SetParamsRequest,
    node: &NodeSpec,
    declared: &[Vec<Parameter>],
    before: &[OverrideRow],
) -> Result<Vec<OverrideRow>, Refused> {
    let mut problems = Vec::new();
    let is_set = |name: &str| {
        let mut rows = before.iter();
        rows.any(|row| row.node == request.node && row.name == name)
    };
    if declared.is_empty() && !request.set.is_empty() {
        return Err(Refused(vec![params::problem(
            "not-declared",
            format!("node `{}` has declared no parameters", request.node),
            "a command declares them once it is ready, with `parameters()` of the SDK; wait until \
             it is, or see docs/writing-nodes.md"
                .to_owned(),
        )]));
    }
    let mut rows: BTreeMap<(String, String), OverrideRow> = before
        .iter()
        .map(|row| ((row.node.clone(), row.name.clone()), row.clone()))
        .collect();
    for name in &request.reset {
        let known = || declared.iter().flatten().any(|one| one.name == *name);
        if !is_set(name) && !known() {
            let refused = check(&request.node, node, declared, name, None).err();
            problems.extend(refused.map(|problem| *problem));
        }
        rows.remove(&(request.node.clone(), name.clone()));
    }
    for change in &request.set {
        match check(
            &request.node,
            node,
            declared,
            &change.name,
            change.value.as_ref(),
        ) {
            Ok(value) => {
                let key = (request.node.clone(), change.name.clone());
                let row = OverrideRow {
                    node: request.node.clone(),
                    name: change.name.clone(),
                    value,
                    durable: request.durable,
                    set_ms: now_ms(),
                };
                rows.insert(key, row);
            }
            Err(problem) => problems.push(*problem),
        }
    }
    if problems.is_empty() {
        Ok(rows.into_values().collect())
    } else {
        Err(Refused(problems))
    }
}

fn check(
    name: &str,
    node: &NodeSpec,
    declared: &[Vec<Parameter>],
    parameter: &str,
    given: Option<&Value>,
) -> Result<serde_json::Value, Box<Problem>> {
    let program = program(name, node);
    let mut checked = serde_json::Value::Null;
    for declared in declared {
        let live = params::find_live(name, program, declared, parameter)?;
        checked = match given {
            Some(Value::Text(text)) => live.read(text),
            Some(Value::Json(json)) => serde_json::from_str(json).map_err(|error| {
                let message = format!("parameter `{parameter}` of node `{name}`: no JSON: {error}");
                Box::new(params::problem("invalid-value", message, String::new()))
            })?,
            None => serde_json::Value::Null,
        };
        params::check_change(name, live, &checked)?;
    }
    Ok(checked)
}

/// What a text calls the node's program.
fn program<'a>(name: &'a str, node: &'a NodeSpec) -> &'a str {
    match &node.program {
        Program::Builtin(uses) => uses,
        Program::Command(_) => name,
    }
}

/// `detect: threshold = 0.6 (until the next apply), labels as in the manifest`.
fn words(request: &v1::SetParamsRequest, after: &[OverrideRow]) -> String {
    let until = if request.durable {
        "durable"
    } else {
        "until the next apply"
    };
    let set = request.set.iter().filter_map(|change| {
        let mut rows = after.iter();
        let row = rows.find(|row| row.node == request.node && row.name == change.name)?;
        Some(format!("{} = {} ({until})", row.name, row.value))
    });
    let reset = request.reset.iter();
    let reset = reset.map(|name| format!("{name} as in the manifest"));
    let all: Vec<String> = set.chain(reset).collect();
    format!("{}: {}", request.node, all.join(", "))
}

/// How far a copy of a node is with its parameters.
fn outcome(wanted: &Instance, device: &str, live: &Live) -> v1::ParamsOutcome {
    let status = live.status.as_deref();
    let mut instances = status.iter().flat_map(|status| &status.instances);
    let found = instances.find(|one| one.id == wanted.id);
    let (progress, message) = if live.online {
        progress(wanted, found)
    } else {
        let message = "offline; it takes them when it is back";
        (ParamsProgress::Pending, message.to_owned())
    };
    v1::ParamsOutcome {
        instance: wanted.id.clone(),
        device_name: device.to_owned(),
        progress: progress.into(),
        message,
        online: live.online,
    }
}

fn progress(wanted: &Instance, found: Option<&v1::InstanceStatus>) -> (ParamsProgress, String) {
    let pending = |message: &str| (ParamsProgress::Pending, message.to_owned());
    let Some(found) = found else {
        return pending("not started yet");
    };
    if let Some(reason) = refusal(wanted, found) {
        return (ParamsProgress::Refused, reason.to_owned());
    }
    match (has_params(wanted, found), found.phase()) {
        (true, InstancePhase::Ready) => (ParamsProgress::Applied, String::new()),
        (_, InstancePhase::Ready) if found.params.is_none() => {
            pending("its agent is too old for this; update it")
        }
        (_, InstancePhase::Ready) => pending("the node is busy and has not taken them yet"),
        _ if found.reason.is_empty() => pending("the node does not run"),
        _ => pending(&found.reason),
    }
}

/// Whether a process works with the parameters that it should.
pub(super) fn has_params(wanted: &Instance, found: &v1::InstanceStatus) -> bool {
    match &found.params {
        Some(state) => state.hash == wanted.params_hash(),
        // An older agent, which restarts a node for every change but does not know overrides.
        None => wanted.overrides.is_empty(),
    }
}

/// Why a process did not take the parameters that it should work with.
pub(super) fn refusal<'a>(wanted: &Instance, found: &'a v1::InstanceStatus) -> Option<&'a str> {
    let state = found.params.as_ref()?;
    (!state.refused_hash.is_empty() && state.refused_hash == wanted.params_hash())
        .then_some(state.refusal.as_str())
}

/// What the next revision keeps of the overrides, and what becomes of each.
pub(super) fn carry(
    current: &SystemState,
    next: &System,
) -> (Vec<OverrideRow>, Vec<v1::OverrideChange>) {
    let mut kept = Vec::new();
    let mut changes = Vec::new();
    for row in &current.set {
        let lost = lost(row, current, next);
        let (action, reason) = match lost {
            Some(reason) => (ChangeAction::Remove, reason),
            None => (ChangeAction::Keep, "durable".to_owned()),
        };
        if action == ChangeAction::Keep {
            kept.push(row.clone());
        }
        changes.push(v1::OverrideChange {
            node: row.node.clone(),
            name: row.name.clone(),
            value_json: row.value.to_string(),
            action: action.into(),
            reason,
        });
    }
    (kept, changes)
}

fn lost(row: &OverrideRow, current: &SystemState, next: &System) -> Option<String> {
    if !row.durable {
        return Some("set until the next apply".to_owned());
    }
    let Some(node) = next.node(&row.node) else {
        return Some(format!("there is no node {} any more", row.node));
    };
    if let Some(builtin) = node.builtin() {
        let declared = builtin.parameters();
        let fits = params::find_live(&row.node, builtin.name, &declared, &row.name)
            .and_then(|parameter| params::check_change(&row.node, parameter, &row.value));
        return fits.err().map(|problem| problem.message);
    }
    let before = current.spec.node(&row.node).map(|node| &node.program);
    (before != Some(&node.program)).then(|| "the node runs something else now".to_owned())
}

/// For the renderer.
pub(super) fn by_node(rows: &[OverrideRow]) -> Overrides {
    let mut all = Overrides::new();
    for row in rows {
        all.entry(row.node.clone())
            .or_default()
            .insert(row.name.clone(), row.value.clone());
    }
    all
}

/// The overrides of a node as people see them.
pub(super) fn override_messages(set: &[OverrideRow], node: &str) -> Vec<v1::Override> {
    set.iter()
        .filter(|row| row.node == node)
        .map(|row| v1::Override {
            name: row.name.clone(),
            value_json: row.value.to_string(),
            durable: row.durable,
            set_unix_ms: row.set_ms,
        })
        .collect()
}
