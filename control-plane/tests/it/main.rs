//! The real server in this process, spoken to over its real ports by fake agents and clients.

mod access;
mod binary;
mod enrollment;
mod harness;
mod logs;
mod sessions;
mod systems;
mod views;
