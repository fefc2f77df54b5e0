//! The language of EdgeFlow: systems as written, validated and planned; assignments as sent to
//! devices. Pure: no IO, no async, no clock.

pub mod assignment;
pub mod broker;
pub mod builder;
pub mod catalog;
mod decode;
pub mod device;
pub mod instance_config;
pub mod names;
pub mod params;
mod parse;
pub mod placement;
pub mod plan;
pub mod problem;
pub mod qos;
pub mod quantity;
pub mod render;
pub mod schema;
pub mod selector;
mod source;
mod suggest;
pub mod system;
mod template;
mod text;
mod validate;
mod yaml;

pub use assignment::Assignment;
pub use instance_config::InstanceConfig;
pub use parse::{MAX_MANIFEST_BYTES, Parsed, parse, parse_with_models};
pub use problem::{Invalid, Problem, Severity};
pub use qos::{LinkQos, OnFull, QosMode};
pub use selector::Selector;
pub use system::{Link, NodeSpec, PortRef, System};
