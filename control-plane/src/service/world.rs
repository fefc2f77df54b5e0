//! The durable state in memory: what the store holds, parsed. Never changed in place; a mutation
//! clones it (the entries are shared), commits, and puts the clone in its place.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edgeflow_proto::v1;
use edgeflow_spec::{
    Assignment, System,
    device::{DevicePlace, Facts},
    params::Overrides,
    placement::{self, Placement, Places},
    render::PlacedSystem,
};

use super::{Models, params::by_node};
use crate::store::{AssignmentRow, DeviceRow, OverrideRow, Store, StoreError, SystemRow};

/// Every system and device.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// By name.
    pub systems: BTreeMap<String, Arc<SystemState>>,
    /// By id.
    pub devices: BTreeMap<String, Arc<DeviceState>>,
    /// What is kept for them.
    pub models: Arc<Models>,
}

/// A system with its parsed manifest.
#[derive(Clone, Debug)]
pub struct SystemState {
    /// As stored.
    pub row: SystemRow,
    /// As parsed.
    pub spec: System,
    /// Parameters that were set since, by node and name.
    pub set: Vec<OverrideRow>,
    overrides: Overrides,
}

/// A device with its desired state.
#[derive(Clone, Debug)]
pub struct DeviceState {
    /// As stored.
    pub row: DeviceRow,
    /// Valid certificates: serial number to end, unix milliseconds.
    pub certificates: BTreeMap<String, i64>,
    /// As stored; generation 0 when nothing was rendered yet.
    pub assignment: AssignmentRow,
    /// The assignment's body.
    pub desired: Arc<Assignment>,
    /// Name and labels, facts included: what selectors and templates see.
    pub place: DevicePlace,
}

impl SystemState {
    /// A system with what was set on it.
    pub fn new(row: SystemRow, spec: System, set: Vec<OverrideRow>) -> Self {
        Self {
            overrides: by_node(&set),
            row,
            spec,
            set,
        }
    }

    /// Whether a device may run the system.
    fn matches(&self, device: &DeviceState) -> bool {
        self.spec.devices.matches(&device.place.labels)
    }

    /// Whether one copy is spread over several devices.
    pub fn is_spread(&self) -> bool {
        self.spec.placement == Placement::Spread
    }

    /// Whether a device has to run the system, or a part of it.
    pub fn concerns(&self, device: &DeviceState) -> bool {
        if self.is_spread() {
            return device.instances_of(&self.row.name).next().is_some();
        }
        self.matches(device)
    }

    /// For the renderer.
    pub fn placed(&self) -> PlacedSystem<'_> {
        PlacedSystem {
            system: &self.spec,
            revision: self.row.revision,
            overrides: Some(&self.overrides),
            spots: None,
        }
    }
}

impl DeviceState {
    /// A device that has no assignment yet.
    pub fn new(row: DeviceRow) -> Self {
        let place = place(&row);
        Self {
            assignment: AssignmentRow {
                device_id: row.id.clone(),
                generation: 0,
                hash: String::new(),
                body: Vec::new(),
            },
            certificates: BTreeMap::new(),
            desired: Arc::default(),
            place,
            row,
        }
    }

    /// The same device with other labels, facts or name.
    pub fn with_row(&self, row: DeviceRow) -> Self {
        Self {
            place: place(&row),
            row,
            ..self.clone()
        }
    }

    /// The assignment as the agent gets it.
    pub fn assignment_message(&self) -> v1::Assignment {
        v1::Assignment {
            generation: self.assignment.generation,
            hash: self.assignment.hash.clone(),
            body: self.assignment.body.clone(),
        }
    }

    /// Instances of one system that the device has to run.
    pub fn instances_of<'a>(
        &'a self,
        system: &'a str,
    ) -> impl Iterator<Item = &'a edgeflow_spec::assignment::Instance> {
        self.desired
            .instances
            .iter()
            .filter(move |instance| instance.system == system)
    }
}

impl World {
    /// Reads everything.
    pub async fn load(store: &Store) -> Result<Self, StoreError> {
        let mut world = Self {
            models: Arc::new(Models::new(store.models().await?)),
            ..Self::default()
        };
        let mut overrides = store.overrides().await?;
        for row in store.systems().await? {
            // It was valid when it was stored. A version that no longer reads it must not start
            // and stop what runs.
            let spec = edgeflow_spec::parse(&row.name, &row.manifest)
                .map_err(|_| StoreError::Damaged("manifest"))?
                .system;
            let set = overrides.remove(&row.name).unwrap_or_default();
            let name = row.name.clone();
            let state = Arc::new(SystemState::new(row, spec, set));
            world.systems.insert(name, state);
        }
        let mut devices: BTreeMap<String, DeviceState> = store
            .devices()
            .await?
            .into_iter()
            .map(|row| (row.id.clone(), DeviceState::new(row)))
            .collect();
        for row in store.certificates().await? {
            if let Some(device) = devices.get_mut(&row.device_id) {
                device.certificates.insert(row.serial, row.expires_ms);
            }
        }
        for row in store.assignments().await? {
            if let Some(device) = devices.get_mut(&row.device_id) {
                let desired = Assignment::from_body(&row.body)
                    .map_err(|_| StoreError::Damaged("assignment"))?;
                device.desired = Arc::new(desired);
                device.assignment = row;
            }
        }
        world.devices = devices
            .into_iter()
            .map(|(id, device)| (id, Arc::new(device)))
            .collect();
        Ok(world)
    }

    /// A device by id or name.
    pub fn device(&self, id_or_name: &str) -> Option<&Arc<DeviceState>> {
        self.devices.get(id_or_name).or_else(|| {
            self.devices
                .values()
                .find(|device| device.row.name == id_or_name)
        })
    }

    /// Devices that run a system or have to.
    pub fn devices_of(&self, system: &str) -> BTreeSet<String> {
        let state = self.systems.get(system);
        let placed = state
            .filter(|state| state.is_spread())
            .map(|state| self.places(state).spots)
            .unwrap_or_default();
        self.devices
            .values()
            .filter(|device| {
                state.is_some_and(|state| !state.is_spread() && state.matches(device))
                    || device.instances_of(system).next().is_some()
            })
            .map(|device| device.row.id.clone())
            .chain(placed.into_values().map(|spot| spot.id))
            .collect()
    }

    /// Where the instances of a spread system go. What the devices have to run now is where they are.
    pub fn places(&self, system: &SystemState) -> Places {
        let devices: Vec<&DevicePlace> = self.devices.values().map(|it| &it.place).collect();
        let mut before = BTreeMap::new();
        for device in self.devices.values() {
            for instance in device.instances_of(&system.row.name) {
                let there = || device.row.id.clone();
                before.entry(instance.id.clone()).or_insert_with(there);
            }
        }
        placement::place(&system.spec, &devices, &before)
    }

    /// The places of every spread system.
    pub fn all_places(&self) -> BTreeMap<String, Places> {
        let spread = self.systems.iter().filter(|(_, system)| system.is_spread());
        spread
            .map(|(name, system)| (name.clone(), self.places(system)))
            .collect()
    }
}

fn place(row: &DeviceRow) -> DevicePlace {
    let facts = &row.facts;
    let measured = Facts {
        arch: facts.arch.clone(),
        os: facts.os.clone(),
        model: facts.model.clone(),
        cpus: facts.cpus,
        memory_bytes: facts.memory_bytes,
        cameras: facts.cameras.len(),
        accelerators: facts
            .accelerators
            .iter()
            .map(|accelerator| accelerator.kind.clone())
            .collect(),
        redis: facts.redis.clone(),
    };
    DevicePlace::new(&row.id, &row.name, row.labels.clone(), &measured)
}
