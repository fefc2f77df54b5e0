//! The real server in this process, spoken to over its real ports by fake agents and clients.
// Helpers fail a test by panicking, like the tests themselves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod binary;
mod enrollment;
mod harness;
mod logs;
mod models;
mod params;
mod sessions;
mod systems;
mod views;
