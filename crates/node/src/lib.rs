//! The EdgeFlow SDK. A node is a type with a `setup` and a loop; the runner owns its sockets,
//! statistics, signals and pacing. Implement [`Node`] for a step that gets frames, [`Source`] for
//! one that makes them, [`FusedNode`] for one that gets frames of several inputs in sets,
//! [`ParallelNode`] for one that works on several frames at a time, and hand it to [`run_node`],
//! [`run_source`], [`run_fused`] or [`run_parallel`] in `main`.
//!
//! ```no_run
//! use edgeflow::{Context, Input, NoParams, Node, NodeError, Outputs};
//!
//! struct PassOn;
//!
//! impl Node for PassOn {
//!     type Params = NoParams;
//!
//!     fn setup(_: &mut Context, _: NoParams) -> Result<Self, NodeError> {
//!         Ok(Self)
//!     }
//!
//!     fn process(&mut self, input: Input, out: &mut Outputs) -> Result<(), NodeError> {
//!         out.send("out", input.frame)
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     edgeflow::run_node::<PassOn>()
//! }
//! ```

mod context;
mod error;
mod events;
mod fusion;
mod node;
mod outputs;
mod parallel;
mod params;
mod runner;
mod shown;
mod spans;
mod stop;
pub mod testing;
mod tracer;

pub use edgeflow_spec::instance_config::ModelFile;
pub use edgeflow_spec::params::Parameter;
pub use edgeflow_spec::quantity;
pub use edgeflow_stream::meta::{DETECTIONS, HOPS, Hop, MetaError, TRACKS};
pub use edgeflow_stream::{Buffer, Codec, Detection, Frame, Header, Kind, Meta, Track, clock};
pub use serde;
pub use tracing;

pub use context::{Condition, Context, Producer};
pub use error::NodeError;
pub use events::{Event, Events, MAX_PICTURE_BYTES, Severity};
pub use fusion::{
    DEFAULT_BYTES, DEFAULT_FRAMES, DEFAULT_TIMEOUT, DEFAULT_TOLERANCE, FrameSet, FusedNode, Fusion,
    Policy,
};
pub use node::{Input, Node, Source, Step};
pub use outputs::Outputs;
pub use parallel::ParallelNode;
pub use params::{NoParams, ParamsError, parse_params};
pub use runner::{run_fused, run_node, run_parallel, run_source};
pub use shown::{Counter, Fact, Timer};
pub use stop::Stop;
