//! The real programs, end to end. A test names what a user is promised; the harness that starts,
//! waits and kills is `edgeflow-testkit`. Run with `cargo xtask test`, which builds everything and
//! gets the model and the clip first.

mod apply;
mod broker;
mod browser;
mod camera;
mod cli;
mod dead_letters;
mod events;
mod failures;
mod local;
mod manifests;
mod models;
mod params;
mod recording;
mod replicas;
mod spread;
mod survival;
mod tokens;
mod traces;
