//! What every daemon and node process needs and no domain owns: logging, shutdown, named tasks,
//! the metrics registry, an HTTP client. Knows nothing of systems, devices or frames.

pub mod http;
pub mod logging;
pub mod metrics;
pub mod shutdown;
pub mod tasks;
