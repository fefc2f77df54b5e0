//! ONNX Runtime, a C++ library that is loaded when a model needs it, with whatever providers it was
//! built with. Errors of a provider are errors: nothing falls back without a word.

mod library;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::{
    ep::{self, ExecutionProvider, ExecutionProviderDispatch},
    session::{Session, builder::SessionBuilder},
    value::{Outlet, TensorRef, ValueType},
};

use super::{Backend, BackendError, LoadOptions, Provider, Spare, TensorView};
use library::Library;

/// A model in ONNX Runtime.
pub struct OnnxRuntime {
    session: Session,
    input: String,
    name: String,
    spare: Option<Spare>,
}

impl std::fmt::Debug for OnnxRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxRuntime")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The providers of the library that is there, best first. Why there are none or fewer goes into
/// `passed_over`.
pub(super) fn usable(dirs: &[PathBuf], passed_over: &mut Vec<String>) -> Vec<Provider> {
    let library = match library::get(dirs, Provider::Auto) {
        Ok(library) => library,
        Err(BackendError::NoLibrary { .. }) => {
            passed_over.push("onnxruntime: no library of it is there".to_owned());
            return Vec::new();
        }
        Err(error) => {
            passed_over.push(super::chain(&error));
            return Vec::new();
        }
    };
    let built_in = |provider: &Provider| library.has(*provider);
    Provider::BY_SPEED.into_iter().filter(built_in).collect()
}

/// The process's environment of ONNX Runtime, for measurements beside our own use of it.
pub fn environment(dirs: &[PathBuf]) -> Result<ort::environment::Environment, BackendError> {
    library::get(dirs, Provider::Cpu).map(|library| library.environment().clone())
}

impl OnnxRuntime {
    /// Loads an ONNX model.
    pub fn load(
        onnx: &[u8],
        provider: Provider,
        options: &LoadOptions,
    ) -> Result<Self, BackendError> {
        let library = library::get(&options.library_dirs, provider)?;
        if !library.has(provider) {
            return Err(BackendError::NotBuiltIn {
                provider: provider.name(),
                path: library.path().to_owned(),
            });
        }
        let session = open(&library, onnx, provider, options)?;
        let input = match session.inputs() {
            [input] => input_name(input)?,
            inputs => return Err(BackendError::Inputs(inputs.len())),
        };
        Ok(Self {
            session,
            input,
            name: format!("onnxruntime {}, {}", library.version(), provider.name()),
            spare: spare(onnx, provider, options),
        })
    }
}

/// A session takes one picture at a time, so each thread needs one of its own. An accelerator is one
/// for all.
fn spare(onnx: &[u8], provider: Provider, options: &LoadOptions) -> Option<Spare> {
    if !options.spare || provider != Provider::Cpu {
        return None;
    }
    let onnx = onnx.to_vec();
    let options = LoadOptions {
        threads: 1,
        spare: false,
        ..options.clone()
    };
    Some(Arc::new(move || {
        let another = OnnxRuntime::load(&onnx, provider, &options)?;
        Ok(Box::new(another))
    }))
}

fn input_name(input: &Outlet) -> Result<String, BackendError> {
    match input.dtype() {
        ValueType::Tensor { ty, .. } if *ty == ort::value::TensorElementType::Float32 => {
            Ok(input.name().to_owned())
        }
        other => Err(BackendError::InputType(other.to_string())),
    }
}

fn open(
    library: &Library,
    onnx: &[u8],
    provider: Provider,
    options: &LoadOptions,
) -> Result<Session, BackendError> {
    let threads = super::threads(options.threads);
    let cache = options.cache_dir.as_deref();
    let build = || -> ort::Result<Session> {
        let builder = Session::builder(library.environment())?;
        // XNNPACK has a pool of its own; two of them would fight for the cores.
        let own_threads = if provider == Provider::Xnnpack {
            1
        } else {
            threads
        };
        let mut builder = builder
            .with_intra_threads(own_threads)?
            .with_inter_threads(1)?
            // A device runs more than this model: threads that wait must not spin.
            .with_intra_op_spinning(false)?;
        if let Some(provider) = dispatch(provider, threads, cache) {
            builder = with(builder, provider)?;
        }
        builder.commit_from_memory(onnx)
    };
    build().map_err(|error| BackendError::Load(error.into()))
}

fn with(
    builder: SessionBuilder,
    provider: ExecutionProviderDispatch,
) -> ort::Result<SessionBuilder> {
    Ok(builder.with_execution_providers([provider.error_on_failure()])?)
}

/// `None`: the CPU provider, which is always there.
fn dispatch(
    provider: Provider,
    threads: usize,
    cache: Option<&Path>,
) -> Option<ExecutionProviderDispatch> {
    match provider {
        Provider::Xnnpack => {
            let threads = std::num::NonZeroUsize::new(threads)?;
            let xnnpack = ep::XNNPACK::default().with_intra_op_num_threads(threads);
            Some(xnnpack.build())
        }
        Provider::Cuda => Some(ep::CUDA::default().build()),
        Provider::TensorRt => {
            let mut tensorrt = ep::TensorRT::default().with_fp16(true);
            if let Some(dir) = cache {
                // Building an engine takes minutes on a small device.
                let dir = dir.display().to_string();
                tensorrt = tensorrt
                    .with_engine_cache(true)
                    .with_engine_cache_path(&dir)
                    .with_timing_cache(true)
                    .with_timing_cache_path(&dir);
            }
            Some(tensorrt.build())
        }
        Provider::OpenVino => {
            let mut openvino = ep::OpenVINO::default();
            if let Some(dir) = cache {
                openvino = openvino.with_cache_dir(dir.display());
            }
            Some(openvino.build())
        }
        Provider::Auto | Provider::Rten | Provider::Cpu => None,
    }
}

fn is_built_in(provider: Provider) -> bool {
    let available = match provider {
        Provider::Xnnpack => ep::XNNPACK::is_available(),
        Provider::Cuda => ep::CUDA::is_available(),
        Provider::TensorRt => ep::TensorRT::is_available(),
        Provider::OpenVino => ep::OpenVINO::is_available(),
        Provider::Auto | Provider::Rten | Provider::Cpu => return true,
    };
    available.unwrap_or(false)
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(
        &mut self,
        shape: [usize; 4],
        input: &[f32],
        take: &mut dyn FnMut(&[TensorView<'_>]),
    ) -> Result<(), BackendError> {
        super::check_len(shape, input)?;
        let failed = |error: ort::Error| BackendError::Run(error.into());
        let view = TensorRef::from_array_view((shape, input)).map_err(failed)?;
        let outputs = self
            .session
            .run(ort::inputs![self.input.as_str() => view])
            .map_err(failed)?;
        let mut tensors: Vec<(Vec<usize>, &[f32])> = Vec::new();
        for index in 0..outputs.len() {
            let (shape, data) = outputs[index]
                .try_extract_tensor::<f32>()
                .map_err(|_| BackendError::Output(index))?;
            let sizes = shape.iter().map(|size| usize::try_from(*size).unwrap_or(0));
            tensors.push((sizes.collect(), data));
        }
        super::show(&tensors, take);
        Ok(())
    }

    fn spare(&self) -> Option<Spare> {
        self.spare.clone()
    }
}
