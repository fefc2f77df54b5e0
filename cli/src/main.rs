//! The `edgeflow` command. `main` parses, runs one command, prints its failure and turns it into an
//! exit code; everything else is in `cmd/`.

mod args;
mod client;
mod cmd;
mod config;
mod failure;
mod output;
mod paths;
mod view;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use failure::{Exit, Failure, Outcome};
use output::colour;

fn main() -> ExitCode {
    let cli = Cli::parse();
    colour::init(cli.globals.color);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::failed("can't start").why(error)),
    };
    let outcome = runtime.block_on(run(cli));
    // A read of the terminal that nobody will answer must not hold the process.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report(&failure),
    }
}

async fn run(cli: Cli) -> Outcome<u8> {
    // `local` has daemons to stop, so it watches signals itself.
    if let args::Command::Local(_) = cli.command {
        return cmd::run(cli).await;
    }
    tokio::select! {
        outcome = cmd::run(cli) => outcome,
        _ = tokio::signal::ctrl_c() => {
            let mut failure = Failure::new(Exit::Interrupted, "interrupted");
            if let Some(note) = output::interrupt_note() {
                failure = failure.why(note);
            }
            Err(failure)
        }
    }
}

fn report(failure: &Failure) -> ExitCode {
    output::note(failure.render(colour::stderr()));
    ExitCode::from(failure.exit.code())
}
