//! What a model file is, without running it: the signature in an ONNX file, the family of its outputs,
//! what people say of it, and the catalogue of models known by name. Needs no model runtime; never
//! reaches the network.

pub mod catalogue;
pub mod description;
pub mod family;
pub mod input;
pub mod onnx;

pub use catalogue::{COCO, Entry, catalogue};
pub use description::{Description, DescriptionError};
pub use family::Family;
pub use input::{ChannelOrder, Colours, InputSize, Placement};
