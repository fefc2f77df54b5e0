//! The real `edgeflow` binary: help, exit codes, messages, contexts; against a control plane that
//! is a fake in this process where one is needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics is a test that fails"
)]

mod apply;
mod contexts;
mod fake;
mod help;
mod lists;
mod run;
mod set;
mod tap;
mod unreachable;
