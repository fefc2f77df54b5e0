//! The commands, a file each. A command parses nothing and prints through `output`.

pub(crate) mod apply;
pub(crate) mod completion;
pub(crate) mod context;
pub(crate) mod deadletters;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod label;
pub(crate) mod local;
pub(crate) mod logs;
pub(crate) mod manifests;
pub(crate) mod model;
pub(crate) mod plan;
pub(crate) mod reference;
pub(crate) mod rollback;
pub(crate) mod schema;
pub(crate) mod set;
pub(crate) mod tap;
pub(crate) mod token;
pub(crate) mod version;
pub(crate) mod wait;

use crate::{
    args::{Cli, Command},
    failure::Outcome,
};

/// Runs the command; the exit code when it worked.
pub(crate) async fn run(cli: Cli) -> Outcome<u8> {
    let globals = &cli.globals;
    match cli.command {
        Command::Apply(command) => command.run(globals).await?,
        Command::Plan(command) => return command.run(globals).await,
        Command::Get(command) => command.run(globals).await?,
        Command::Describe(command) => command.run(globals).await?,
        Command::Logs(command) => command.run(globals).await?,
        Command::DeadLetters(command) => command.run(globals).await?,
        Command::Tap(command) => command.run(globals).await?,
        Command::Events(command) => command.run(globals).await?,
        Command::Delete(command) => command.run(globals).await?,
        Command::History(command) => command.run(globals).await?,
        Command::Rollback(command) => command.run(globals).await?,
        Command::Set(command) => command.run(globals).await?,
        Command::Model(command) => command.run(globals).await?,
        Command::Token(command) => command.run(globals).await?,
        Command::Label(command) => command.run(globals).await?,
        Command::Local(command) => command.run().await?,
        Command::Doctor(command) => command.run(globals).await?,
        Command::Schema(command) => command.run()?,
        Command::Context(command) => command.run(globals)?,
        Command::Completion(command) => command.run(),
        Command::Version(command) => command.run(globals).await?,
        Command::Reference(command) => command.run(),
    }
    Ok(0)
}

/// Parses `key=value`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it like key=value".to_owned()),
    }
}
