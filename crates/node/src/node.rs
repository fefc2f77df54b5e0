//! The two traits that nodes are made of. No behaviour beyond defaults.

use std::sync::Arc;
use std::time::Duration;

use edgeflow_stream::Frame;
use serde::de::DeserializeOwned;

use crate::{Context, NodeError, Outputs, Parameter};

/// A node that is fed with frames: a transformer when it has outputs, a sink when not.
pub trait Node: Sized {
    /// The type of `with:` in system.yaml; [`crate::NoParams`] for a node without parameters.
    type Params: DeserializeOwned;

    /// What may stand under `with:`: type, range, default, and whether a running node takes a new
    /// value. Values are checked against it before they reach the node, here and on the control
    /// plane; what is not declared is checked by [`Self::Params`] alone.
    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }

    /// Runs once before the first frame: open files, load models. An error ends the process with
    /// exit code 1 and reaches the user.
    fn setup(ctx: &mut Context, params: Self::Params) -> Result<Self, NodeError>;

    /// Runs for every frame. The frame counts as delivered once this returns.
    fn process(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError>;

    /// Runs for a frame that tells of a failure upstream. The default passes it on to every output.
    fn process_error(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        out.send_to_all(&input.frame)
    }

    /// Takes new parameters while the node runs, all of them, between two rounds of its loop. Called
    /// when a [live](Parameter::live) one has changed. An error is shown to the person who made the
    /// change; the node then has to go on with its old values.
    fn params_changed(&mut self, params: Self::Params) -> Result<(), NodeError> {
        let _ = params;
        Err(NodeError::new("the node takes no parameters while it runs"))
    }

    /// Runs once after the last frame when the node is stopped, not when it fails or is killed.
    fn teardown(&mut self) {}
}

/// A node that makes frames.
pub trait Source: Sized {
    /// The type of `with:` in system.yaml; [`crate::NoParams`] for a node without parameters.
    type Params: DeserializeOwned;

    /// What may stand under `with:`: type, range, default, and whether a running node takes a new
    /// value. Values are checked against it before they reach the node, here and on the control
    /// plane; what is not declared is checked by [`Self::Params`] alone.
    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }

    /// Runs once before the first frame. An error ends the process with exit code 1.
    fn setup(ctx: &mut Context, params: Self::Params) -> Result<Self, NodeError>;

    /// How often [`Self::produce`] runs: times a second, without drift; a tick that is missed is
    /// left out. Asked before every tick, so it may change. `None`: as fast as it returns.
    fn fps(&self) -> Option<f64> {
        None
    }

    /// Sends the next frame. It may block for a moment (a camera); for longer it should watch
    /// [`Context::stop`].
    fn produce(&mut self, out: &mut Outputs) -> Result<Step, NodeError>;

    /// Takes new parameters while the node runs, all of them, between two rounds of its loop. Called
    /// when a [live](Parameter::live) one has changed. An error is shown to the person who made the
    /// change; the node then has to go on with its old values.
    fn params_changed(&mut self, params: Self::Params) -> Result<(), NodeError> {
        let _ = params;
        Err(NodeError::new("the node takes no parameters while it runs"))
    }

    /// Runs once after the last frame when the node is stopped, not when it fails or is killed.
    fn teardown(&mut self) {}
}

/// What a source does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on at the next tick.
    Continue,
    /// There is nothing yet: try again after this time.
    Wait(Duration),
    /// The content has ended: tear down and exit 0.
    End,
}

/// One frame that arrived.
#[derive(Clone, Debug)]
pub struct Input {
    /// Input port.
    pub port: Arc<str>,
    /// The frame.
    pub frame: Frame,
}
