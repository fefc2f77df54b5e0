//! The language of EdgeFlow: systems as written, validated and planned; assignments as sent to
//! devices. Pure: no IO, no async, no clock.

pub mod assignment;
pub mod instance_config;
pub mod qos;

pub use assignment::Assignment;
pub use instance_config::InstanceConfig;
pub use qos::{LinkQos, OnFull, QosMode};
