//! Runs a node's code in a test, without processes or sockets: feed frames, look at what comes out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use edgeflow_spec::assignment::{Instance, Program, RestartPolicy};
use edgeflow_spec::instance_config::{InstanceConfig, ModelFile};
use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::{Frame, Kind};
use serde_json::{Map, Value};

use crate::outputs::Sink;
use crate::{
    Condition, Context, Event, Events, FrameSet, FusedNode, Input, Node, NodeError, Outputs,
    ParallelNode, Severity, Source, Step, Stop, parse_params,
};

/// Surroundings of the code under test.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Input ports, `in` by default.
    pub inputs: Vec<String>,
    /// Output ports, `out` by default.
    pub outputs: Vec<String>,
    /// The node's own folder.
    pub state_dir: PathBuf,
    /// Models that were brought, by name.
    pub models: BTreeMap<String, ModelFile>,
    /// Asset folders.
    pub asset_dirs: Vec<PathBuf>,
    /// Output ports that nobody takes frames of.
    pub unwanted: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            inputs: vec!["in".to_owned()],
            outputs: vec!["out".to_owned()],
            state_dir: std::env::temp_dir(),
            models: BTreeMap::new(),
            asset_dirs: Vec::new(),
            unwanted: Vec::new(),
        }
    }
}

/// A node that was set up.
#[derive(Debug)]
pub struct Fixture<T> {
    /// The node, for a look inside.
    pub node: T,
    outputs: Outputs,
    sent: Sent,
    condition: Condition,
    events: Events,
    stop: Stop,
}

type Sent = Arc<Mutex<Vec<(usize, Frame)>>>;

/// Sets a [`Node`] up with parameters as in `with:`.
pub fn node<N: Node>(setup: &Setup, params: Value) -> Result<Fixture<N>, NodeError> {
    Fixture::build(setup, |ctx| N::setup(ctx, parse_params(object(params))?))
}

/// Sets a [`Source`] up with parameters as in `with:`.
pub fn source<S: Source>(setup: &Setup, params: Value) -> Result<Fixture<S>, NodeError> {
    Fixture::build(setup, |ctx| S::setup(ctx, parse_params(object(params))?))
}

/// Sets a [`FusedNode`] up with parameters as in `with:`.
pub fn fused<N: FusedNode>(setup: &Setup, params: Value) -> Result<Fixture<N>, NodeError> {
    Fixture::build(setup, |ctx| N::setup(ctx, parse_params(object(params))?))
}

/// A [`ParallelNode`] with its workers.
#[derive(Debug)]
pub struct Crew<N: ParallelNode> {
    /// The node.
    pub node: N,
    workers: Vec<N::Worker>,
}

/// Sets a [`ParallelNode`] up with parameters as in `with:`.
pub fn parallel<N: ParallelNode>(
    setup: &Setup,
    params: Value,
) -> Result<Fixture<Crew<N>>, NodeError> {
    Fixture::build(setup, |ctx| {
        let mut node = N::setup(ctx, parse_params(object(params))?)?;
        let workers = node.workers()?;
        Ok(Crew { node, workers })
    })
}

fn object(params: Value) -> Map<String, Value> {
    match params {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl<T> Fixture<T> {
    fn build(
        setup: &Setup,
        make: impl FnOnce(&mut Context) -> Result<T, NodeError>,
    ) -> Result<Self, NodeError> {
        let (condition, stop) = (Condition::default(), Stop::default());
        let config = Arc::new(config(setup));
        let mut context = Context::new(config, condition.clone(), stop.clone());
        let events = context.events();
        let node = make(&mut context)?;
        let sent = Sent::default();
        let outputs = Outputs::new(
            setup.outputs.clone(),
            Box::new(Collect {
                sent: Arc::clone(&sent),
                unwanted: setup
                    .outputs
                    .iter()
                    .map(|port| setup.unwanted.contains(port))
                    .collect(),
            }),
            condition.clone(),
            stop.clone(),
        );
        Ok(Self {
            node,
            outputs,
            sent,
            condition,
            events,
            stop,
        })
    }

    /// The events that the node has told of since the last call; their `at` is left out.
    pub fn take_events(&self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(told) = self.events.take() {
            all.push(Event {
                severity: match told.severity.as_str() {
                    "error" => Severity::Error,
                    "warning" => Severity::Warning,
                    _ => Severity::Info,
                },
                name: told.reason,
                message: told.message,
                details: told.details,
                picture: told.picture,
            });
        }
        all
    }

    /// The condition text that the node shows.
    pub fn condition(&self) -> String {
        self.condition.text()
    }

    /// Tells the node to stop.
    pub fn request_stop(&self) {
        self.stop.request();
    }

    fn take_sent(&mut self) -> Vec<(String, Frame)> {
        let sent = std::mem::take(&mut *lock(&self.sent));
        let ports = self.outputs.ports();
        sent.into_iter()
            .map(|(port, frame)| (ports[port].clone(), frame))
            .collect()
    }
}

impl<N: Node> Fixture<N> {
    /// Runs the loop for one frame on an input port; returns what was sent, with the port.
    pub fn process(&mut self, port: &str, frame: Frame) -> Result<Vec<(String, Frame)>, NodeError> {
        let input = Input {
            port: port.into(),
            frame,
        };
        if input.frame.header.kind == Kind::Error {
            self.node.process_error(input, &mut self.outputs)?;
        } else {
            self.node.process(input, &mut self.outputs)?;
        }
        Ok(self.take_sent())
    }

    /// Hands the running node new parameters, all of them.
    pub fn change_node(&mut self, params: Value) -> Result<(), NodeError> {
        self.node.params_changed(parse_params(object(params))?)
    }
}

impl<N: ParallelNode> Fixture<Crew<N>> {
    /// Lets each worker in turn work on a frame on an input port, and finishes it; returns what was
    /// sent for the last one, with the port. Workers may differ in what they have, not in what they
    /// make.
    pub fn work(&mut self, port: &str, frame: Frame) -> Result<Vec<(String, Frame)>, NodeError> {
        let input = Input {
            port: port.into(),
            frame,
        };
        let mut sent = Vec::new();
        for index in 0..self.node.workers.len() {
            let Crew { node, workers } = &mut self.node;
            if input.frame.header.kind == Kind::Error {
                node.process_error(input.clone(), &mut self.outputs)?;
            } else {
                let made = N::work(&mut workers[index], &input)?;
                node.finish(input.clone(), made, &mut self.outputs)?;
            }
            sent = self.take_sent();
        }
        Ok(sent)
    }

    /// Hands the running node new parameters, all of them.
    pub fn change_parallel(&mut self, params: Value) -> Result<(), NodeError> {
        self.node.node.params_changed(parse_params(object(params))?)
    }
}

impl<N: FusedNode> Fixture<N> {
    /// Runs the loop for one set: the frame of the primary input, and what the other inputs have.
    /// Returns what was sent, with the port.
    pub fn fuse(
        &mut self,
        primary: Frame,
        others: &[(&str, Frame)],
    ) -> Result<Vec<(String, Frame)>, NodeError> {
        let names: Vec<String> = self.node.fusion().inputs().cloned().collect();
        let frame = |name: &String| {
            let found = others.iter().find(|(input, _)| input == name);
            found.map(|(_, frame)| frame.clone())
        };
        let found = names.iter().skip(1).map(frame).collect();
        let set = FrameSet::new(names.clone().into(), primary, found);
        self.node.fuse(set, &mut self.outputs)?;
        Ok(self.take_sent())
    }
}

impl<S: Source> Fixture<S> {
    /// Hands the running source new parameters, all of them.
    pub fn change_source(&mut self, params: Value) -> Result<(), NodeError> {
        self.node.params_changed(parse_params(object(params))?)
    }

    /// Runs the loop once; returns its step and what was sent, with the port.
    pub fn produce(&mut self) -> Result<(Step, Vec<(String, Frame)>), NodeError> {
        let step = self.node.produce(&mut self.outputs)?;
        Ok((step, self.take_sent()))
    }
}

struct Collect {
    sent: Sent,
    unwanted: Vec<bool>,
}

impl Sink for Collect {
    fn send(&mut self, port: usize, frame: Frame) -> Result<(), NodeError> {
        lock(&self.sent).push((port, frame));
        Ok(())
    }

    fn is_wanted(&self, port: usize) -> bool {
        !self.unwanted.get(port).copied().unwrap_or(false)
    }
}

fn lock(sent: &Sent) -> std::sync::MutexGuard<'_, Vec<(usize, Frame)>> {
    sent.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn input(port: &str) -> edgeflow_spec::assignment::Input {
    edgeflow_spec::assignment::Input {
        port: port.to_owned(),
        link: format!("test->node.{port}"),
        group: "node".to_owned(),
        qos: LinkQos::realtime(),
        from_port: "out".to_owned(),
        from: Vec::new(),
        remote: BTreeMap::new(),
    }
}

fn config(setup: &Setup) -> InstanceConfig {
    InstanceConfig {
        instance: Instance {
            id: "test.node.0".to_owned(),
            system: "test".to_owned(),
            node: "node".to_owned(),
            replica: 0,
            revision: 1,
            program: Program::Command(Vec::new()),
            env: BTreeMap::new(),
            params: Map::new(),
            models: std::collections::BTreeSet::new(),
            inputs: setup.inputs.iter().map(|port| input(port)).collect(),
            outputs: Vec::new(),
            broker: None,
            trace_every: 0,
            restart: RestartPolicy::Never,
            overrides: Map::new(),
            stop_grace_ms: 0,
        },
        device: "test".to_owned(),
        control_socket: PathBuf::new(),
        output_sockets: Vec::new(),
        input_sockets: Vec::new(),
        own_broker: None,
        state_dir: setup.state_dir.clone(),
        models: setup.models.clone(),
        asset_dirs: setup.asset_dirs.clone(),
    }
}
