//! `edgeflow reference` (hidden): the command reference in docs/cli.md, made from the command line
//! itself so that it can't be out of date.

use clap::{Args, Command, CommandFactory};

use crate::{args::Cli, output};

/// Print the reference of all commands as Markdown
#[derive(Debug, Args)]
pub(crate) struct Reference {}

impl Reference {
    pub(crate) fn run(self) {
        let mut root = Cli::command().term_width(100);
        root.build();
        for command in root
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            section(command, "edgeflow", 2);
        }
    }
}

fn section(command: &Command, parent: &str, level: usize) {
    let name = format!("{parent} {}", command.get_name());
    if command.get_name() == "help" {
        return;
    }
    output::line(format!("{} {name}\n", "#".repeat(level)));
    if let Some(about) = command.get_about() {
        output::line(format!("{about}.\n"));
    }
    let mut help = command.clone().mut_args(|arg| {
        // Those of every command are described once, at the top of the page.
        let global = arg.is_global_set();
        arg.hide(global).hide_env_values(true)
    });
    let text = help.render_help().to_string();
    let text = text
        .split_once("Usage:")
        .map_or(text.as_str(), |(_, rest)| rest);
    output::line(format!("```text\nUsage:{}\n```\n", text.trim_end()));
    for nested in command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        section(nested, &name, level + 1);
    }
}
