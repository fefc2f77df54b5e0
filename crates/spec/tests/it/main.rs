//! Behaviour of the language as its users meet it.

mod bad_yaml;
mod builder;
mod examples;
mod parsing;
mod planning;
mod properties;
mod schema;
