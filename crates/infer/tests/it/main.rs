//! Integration tests: foreign pictures, and real models on real photos where they are at hand.

// Helpers of tests fail by panicking.
#![allow(clippy::unwrap_used)]

mod models;
mod pictures;
