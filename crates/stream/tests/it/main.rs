//! The conformance suite of links, run over every transport, and tests of hostile peers.

// Helpers outside #[test] functions panic as well: that is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod balanced;
mod broker;
mod broker_access;
mod broker_dead;
mod broker_fixture;
mod conformance;
mod conservation;
mod dead_letters;
mod far;
mod holding;
mod hostile;
mod shm;
mod shm_in_place;
mod shm_liars;
mod shm_pipe;
mod spill;
mod support;
mod tcp;
