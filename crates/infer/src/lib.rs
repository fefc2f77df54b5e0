//! Models on pictures, detectors and classifiers: runtimes behind one small trait, JPEG
//! decoding, letterbox, output decoders and non-maximum suppression. Knows nothing of frames,
//! links or nodes, and never reaches the network.

pub mod backend;
pub mod classifier;
pub mod coded;
pub mod decode;
pub mod detection;
pub mod detector;
mod engine;
pub mod image;
pub mod letterbox;
pub mod locate;
pub mod model;
pub mod outline;
pub mod prepare;
pub mod raw;

pub use backend::{LoadOptions, Provider};
pub use classifier::{Class, Classifier};
pub use coded::Coded;
pub use detection::Detection;
pub use detector::{Detector, Found, Options};
pub use image::{ImageError, JpegReader, Picture};
pub use letterbox::Area;
pub use model::{Model, ModelError, Timings};
