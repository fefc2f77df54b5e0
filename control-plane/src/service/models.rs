//! Models: kept under a name that stands for one file for ever, given to the devices that run a
//! system which names it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edgeflow_model::{Description, catalogue};
use edgeflow_proto::v1;
use edgeflow_spec::{assignment, names::check_name};

use super::{Service, ServiceError, SystemState, World};
use crate::{
    artifacts::{Incoming, Outgoing},
    clock::now_ms,
    store::{EventRow, ModelRow, TensorRow},
};

/// Models that may be kept.
const MAX_MODELS: usize = 1000;
/// Biggest file.
const MAX_MODEL_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Longest description.
const MAX_DESCRIPTION_BYTES: usize = 256 * 1024;
/// Longest ending of a file name.
const MAX_EXTENSION: usize = 16;
/// Inputs and outputs that are kept, and what of each.
const MAX_TENSORS: usize = 64;
const MAX_DIMS: usize = 16;
const MAX_TENSOR_NAME: usize = 256;

/// Every model, as stored and as assignments name it.
#[derive(Clone, Debug, Default)]
pub struct Models {
    rows: BTreeMap<String, ModelRow>,
    kept: BTreeMap<String, assignment::Model>,
}

/// What becomes of a model that is added.
#[derive(Debug)]
pub enum Adding<'a> {
    /// It is there already, file and all.
    There(ModelRow),
    /// Its file is there under another name, or was lost and is here again.
    Known(ModelRow),
    /// Its file is to come.
    Expected(ModelRow, Box<Incoming<'a>>),
}

impl Models {
    pub(super) fn new(rows: Vec<ModelRow>) -> Self {
        let mut models = Self::default();
        rows.into_iter().for_each(|row| models.insert(row));
        models
    }

    fn insert(&mut self, row: ModelRow) {
        let kept = assignment::Model {
            sha256: row.sha256.clone(),
            bytes: row.bytes,
            extension: row.extension.clone(),
            description: row.description.clone(),
        };
        self.kept.insert(row.name.clone(), kept);
        self.rows.insert(row.name.clone(), row);
    }

    fn remove(&mut self, name: &str) {
        self.kept.remove(name);
        self.rows.remove(name);
    }

    /// For the renderer.
    pub(super) fn kept(&self) -> &BTreeMap<String, assignment::Model> {
        &self.kept
    }

    /// Names, for the check of a manifest.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.rows.keys().map(String::as_str).collect()
    }

    /// Digests of all files.
    pub(super) fn digests(&self) -> BTreeSet<&str> {
        self.rows.values().map(|row| row.sha256.as_str()).collect()
    }
}

impl Service {
    /// Begins to add a model. The same file under the same name is fine.
    pub async fn begin_model(&self, model: v1::Model) -> Result<Adding<'_>, ServiceError> {
        let row = checked(model)?;
        let world = self.world();
        let has_file = self.artifacts.has(&row.sha256, row.bytes).await;
        match world.models.rows.get(&row.name) {
            Some(there) if same(there, &row) && has_file => {
                return Ok(Adding::There(there.clone()));
            }
            Some(there) if same(there, &row) => {}
            Some(there) => return Err(taken(there, &row)),
            None if world.models.rows.len() >= MAX_MODELS => {
                return Err(ServiceError::Limit(format!(
                    "there are {MAX_MODELS} models already; delete some with `edgeflow model delete`"
                )));
            }
            None if has_file => return Ok(Adding::Known(row)),
            None => {}
        }
        let incoming = self.artifacts.receive(&row.sha256, row.bytes).await?;
        Ok(Adding::Expected(row, Box::new(incoming)))
    }

    /// Adds a model whose file is there.
    pub async fn add_model(&self, row: ModelRow) -> Result<ModelRow, ServiceError> {
        let mut mutation = self.mutate().await?;
        if let Some(there) = mutation.world.models.rows.get(&row.name) {
            // Somebody else was quicker, or its file was lost.
            return if same(there, &row) {
                Ok(there.clone())
            } else {
                Err(taken(there, &row))
            };
        }
        // Deleted by somebody else meanwhile.
        if !self.artifacts.has(&row.sha256, row.bytes).await {
            return Err(ServiceError::Unavailable(format!(
                "the file of {} was removed while it was added; add it again",
                row.name
            )));
        }
        mutation.write.add_model(&row).await?;
        Arc::make_mut(&mut mutation.world.models).insert(row.clone());
        let all: Vec<String> = mutation.world.devices.keys().cloned().collect();
        mutation.render(&all).await?;
        let message = format!("{} ({} bytes, SHA-256 {})", row.name, row.bytes, row.sha256);
        mutation.event(model_event("ModelAdded", message)).await?;
        mutation.commit().await?;
        tracing::info!(model = row.name, sha256 = row.sha256, "model added");
        Ok(row)
    }

    /// Every model by name.
    pub fn models(&self) -> Vec<v1::Model> {
        let world = self.world();
        let rows = world.models.rows.values();
        rows.map(|row| message(&world, row)).collect()
    }

    /// One model.
    pub fn model(&self, name: &str) -> Result<v1::Model, ServiceError> {
        let world = self.world();
        let row = world.models.rows.get(name);
        row.map(|row| message(&world, row))
            .ok_or_else(|| no_model(name))
    }

    /// Removes a model that no system uses. Devices remove its file when they need the room.
    pub async fn delete_model(&self, name: &str) -> Result<(), ServiceError> {
        let mut mutation = self.mutate().await?;
        let row = mutation.world.models.rows.get(name).cloned();
        let row = row.ok_or_else(|| no_model(name))?;
        let users = users(&mutation.world, name);
        if !users.is_empty() {
            return Err(ServiceError::Precondition(format!(
                "model {name} is used by {}; change or delete what uses it first",
                users.join(", ")
            )));
        }
        mutation.write.delete_model(name).await?;
        Arc::make_mut(&mut mutation.world.models).remove(name);
        let message = format!("{name} was deleted");
        mutation.event(model_event("ModelDeleted", message)).await?;
        mutation.commit().await?;
        tracing::info!(model = name, "model deleted");
        // Nobody may add the file again between the look and its end.
        let _turn = self.turn.lock().await;
        if !self.world().models.digests().contains(row.sha256.as_str()) {
            self.artifacts.remove(&row.sha256).await;
        }
        Ok(())
    }

    /// Opens a model's file for a device that has to run something with it.
    pub async fn model_file(
        &self,
        device_id: &str,
        sha256: &str,
        offset: u64,
    ) -> Result<Outgoing, ServiceError> {
        let world = self.world();
        let device = world.devices.get(device_id);
        let mut wanted = device.iter().flat_map(|it| it.desired.models.iter());
        let Some((name, model)) = wanted.find(|(_, model)| model.sha256 == sha256) else {
            return Err(ServiceError::NotFound(format!(
                "nothing that this device has to run uses a model with SHA-256 {sha256}"
            )));
        };
        if offset > model.bytes {
            return Err(ServiceError::Invalid(format!(
                "model {name} has {} bytes, fewer than {offset}",
                model.bytes
            )));
        }
        self.artifacts.read(sha256, offset).await.map_err(|error| {
            tracing::error!(model = name, sha256, %error, "a model's file can't be read");
            ServiceError::Unavailable(format!(
                "the control plane has lost the file of model {name}; add it again with `edgeflow model add`"
            ))
        })
    }
}

fn same(there: &ModelRow, row: &ModelRow) -> bool {
    let key = |row: &ModelRow| (row.sha256.clone(), row.description.clone());
    key(there) == key(row)
}

fn taken(there: &ModelRow, row: &ModelRow) -> ServiceError {
    let what = if there.sha256 == row.sha256 {
        "with another description"
    } else {
        "and is another file"
    };
    ServiceError::AlreadyExists(format!(
        "there is a model {} already, {what}; a name stands for one file for ever, so give the new one another, such as {}-2",
        row.name, row.name
    ))
}

fn no_model(name: &str) -> ServiceError {
    ServiceError::NotFound(format!(
        "there is no model {name}; see `edgeflow model list`"
    ))
}

/// What a client says of a model, within limits.
fn checked(model: v1::Model) -> Result<ModelRow, ServiceError> {
    let wrong = |text: String| Err(ServiceError::Invalid(text));
    let name = &model.name;
    if let Err(error) = check_name(name) {
        return wrong(format!("`{name}` can't be the name of a model: {error}"));
    }
    let is_digest = |text: &str| {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.len() == 64 && text.bytes().all(hex)
    };
    if !is_digest(&model.sha256) {
        return wrong("`sha256` is not a digest in lower-case hex".to_owned());
    }
    if let Some(entry) = catalogue::by_name(name).filter(|entry| entry.sha256 != model.sha256) {
        return wrong(format!(
            "`{name}` is the name of a model of the catalogue, whose SHA-256 is {}; give this one another name",
            entry.sha256
        ));
    }
    if model.bytes == 0 || model.bytes > MAX_MODEL_BYTES {
        return wrong(format!(
            "the file has {} bytes; a model has from 1 to {MAX_MODEL_BYTES}",
            model.bytes
        ));
    }
    let extension = &model.extension;
    if extension.len() > MAX_EXTENSION || !extension.bytes().all(|it| it.is_ascii_alphanumeric()) {
        return wrong(format!("`{extension}` can't be the ending of a file name"));
    }
    if model.description.len() > MAX_DESCRIPTION_BYTES {
        return wrong(format!(
            "a description has {MAX_DESCRIPTION_BYTES} bytes at most"
        ));
    }
    if !model.description.is_empty()
        && let Err(error) = Description::from_json(model.description.as_bytes())
    {
        return wrong(format!(
            "the description is not good: {}",
            edgeflow_runtime::logging::chain(&error)
        ));
    }
    Ok(ModelRow {
        inputs: tensors(model.inputs),
        outputs: tensors(model.outputs),
        name: model.name,
        sha256: model.sha256,
        bytes: model.bytes,
        extension: model.extension,
        description: model.description,
        added_ms: now_ms(),
    })
}

fn tensors(messages: Vec<v1::ModelTensor>) -> Vec<TensorRow> {
    let row = |mut message: v1::ModelTensor| {
        message.dims.truncate(MAX_DIMS);
        TensorRow {
            name: message.name.chars().take(MAX_TENSOR_NAME).collect(),
            dims: message.dims,
        }
    };
    messages.into_iter().take(MAX_TENSORS).map(row).collect()
}

fn message(world: &World, row: &ModelRow) -> v1::Model {
    let tensors = |rows: &[TensorRow]| {
        let message = |row: &TensorRow| v1::ModelTensor {
            name: row.name.clone(),
            dims: row.dims.clone(),
        };
        rows.iter().map(message).collect()
    };
    v1::Model {
        name: row.name.clone(),
        sha256: row.sha256.clone(),
        bytes: row.bytes,
        extension: row.extension.clone(),
        description: row.description.clone(),
        inputs: tensors(&row.inputs),
        outputs: tensors(&row.outputs),
        added_unix_ms: row.added_ms,
        systems: users(world, &row.name),
    }
}

/// Systems that name a model, or have an instance that does by a label of its device.
fn users(world: &World, model: &str) -> Vec<String> {
    let names = |system: &SystemState| {
        let mut nodes = system.spec.nodes.values();
        nodes.any(|node| node.model_names().any(|name| name == model))
    };
    let runs = |system: &str| {
        let mut devices = world.devices.values();
        devices.any(|it| it.instances_of(system).any(|it| it.models.contains(model)))
    };
    let systems = world.systems.iter();
    let users = systems.filter(|(name, system)| names(system) || runs(name));
    users.map(|(name, _)| name.clone()).collect()
}

fn model_event(reason: &str, message: String) -> EventRow {
    EventRow {
        severity: "info".to_owned(),
        reason: reason.to_owned(),
        message,
        ..EventRow::default()
    }
}
