//! Systems: apply, roll back, delete, show. Every accepted change makes an immutable revision.

use std::sync::Arc;

use edgeflow_proto::v1::{self, ApplyOutcome};
use edgeflow_spec::{
    Invalid, Parsed, System, assignment::Program, placement::Places, problem::Problem,
};
use sha2::{Digest, Sha256};

use super::{
    Mutation, Service, ServiceError, SystemState, World, params,
    plan::{self, problem_message, qos_word},
    status::system_status,
};
use crate::{
    clock::now_ms,
    pki::hex,
    store::{EventRow, OverrideRow, SystemRow},
};

/// Systems that may exist.
const MAX_SYSTEMS: usize = 1_000;
/// Biggest manifest.
const MAX_MANIFEST_BYTES: usize = 1024 * 1024;
/// Revisions that a listing shows.
const MAX_LISTED_REVISIONS: u32 = 1_000;

/// What to apply.
#[derive(Clone, Debug, Default)]
pub struct ApplyRequest {
    /// The YAML.
    pub manifest: String,
    /// Its file, for problems.
    pub file: String,
    /// What the caller has seen.
    pub etag: Etag,
    /// Only plan.
    pub dry_run: bool,
}

/// The state that a caller's change is meant for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Etag {
    /// Whatever there is.
    #[default]
    Any,
    /// This one only.
    Exactly(String),
}

impl From<String> for Etag {
    fn from(text: String) -> Self {
        if text.is_empty() {
            Self::Any
        } else {
            Self::Exactly(text)
        }
    }
}

impl Etag {
    pub(super) fn check(
        &self,
        name: &str,
        current: Option<&Arc<SystemState>>,
    ) -> Result<(), ServiceError> {
        match (self, current) {
            (Self::Any, _) => Ok(()),
            (Self::Exactly(etag), Some(system)) if *etag == system.row.etag => Ok(()),
            (Self::Exactly(_), Some(system)) => Err(ServiceError::Stale(format!(
                "system {name} has changed since you looked: it is at revision {} now; look again with `edgeflow plan`",
                system.row.revision
            ))),
            (Self::Exactly(_), None) => Err(ServiceError::Stale(format!(
                "system {name} is gone; apply without an etag to create it"
            ))),
        }
    }
}

impl Service {
    /// Validates, plans and, unless it is a dry run, makes a new revision.
    pub async fn apply(
        &self,
        request: ApplyRequest,
    ) -> Result<v1::ApplySystemResponse, ServiceError> {
        if request.manifest.len() > MAX_MANIFEST_BYTES {
            return Err(ServiceError::Limit(format!(
                "a manifest has {MAX_MANIFEST_BYTES} bytes at most"
            )));
        }
        let file = if request.file.is_empty() {
            "-"
        } else {
            &request.file
        };
        let parsed = match self.parse(file, &request.manifest) {
            Ok(parsed) => parsed,
            Err(invalid) => return Ok(rejected(invalid.problems, request.dry_run)),
        };
        self.commit_system(parsed.system, parsed.warnings, "apply".to_owned(), request)
            .await
    }

    /// Makes a new revision with the content of an earlier one. 0: the one before the current.
    pub async fn rollback(
        &self,
        name: &str,
        revision: u64,
        etag: Etag,
    ) -> Result<v1::ApplySystemResponse, ServiceError> {
        let current = self.system(name)?.row.revision;
        let number = if revision == 0 {
            current.saturating_sub(1)
        } else {
            revision
        };
        if number == 0 {
            return Err(ServiceError::Precondition(format!(
                "system {name} is at its first revision; there is nothing to roll back to"
            )));
        }
        let row = self.store.revision(name, number).await?.ok_or_else(|| {
            ServiceError::NotFound(format!(
                "system {name} has no revision {number}; see `edgeflow history {name}`"
            ))
        })?;
        let file = format!("{name}@{number}");
        let parsed = match self.parse(&file, &row.manifest) {
            Ok(parsed) => parsed,
            Err(invalid) => return Ok(rejected(invalid.problems, false)),
        };
        let request = ApplyRequest {
            manifest: row.manifest,
            file,
            etag,
            dry_run: false,
        };
        let cause = format!("rollback to {number}");
        self.commit_system(parsed.system, parsed.warnings, cause, request)
            .await
    }

    fn parse(&self, file: &str, manifest: &str) -> Result<Parsed, Invalid> {
        edgeflow_spec::parse_with_models(file, manifest, &self.world().models.names())
    }

    async fn commit_system(
        &self,
        spec: System,
        warnings: Vec<Problem>,
        cause: String,
        request: ApplyRequest,
    ) -> Result<v1::ApplySystemResponse, ServiceError> {
        let name = spec.metadata.name.clone();
        // A dry run takes no turn and no transaction: it works while the disk is full.
        let mutation = if request.dry_run {
            None
        } else {
            Some(self.mutate().await?)
        };
        let before = self.world();
        let current = before.systems.get(&name);
        request.etag.check(&name, current)?;
        if current.is_none() && before.systems.len() >= MAX_SYSTEMS {
            return Err(ServiceError::Limit(format!(
                "there are {MAX_SYSTEMS} systems already"
            )));
        }
        let mut problems: Vec<_> = warnings.into_iter().map(problem_message).collect();
        let kept = current.map(|system| params::carry(system, &spec).0);
        let kept = kept.unwrap_or_default();
        let outcome = match current {
            None => ApplyOutcome::Created,
            Some(current) if current.spec == spec && current.set == kept => ApplyOutcome::Unchanged,
            Some(_) => ApplyOutcome::Updated,
        };
        if outcome == ApplyOutcome::Unchanged {
            let planned = plan::plan(&self.fleet, &before, &before, &name);
            return Ok(v1::ApplySystemResponse {
                outcome: outcome.into(),
                problems,
                plan: Some(planned.plan),
                system: current.map(|system| self.system_message(&before, system)),
                dry_run: request.dry_run,
            });
        }
        let state = match current {
            // Only overrides go.
            Some(current) if current.spec == spec => touched(current, kept),
            _ => SystemState::new(next_row(&name, current, request.manifest), spec, kept),
        };
        let state = Arc::new(state);
        let mut after = World::clone(&before);
        after.systems.insert(name.clone(), Arc::clone(&state));
        let planned = plan::plan(&self.fleet, &before, &after, &name);
        problems.extend(planned.missing_labels.into_iter().map(label_warning));
        problems.extend(planned.homeless.into_iter().map(homeless_warning));
        problems.extend(planned.missing_brokers.into_iter().map(broker_warning));
        if let Some(mutation) = mutation {
            mutation.store_system(&state, &cause).await?;
        }
        let world = if request.dry_run {
            Arc::new(after)
        } else {
            self.world()
        };
        Ok(v1::ApplySystemResponse {
            outcome: outcome.into(),
            problems,
            plan: Some(planned.plan),
            system: Some(self.system_message(&world, &state)),
            dry_run: request.dry_run,
        })
    }

    /// Removes a system from every device, with its revisions.
    pub async fn delete_system(&self, name: &str, etag: Etag) -> Result<(), ServiceError> {
        let mut mutation = self.mutate().await?;
        let current = mutation.world.systems.get(name);
        if current.is_none() {
            return Err(no_system(name));
        }
        etag.check(name, current)?;
        let devices: Vec<String> = mutation.world.devices_of(name).into_iter().collect();
        mutation.write.delete_system(name).await?;
        mutation.world.systems.remove(name);
        mutation.render(&devices).await?;
        let message = format!("{name} was deleted from {} devices", devices.len());
        mutation
            .event(system_event(name, "SystemDeleted", message))
            .await?;
        mutation.commit().await?;
        tracing::info!(system = name, "system deleted");
        Ok(())
    }

    /// One system.
    pub fn system(&self, name: &str) -> Result<Arc<SystemState>, ServiceError> {
        self.world()
            .systems
            .get(name)
            .cloned()
            .ok_or_else(|| no_system(name))
    }

    /// One system as people see it.
    pub fn system_view(&self, name: &str) -> Result<v1::System, ServiceError> {
        let world = self.world();
        let system = world.systems.get(name).ok_or_else(|| no_system(name))?;
        Ok(self.system_message(&world, system))
    }

    /// Every system, by name.
    pub fn system_views(&self) -> Vec<v1::System> {
        let world = self.world();
        world
            .systems
            .values()
            .map(|system| {
                let mut message = self.system_message(&world, system);
                // A long list has no room for them.
                for node in &mut message.nodes {
                    node.parameters.clear();
                }
                message
            })
            .collect()
    }

    /// Revisions, newest first.
    pub async fn revisions(&self, name: &str) -> Result<Vec<v1::Revision>, ServiceError> {
        let current = self.system(name)?.row.revision;
        let rows = self.store.revisions(name, MAX_LISTED_REVISIONS).await?;
        Ok(rows
            .into_iter()
            .map(|row| v1::Revision {
                number: row.number,
                manifest: row.manifest,
                created_unix_ms: row.created_ms,
                cause: row.cause,
                current: row.number == current,
            })
            .collect())
    }

    fn system_message(&self, world: &World, system: &SystemState) -> v1::System {
        let matching = world
            .devices
            .values()
            .filter(|device| system.concerns(device))
            .map(|device| (&**device, self.fleet.live(&device.row.id)));
        let places = system.is_spread().then(|| world.places(system));
        let homeless = places.as_ref().map_or(&[][..], |places| &places.homeless);
        let mut status = system_status(system, matching, homeless);
        let spec = &system.spec;
        let nodes = nodes(system, &status.instances);
        // Once for each node is enough.
        for instance in &mut status.instances {
            instance.parameters.clear();
        }
        v1::System {
            name: system.row.name.clone(),
            labels: spec.metadata.labels.clone().into_iter().collect(),
            revision: system.row.revision,
            etag: system.row.etag.clone(),
            manifest: system.row.manifest.clone(),
            created_unix_ms: system.row.created_ms,
            updated_unix_ms: system.row.updated_ms,
            nodes,
            links: links(spec, places.as_ref()),
            views: spec.views.clone(),
            status: Some(status),
            selector: spec.devices.to_string(),
            placement: spec.placement.name().to_owned(),
        }
    }
}

impl Mutation<'_> {
    async fn store_system(
        mut self,
        state: &Arc<SystemState>,
        cause: &str,
    ) -> Result<(), ServiceError> {
        let name = &state.row.name;
        let mut devices = self.world.devices_of(name);
        let current = self.world.systems.get(name);
        if current.is_some_and(|current| current.row.revision == state.row.revision) {
            self.write.touch_system(&state.row).await?;
        } else {
            self.write.put_system(&state.row, cause).await?;
        }
        self.write.put_overrides(name, &state.set).await?;
        self.world.systems.insert(name.clone(), Arc::clone(state));
        devices.extend(self.world.devices_of(name));
        let devices: Vec<String> = devices.into_iter().collect();
        self.render(&devices).await?;
        let message = format!("revision {} ({cause})", state.row.revision);
        self.event(system_event(name, "SystemApplied", message))
            .await?;
        let revision = state.row.revision;
        self.commit().await?;
        tracing::info!(system = %name, revision, devices = devices.len(), "system applied");
        Ok(())
    }
}

/// The same revision with other overrides.
pub(super) fn touched(current: &SystemState, set: Vec<OverrideRow>) -> SystemState {
    let now_ms = now_ms();
    let mut digest = Sha256::new();
    digest.update(current.row.etag.as_bytes());
    digest.update(now_ms.to_le_bytes());
    for row in &set {
        digest.update(format!("{} {} {}", row.node, row.name, row.value));
    }
    let row = SystemRow {
        etag: etag(current.row.revision, digest),
        updated_ms: now_ms,
        ..current.row.clone()
    };
    SystemState::new(row, current.spec.clone(), set)
}

fn etag(revision: u64, digest: Sha256) -> String {
    format!("{revision}-{}", &hex(&digest.finalize())[..12])
}

fn next_row(name: &str, current: Option<&Arc<SystemState>>, manifest: String) -> SystemRow {
    let now_ms = now_ms();
    let revision = current.map_or(1, |system| system.row.revision + 1);
    let created_ms = current.map_or(now_ms, |system| system.row.created_ms);
    let mut digest = Sha256::new();
    digest.update(name.as_bytes());
    digest.update(revision.to_le_bytes());
    digest.update(now_ms.to_le_bytes());
    digest.update(manifest.as_bytes());
    SystemRow {
        name: name.to_owned(),
        revision,
        etag: etag(revision, digest),
        manifest,
        created_ms,
        updated_ms: now_ms,
    }
}

fn nodes(system: &SystemState, instances: &[v1::InstanceStatus]) -> Vec<v1::NodeInfo> {
    let nodes = system.spec.nodes.iter();
    nodes
        .map(|(name, node)| {
            let declared = match node.builtin() {
                Some(builtin) => builtin.parameters().into_iter().map(Into::into).collect(),
                None => instances
                    .iter()
                    .find(|one| one.node == *name && !one.parameters.is_empty())
                    .map(|one| one.parameters.clone())
                    .unwrap_or_default(),
            };
            let (uses, run) = match &node.program {
                Program::Builtin(name) => (name.clone(), Vec::new()),
                Program::Command(command) => (String::new(), command.clone()),
            };
            v1::NodeInfo {
                name: name.clone(),
                uses,
                run,
                replicas: node.replicas,
                inputs: node.input_ports(),
                outputs: node.output_ports(),
                params_json: serde_json::to_string(&node.with).unwrap_or_default(),
                parameters: declared,
                overrides: params::override_messages(&system.set, name),
            }
        })
        .collect()
}

fn links(spec: &System, places: Option<&Places>) -> Vec<v1::LinkInfo> {
    let spots = places.map(|places| &places.spots);
    let transport = |link| edgeflow_spec::plan::transport(spec, link, spots);
    spec.links
        .iter()
        .map(|link| (link, transport(link)))
        .map(|(link, transport)| v1::LinkInfo {
            id: link.id(),
            from: link.from.node.clone(),
            from_port: link.from.port.clone(),
            to: link.to.node.clone(),
            to_port: link.to.port.clone(),
            qos: qos_word(link.qos.mode).to_owned(),
            transport: transport.name.to_string(),
            transport_reason: transport.reason.to_string(),
        })
        .collect()
}

fn rejected(problems: Vec<Problem>, dry_run: bool) -> v1::ApplySystemResponse {
    v1::ApplySystemResponse {
        outcome: ApplyOutcome::Rejected.into(),
        problems: problems.into_iter().map(problem_message).collect(),
        plan: None,
        system: None,
        dry_run,
    }
}

fn homeless_warning((node, reason): (String, String)) -> v1::Problem {
    v1::Problem {
        code: "no-device".to_owned(),
        severity: "warning".to_owned(),
        message: format!("node {node} runs nowhere: {reason}"),
        hint: "it starts as soon as a device fits; see `edgeflow get devices`".to_owned(),
        length: 1,
        ..v1::Problem::default()
    }
}

fn label_warning(message: String) -> v1::Problem {
    v1::Problem {
        code: "missing-label".to_owned(),
        severity: "warning".to_owned(),
        message,
        hint: "set it with `edgeflow label`".to_owned(),
        length: 1,
        ..v1::Problem::default()
    }
}

fn broker_warning(message: String) -> v1::Problem {
    v1::Problem {
        code: "missing-broker".to_owned(),
        severity: "warning".to_owned(),
        message,
        hint: format!("{} there", edgeflow_spec::broker::INSTALL_HINT),
        length: 1,
        ..v1::Problem::default()
    }
}

pub(super) fn system_event(name: &str, reason: &str, message: String) -> EventRow {
    EventRow {
        severity: "info".to_owned(),
        reason: reason.to_owned(),
        message,
        system: name.to_owned(),
        ..EventRow::default()
    }
}

pub(super) fn no_system(name: &str) -> ServiceError {
    ServiceError::NotFound(format!(
        "there is no system {name}; see `edgeflow get systems`"
    ))
}
