//! Real node processes: their exit codes, what they say, and what they report to an agent.

// Helpers outside #[test] functions panic as well: that is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chains;
mod durable;
mod parallel;
mod params;
mod process;
mod runner;
