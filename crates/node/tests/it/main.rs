//! Real node processes: their exit codes, what they say, and what they report to an agent.

mod process;
mod runner;
