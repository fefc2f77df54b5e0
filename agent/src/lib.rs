//! The EdgeFlow agent: keeps a device's assignment on disk, runs its instances as processes, and
//! tells the control plane about them over one connection that it dials itself. Works the same
//! with the control plane gone.
//!
//! Every tonic and generated type ends in [`session`].

pub mod app;
pub mod broker;
pub mod clock;
pub mod conditions;
pub mod config;
pub mod events;
pub mod files;
pub mod http;
pub mod inventory;
pub mod ledger;
pub mod links;
pub mod logs;
pub mod metrics;
pub mod models;
pub mod paths;
pub mod reconcile;
pub mod session;
pub mod spans;
pub mod supervisor;
pub mod views;
