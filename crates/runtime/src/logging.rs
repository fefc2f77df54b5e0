//! Structured logs on stderr: text on a terminal, one JSON object a line otherwise.
//! `EDGEFLOW_LOG` takes `LEVEL` and `TARGET=LEVEL`, comma-separated; `EDGEFLOW_LOG_FORMAT` is `text` or `json`.

use std::io::IsTerminal;

use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Installs the process-wide subscriber. `default_filter` holds when `EDGEFLOW_LOG` is unset or
/// malformed. A second call does nothing.
pub fn init(default_filter: &str) {
    let filter = std::env::var("EDGEFLOW_LOG")
        .ok()
        .and_then(|text| text.parse::<Targets>().ok())
        .or_else(|| default_filter.parse().ok())
        .unwrap_or_default();
    let json = match std::env::var("EDGEFLOW_LOG_FORMAT").as_deref() {
        Ok("json") => true,
        Ok("text") => false,
        _ => !std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let installed = if json {
        let layer = fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr);
        registry.with(layer).try_init()
    } else {
        let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let layer = fmt::layer().with_ansi(ansi).with_writer(std::io::stderr);
        registry.with(layer).try_init()
    };
    // Only fails when a subscriber is there already, which then keeps serving.
    drop(installed);
}

/// An error with its chain of sources on one line: `outer: middle: inner`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
