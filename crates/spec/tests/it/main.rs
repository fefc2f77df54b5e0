//! Behaviour of the language as its users meet it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may fail too"
)]

mod bad_yaml;
mod builder;
mod examples;
mod parsing;
mod placement;
mod planning;
mod properties;
mod reference;
mod schema;
