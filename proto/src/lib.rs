//! The `edgeflow.v1` protocol: generated messages, clients and servers, and nothing else that
//! a daemon or tool could disagree on. Regenerate with `cargo xtask codegen`.

mod params;
mod token;

pub use params::declared;
pub use token::{JoinToken, JoinTokenError};

/// Package `edgeflow.v1`.
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications
)]
pub mod v1 {
    include!("gen/edgeflow.v1.rs");
}

/// The session protocol spoken by this build. An agent and a control plane one version apart work
/// together: `Hello` carries the range, `Welcome` the choice.
pub const SESSION_PROTOCOL_MIN: u32 = 1;
/// Newest session protocol spoken by this build.
pub const SESSION_PROTOCOL_MAX: u32 = 1;
