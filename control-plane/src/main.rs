//! The control plane's process: configuration, start, wait for a reason to stop, stop.

use std::process::ExitCode;

use clap::Parser;
use edgeflow_control_plane::{
    config::Config,
    server::{Server, StartError},
};
use edgeflow_runtime::{
    logging::{self, chain},
    shutdown::{self, Watch},
};
use tokio_util::sync::CancellationToken;

/// The command line or the environment has to change before a start can succeed.
const EXIT_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let config = Config::parse();
    logging::init("info");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(config)),
        Err(error) => {
            eprintln!("error: can't start threads: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> ExitCode {
    let watch = Watch {
        stdin: config.exit_with_stdin,
    };
    let server = match Server::start(config).await {
        Ok(server) => server,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            return match error {
                StartError::Config(_) | StartError::Collector(_) | StartError::Bind { .. } => {
                    ExitCode::from(EXIT_CONFIG)
                }
                _ => ExitCode::FAILURE,
            };
        }
    };
    let outcome = shutdown::wait(watch, &CancellationToken::new()).await;
    server.stop().await;
    match outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: can't watch for signals: {error}");
            ExitCode::FAILURE
        }
    }
}
