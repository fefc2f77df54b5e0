//! `edgeflow-nodes`: the built-in nodes as one program. The agent starts `edgeflow-nodes run NAME`
//! for each instance. Only wires commands to the files that do the work.

mod camera;
mod card;
mod classify;
mod clip;
mod detect;
mod draw;
mod events;
mod fuse;
mod inference;
mod list;
mod log;
mod model;
mod motion;
mod pattern;
mod picture;
mod record;
mod recording;
mod redact;
mod replay;
mod track;
mod video;
mod zones;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// EdgeFlow's built-in nodes.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node; agents do this.
    Run {
        /// The node.
        #[arg(value_enum)]
        node: list::Builtin,
    },
    /// List the nodes.
    List {
        /// How to print.
        #[arg(short, long, value_enum, default_value_t = list::Format::Table)]
        output: list::Format,
    },
    /// Look after model files.
    #[command(subcommand)]
    Model(model::Command),
    /// Tell what is in a recording.
    Recording(recording::inspect::Args),
    /// Make an MJPEG clip that moves slowly over pictures.
    #[command(hide = true)]
    Clip(clip::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run { node } => return run(node),
        Command::List { output } => list::print(output),
        Command::Model(command) => model::run(&command),
        Command::Recording(args) => recording::inspect::run(&args),
        Command::Clip(args) => clip::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(node: list::Builtin) -> ExitCode {
    match node {
        list::Builtin::Pattern => edgeflow::run_source::<pattern::Pattern>(),
        list::Builtin::Camera => edgeflow::run_source::<camera::CameraNode>(),
        list::Builtin::Video => edgeflow::run_source::<video::Video>(),
        list::Builtin::Motion => edgeflow::run_node::<motion::Motion>(),
        list::Builtin::Detect => edgeflow::run_parallel::<detect::Detect>(),
        list::Builtin::Classify => edgeflow::run_parallel::<classify::Classify>(),
        list::Builtin::Track => edgeflow::run_node::<track::TrackNode>(),
        list::Builtin::Zones => edgeflow::run_node::<zones::Zones>(),
        list::Builtin::Redact => edgeflow::run_node::<redact::Redact>(),
        list::Builtin::Draw => edgeflow::run_node::<draw::Draw>(),
        list::Builtin::Fuse => edgeflow::run_fused::<fuse::Fuse>(),
        list::Builtin::Events => edgeflow::run_node::<events::EventsNode>(),
        list::Builtin::Log => edgeflow::run_node::<log::Log>(),
        list::Builtin::Record => edgeflow::run_node::<record::Record>(),
        list::Builtin::Replay => edgeflow::run_source::<replay::Replay>(),
    }
}
