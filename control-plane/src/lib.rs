//! The control plane: desired state of a fleet, the sessions of its agents, and what people see of
//! both. This crate is the binary's inside, public for its tests only.
#![warn(missing_docs)]

pub mod api;
pub mod app;
pub mod artifacts;
pub mod changes;
pub mod clock;
pub mod config;
pub mod dead_letters;
pub mod fleet;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod pki;
pub mod server;
pub mod service;
pub mod store;
pub mod traces;
pub mod views;
