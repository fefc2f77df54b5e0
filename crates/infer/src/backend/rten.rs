//! The pure Rust CPU runtime.

use std::sync::Arc;

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueView};
use rten_tensor::prelude::*;

use super::{Backend, BackendError, Spare, TensorView};

/// A model in rten, with a thread pool of its own.
pub struct RtenBackend {
    model: Arc<Model>,
    input: NodeId,
    outputs: Vec<NodeId>,
    options: RunOptions,
    threads: usize,
}

impl RtenBackend {
    /// Loads an ONNX model. `threads` 0 means one for each core that the process may use.
    pub fn load(onnx: Vec<u8>, threads: usize) -> Result<Self, BackendError> {
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = options
            .load(onnx)
            .map_err(|error| BackendError::Load(error.into()))?;
        let input = match *model.input_ids() {
            [input] => input,
            ref inputs => return Err(BackendError::Inputs(inputs.len())),
        };
        let outputs = model.output_ids().to_vec();
        let model = Arc::new(model);
        Ok(Self::over(model, input, outputs, super::threads(threads)))
    }

    fn over(model: Arc<Model>, input: NodeId, outputs: Vec<NodeId>, threads: usize) -> Self {
        let pool = Arc::new(ThreadPool::with_num_threads(threads));
        Self {
            model,
            input,
            outputs,
            options: RunOptions::default().with_thread_pool(Some(pool)),
            threads,
        }
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.threads
    }
}

impl Backend for RtenBackend {
    fn name(&self) -> &str {
        "rten"
    }

    fn run(
        &mut self,
        shape: [usize; 4],
        input: &[f32],
        take: &mut dyn FnMut(&[TensorView<'_>]),
    ) -> Result<(), BackendError> {
        super::check_len(shape, input)?;
        let view =
            ValueView::from_shape(shape, input).map_err(|error| BackendError::Run(error.into()))?;
        let values = self
            .model
            .run(
                vec![(self.input, view.into())],
                &self.outputs,
                Some(self.options.clone()),
            )
            .map_err(|error| BackendError::Run(error.into()))?;
        let tensors: Vec<(Vec<usize>, Vec<f32>)> = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| to_tensor(value).ok_or(BackendError::Output(index)))
            .collect::<Result<_, _>>()?;
        super::show(&tensors, take);
        Ok(())
    }

    fn spare(&self) -> Option<Spare> {
        let (model, input, outputs) = (Arc::clone(&self.model), self.input, self.outputs.clone());
        Some(Arc::new(move || {
            let another = Self::over(Arc::clone(&model), input, outputs.clone(), 1);
            Ok(Box::new(another))
        }))
    }
}

/// Without a copy unless the elements lie in another order.
fn to_tensor(value: Value) -> Option<(Vec<usize>, Vec<f32>)> {
    let tensor = value.into_tensor::<f32>()?;
    let shape = tensor.shape().to_vec();
    Some((shape, tensor.into_data()))
}

impl std::fmt::Debug for RtenBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtenBackend")
            .field("threads", &self.threads)
            .field("outputs", &self.outputs.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_model_are_an_error() {
        assert!(RtenBackend::load(Vec::new(), 1).is_err());
        assert!(RtenBackend::load(b"plain text, no model".to_vec(), 1).is_err());
    }
}
