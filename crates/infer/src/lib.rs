//! Detection models on pictures: runtimes behind one small trait, JPEG
//! decoding, letterbox, output decoders and non-maximum suppression. Knows nothing of frames,
//! links or nodes, and never reaches the network.

pub mod backend;
pub mod decode;
pub mod detection;
pub mod detector;
mod engine;
pub mod image;
pub mod letterbox;
pub mod locate;
pub mod prepare;
pub mod raw;

pub use backend::{LoadOptions, Provider};
pub use detection::Detection;
pub use detector::{Detector, DetectorError, Options, Timings};
pub use image::{ImageError, JpegReader, Picture};
