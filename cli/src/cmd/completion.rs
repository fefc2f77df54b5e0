//! `edgeflow completion`: scripts for shells.

use clap::{Args, CommandFactory, ValueEnum};

use crate::{args::Cli, output};

const EXAMPLES: &str = "\
Examples:
  source <(edgeflow completion bash)
  edgeflow completion zsh > ~/.zfunc/_edgeflow
  edgeflow completion fish > ~/.config/fish/completions/edgeflow.fish";

/// Print a completion script
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completion {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Shells that have a script.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    pub(crate) fn run(self) {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "edgeflow", &mut script);
        output::line(String::from_utf8_lossy(&script).trim_end());
    }
}
