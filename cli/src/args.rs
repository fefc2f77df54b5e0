//! The command line: global options and the list of commands. Each command's own options are beside
//! its code in `cmd/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{cmd, output::colour::When};

const ABOUT: &str = "Runs video and AI pipelines on a fleet of edge devices";

const EXAMPLES: &str = "\
Examples:
  edgeflow local system.yaml             everything on this machine, until Ctrl-C
  edgeflow apply system.yaml             send a system to the control plane and wait until it runs
  edgeflow get systems                   what there is, and whether it is well
  edgeflow logs entrance/detect -f       what a node says
  edgeflow doctor                        what is wrong with this set-up

Exit codes:
  0 ok   1 failed   2 usage (plan --detailed-exitcode: changes)   3 control plane not reachable
  4 manifest rejected   5 not found   6 timeout   7 conflict   8 not allowed   130 interrupted";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "edgeflow",
    about = ABOUT,
    after_help = EXAMPLES,
    version,
    disable_version_flag = true,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Context from the configuration file
    #[arg(long, global = true, env = "EDGEFLOW_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Control plane: https://HOST:PORT, or http:// on this machine
    #[arg(long, global = true, env = "EDGEFLOW_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// CA certificate of the control plane (its ca.crt)
    #[arg(long, global = true, env = "EDGEFLOW_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// File with the admin token; EDGEFLOW_TOKEN holds the token itself
    #[arg(long, global = true, env = "EDGEFLOW_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Configuration file
    #[arg(long, global = true, env = "EDGEFLOW_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Colour; NO_COLOR is honoured too
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: When,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Apply(cmd::apply::Apply),
    Plan(cmd::plan::Plan),
    Get(cmd::get::Get),
    Describe(cmd::describe::Describe),
    Logs(cmd::logs::Logs),
    Tap(cmd::tap::Tap),
    Events(cmd::events::Events),
    #[command(name = "deadletters")]
    DeadLetters(cmd::deadletters::DeadLetters),
    Delete(cmd::delete::Delete),
    History(cmd::history::History),
    Rollback(cmd::rollback::Rollback),
    Set(cmd::set::Set),
    Model(cmd::model::Model),
    Token(cmd::token::Token),
    Label(cmd::label::Label),
    Local(cmd::local::Local),
    Doctor(cmd::doctor::Doctor),
    Schema(cmd::schema::Schema),
    Context(cmd::context::Context),
    Completion(cmd::completion::Completion),
    Version(cmd::version::Version),
    #[command(hide = true)]
    Reference(cmd::reference::Reference),
}
