//! The runtimes without anything of ours around them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edgeflow_infer::{LoadOptions, Provider};
use ort::{session::Session, value::TensorRef};
use rten::{Model, ModelOptions, RunOptions, ThreadPool, ValueView};

/// A loaded model.
pub(super) enum Bare {
    Rten(Box<Model>, RunOptions),
    OnnxRuntime(Session),
}

/// Loads a model as the detector does. ONNX Runtime is there already: the detector has loaded it.
pub(super) fn load(onnx: &[u8], options: &LoadOptions) -> Result<Bare> {
    if options.provider == Provider::Rten {
        let pool = Arc::new(ThreadPool::with_num_threads(options.threads));
        let model = ModelOptions::with_all_ops()
            .prepack_weights(true)
            .load(onnx.to_vec())?;
        let options = RunOptions::default().with_thread_pool(Some(pool));
        return Ok(Bare::Rten(Box::new(model), options));
    }
    let environment = edgeflow_infer::backend::environment(&options.library_dirs)?;
    // Its builder's errors can't leave the thread.
    let build = || -> ort::Result<Session> {
        Session::builder(&environment)?
            .with_intra_threads(options.threads)?
            .with_intra_op_spinning(false)?
            .commit_from_memory(onnx)
    };
    Ok(Bare::OnnxRuntime(build()?))
}

impl Bare {
    pub(super) fn run(&mut self, shape: [usize; 4], input: &[f32]) -> Result<Duration> {
        match self {
            Self::Rten(model, options) => {
                let id = *model.input_ids().first().context("no input")?;
                let view = ValueView::from_shape(shape, input)?;
                let start = Instant::now();
                let options = Some(options.clone());
                let outputs = model.run(vec![(id, view.into())], model.output_ids(), options)?;
                let time = start.elapsed();
                drop(outputs);
                Ok(time)
            }
            Self::OnnxRuntime(session) => {
                let view = TensorRef::from_array_view((shape, input))?;
                let start = Instant::now();
                let outputs = session.run(ort::inputs![view])?;
                let time = start.elapsed();
                drop(outputs);
                Ok(time)
            }
        }
    }
}
