//! The agent's process: arguments, runtime, exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use edgeflow_agent::{
    app,
    config::{Args, Config},
};
use edgeflow_runtime::logging;
use tokio_util::sync::CancellationToken;

/// Threads for file work that would hold up everything else.
const BLOCKING_THREADS: usize = 4;
const STACK_BYTES: usize = 512 * 1024;
/// What the user can correct: arguments, token, port, another agent.
const EXIT_SETUP: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    logging::init("info");
    let run = || -> anyhow::Result<()> {
        let config = Config::new(args)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_stack_size(STACK_BYTES)
            .build()?;
        let result = runtime.block_on(app::run(config, CancellationToken::new()));
        runtime.shutdown_background();
        result
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edgeflow-agent: error: {}", logging::chain(&*error));
            ExitCode::from(EXIT_SETUP)
        }
    }
}
