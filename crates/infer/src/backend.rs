//! What a model runtime has to do, and which one is taken. One trait, so that runtimes and
//! accelerators can stand beside each other. Never interprets tensors.

mod onnxruntime;
mod rten;

use std::path::PathBuf;
use std::sync::Arc;

pub use self::onnxruntime::{OnnxRuntime, environment};
pub use self::rten::RtenBackend;

/// Threads that one model may use at most.
const MAX_THREADS: usize = 64;

/// A dense tensor of 32-bit floats in row-major order, in the runtime's own memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    /// Size of each dimension.
    pub shape: &'a [usize],
    /// The elements.
    pub data: &'a [f32],
}

/// A loaded model with one picture-shaped input.
pub trait Backend: Send + std::fmt::Debug {
    /// Runtime and provider, for people: `rten`, `onnxruntime 1.22.0, cpu`.
    fn name(&self) -> &str;

    /// Runs the model on one input `[batch, channels, height, width]` and shows the outputs, in the
    /// model's own order, to `take`. Not called when an error is returned.
    fn run(
        &mut self,
        shape: [usize; 4],
        input: &[f32],
        take: &mut dyn FnMut(&[TensorView<'_>]),
    ) -> Result<(), BackendError>;

    /// Makes more of the same model for one thread each, to be run at the same time. `None`: nothing
    /// is gained by that, or it was not asked for.
    fn spare(&self) -> Option<Spare>;
}

/// Makes another one of a loaded model, for one thread.
pub type Spare = Arc<dyn Fn() -> Result<Box<dyn Backend>, BackendError> + Send + Sync>;

/// Shows outputs, whoever owns their values, as [`Backend::run`] does.
pub(crate) fn show<D: AsRef<[f32]>>(
    outputs: &[(Vec<usize>, D)],
    take: &mut dyn FnMut(&[TensorView<'_>]),
) {
    let views: Vec<TensorView<'_>> = outputs
        .iter()
        .map(|(shape, data)| TensorView {
            shape,
            data: data.as_ref(),
        })
        .collect();
    take(&views);
}

/// What a model runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// The fastest that works here.
    #[default]
    Auto,
    /// The built-in runtime, in Rust, on the CPU.
    Rten,
    /// ONNX Runtime on the CPU.
    Cpu,
    /// ONNX Runtime with XNNPACK's kernels, on the CPU.
    Xnnpack,
    /// ONNX Runtime on an NVIDIA GPU.
    Cuda,
    /// ONNX Runtime with NVIDIA TensorRT.
    TensorRt,
    /// ONNX Runtime with Intel OpenVINO.
    OpenVino,
}

impl Provider {
    /// Every provider, the name that people give it first.
    pub const ALL: [(&'static str, Self); 7] = [
        ("auto", Self::Auto),
        ("rten", Self::Rten),
        ("cpu", Self::Cpu),
        ("xnnpack", Self::Xnnpack),
        ("cuda", Self::Cuda),
        ("tensorrt", Self::TensorRt),
        ("openvino", Self::OpenVino),
    ];
    /// What [`Provider::Auto`] tries of ONNX Runtime, best first. XNNPACK is left to those who ask: it
    /// takes a part of most graphs only.
    const BY_SPEED: [Self; 4] = [Self::TensorRt, Self::Cuda, Self::OpenVino, Self::Cpu];

    /// The provider of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, provider)| *provider)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, provider)| *provider == self);
        found.map_or("", |(name, _)| name)
    }
}

/// How a model is loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// What it runs on.
    pub provider: Provider,
    /// Threads; 0: one for each core that the process may use.
    pub threads: usize,
    /// Folders where ONNX Runtime's library is looked for before the system's.
    pub library_dirs: Vec<PathBuf>,
    /// More of the same may be wanted, see [`Backend::spare`]. Costs memory.
    pub spare: bool,
    /// Where compiled engines are kept; `None`: nowhere, they are made at each start.
    pub cache_dir: Option<PathBuf>,
}

/// A loaded model, and what was not taken for it.
#[derive(Debug)]
pub struct Loaded {
    /// The model.
    pub backend: Box<dyn Backend>,
    /// With [`Provider::Auto`], why nothing faster was taken, in words.
    pub passed_over: Vec<String>,
}

/// Loads an ONNX model with the provider that is asked for, or the fastest that takes it.
pub fn load(onnx: &[u8], options: &LoadOptions) -> Result<Loaded, BackendError> {
    let rten = |passed_over| -> Result<Loaded, BackendError> {
        let backend = RtenBackend::load(onnx.to_vec(), options.threads)?;
        let backend = Box::new(backend);
        Ok(Loaded {
            backend,
            passed_over,
        })
    };
    let onnxruntime = |provider, passed_over| -> Result<Loaded, BackendError> {
        let backend = OnnxRuntime::load(onnx, provider, options)?;
        let backend = Box::new(backend);
        Ok(Loaded {
            backend,
            passed_over,
        })
    };
    match options.provider {
        Provider::Rten => rten(Vec::new()),
        Provider::Auto => {
            let mut passed_over = Vec::new();
            for provider in onnxruntime::usable(&options.library_dirs, &mut passed_over) {
                match onnxruntime(provider, Vec::new()) {
                    Ok(loaded) => {
                        return Ok(Loaded {
                            passed_over,
                            ..loaded
                        });
                    }
                    Err(error) => {
                        passed_over.push(format!("{}: {}", provider.name(), chain(&error)));
                    }
                }
            }
            rten(passed_over)
        }
        provider => onnxruntime(provider, Vec::new()),
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// The number of threads for a wish of `threads`.
fn threads(threads: usize) -> usize {
    let wanted = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        some => some,
    };
    wanted.min(MAX_THREADS)
}

/// Whether an input has as many values as its shape says.
fn check_len(shape: [usize; 4], input: &[f32]) -> Result<(), BackendError> {
    let (have, need) = (input.len(), shape.iter().product());
    if have == need {
        Ok(())
    } else {
        Err(BackendError::Shape { have, need })
    }
}

/// Why a runtime can't load or run a model.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// ONNX Runtime is not there.
    #[error(
        "provider `{provider}` needs ONNX Runtime, and its library was not found in {searched}; install it (`pip download onnxruntime` has it), put libonnxruntime.so into an asset folder, or name it in EDGEFLOW_ONNXRUNTIME"
    )]
    NoLibrary {
        /// As asked for.
        provider: &'static str,
        /// Folders that were searched.
        searched: String,
    },
    /// A file that is no usable library.
    #[error("{} can't be used as ONNX Runtime: {reason}", .path.display())]
    Library {
        /// The file.
        path: PathBuf,
        /// Why, of the loader.
        reason: String,
    },
    /// The library was built without the provider.
    #[error("{} was built without `{provider}`", .path.display())]
    NotBuiltIn {
        /// As asked for.
        provider: &'static str,
        /// The library.
        path: PathBuf,
    },
    /// The runtime does not take the model.
    #[error("the runtime can't load the model")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The runtime failed while running.
    #[error("the model failed to run")]
    Run(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not a model with exactly one input.
    #[error("the model has {0} inputs; models with one picture input are supported")]
    Inputs(usize),
    /// The input is not made of 32-bit floats.
    #[error("the model's input is {0}; models with an input of 32-bit floats are supported")]
    InputType(String),
    /// The input has another number of elements than its shape says.
    #[error("the input has {have} values, its shape needs {need}")]
    Shape {
        /// Values given.
        have: usize,
        /// Values needed.
        need: usize,
    },
    /// The picture went into a batch whose run came to no end.
    #[error("the runtime failed with other pictures")]
    Abandoned,
    /// An output that is not made of floats.
    #[error("output {0} of the model is not a float tensor")]
    Output(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_found_by_name() {
        for (name, provider) in Provider::ALL {
            assert_eq!(
                (Provider::by_name(name), provider.name()),
                (Some(provider), name)
            );
        }
        assert_eq!(Provider::by_name("npu"), None);
    }

    #[test]
    fn a_missing_library_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("libonnxruntime.so"), "no library").unwrap();
        let options = |provider| LoadOptions {
            provider,
            library_dirs: vec![dir.path().to_owned()],
            ..LoadOptions::default()
        };
        let error = load(b"no model", &options(Provider::Cpu)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("can't be used as ONNX Runtime"), "{text}");
        // Automatic choice goes on to the built-in runtime, which refuses the model.
        let error = load(b"no model", &options(Provider::Auto)).unwrap_err();
        assert!(matches!(error, BackendError::Load(_)), "{error}");
    }
}
