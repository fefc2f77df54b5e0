//! What a model runtime has to do. One trait, so that other runtimes (ONNX Runtime, accelerators)
//! can stand beside the pure Rust one. Never interprets tensors.

mod rten;

pub use self::rten::RtenBackend;

/// A dense tensor of 32-bit floats in row-major order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// Size of each dimension.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<f32>,
}

/// A loaded model with one picture-shaped input.
pub trait Backend: Send + std::fmt::Debug {
    /// Name of the runtime, for logs.
    fn name(&self) -> &'static str;

    /// Runs the model on one input `[batch, channels, height, width]`; outputs come in the model's
    /// own order.
    fn run(&mut self, shape: [usize; 4], input: &[f32]) -> Result<Vec<Tensor>, BackendError>;
}

/// Why a runtime can't load or run a model.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The runtime does not take the model.
    #[error("the runtime can't load the model")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The runtime failed while running.
    #[error("the model failed to run")]
    Run(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not a model with exactly one input.
    #[error("the model has {0} inputs; models with one picture input are supported")]
    Inputs(usize),
    /// The input has another number of elements than its shape says.
    #[error("the input has {have} values, its shape needs {need}")]
    Shape {
        /// Values given.
        have: usize,
        /// Values needed.
        need: usize,
    },
    /// An output that is not made of floats.
    #[error("output {0} of the model is not a float tensor")]
    Output(usize),
}
