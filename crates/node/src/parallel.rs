//! The trait of nodes that work on several frames at a time. No behaviour beyond defaults.

use serde::de::DeserializeOwned;

use crate::{Context, Input, NodeError, Outputs, Parameter};

/// A node that is fed with frames and works on several of them at a time, each in a thread of its
/// own. What comes of them is sent in the order in which they came. For work that takes long and
/// does not use all cores by itself; everything else is a [`crate::Node`].
pub trait ParallelNode: Sized {
    /// The type of `with:` in system.yaml; [`crate::NoParams`] for a node without parameters.
    type Params: DeserializeOwned;
    /// What a thread has for itself.
    type Worker: Send + 'static;
    /// What a worker makes of a frame.
    type Made: Send + 'static;

    /// See [`crate::Node::parameters`].
    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }

    /// Runs once before the first frame. An error ends the process with exit code 1.
    fn setup(ctx: &mut Context, params: Self::Params) -> Result<Self, NodeError>;

    /// One worker for each frame that is worked on at a time. Asked for once, after
    /// [`Self::setup`].
    fn workers(&mut self) -> Result<Vec<Self::Worker>, NodeError>;

    /// Runs for every frame, in a worker's thread.
    fn work(worker: &mut Self::Worker, input: &Input) -> Result<Self::Made, NodeError>;

    /// Runs for every frame that was worked on, in the order in which they came, in the thread of
    /// the node. The frame counts as delivered once this returns.
    fn finish(
        &mut self,
        input: Input,
        made: Self::Made,
        out: &mut Outputs,
    ) -> Result<(), NodeError>;

    /// See [`crate::Node::process_error`]; in the order of frames.
    fn process_error(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
        out.send_to_all(&input.frame)
    }

    /// See [`crate::Node::params_changed`]. Frames that are worked on may still be with the old values.
    fn params_changed(&mut self, params: Self::Params) -> Result<(), NodeError> {
        let _ = params;
        Err(NodeError::new("the node takes no parameters while it runs"))
    }

    /// Runs once after the last frame when the node is stopped, not when it fails or is killed.
    fn teardown(&mut self) {}
}
