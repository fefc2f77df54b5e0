//! `edgeflow context`: the control planes a person works with.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    args::Globals,
    client::{Origin, parse_server, read_small, read_token},
    config::{self, Config, Context as Entry},
    failure::{Exit, Failure, Outcome},
    output::{self, Format, Row, colour::Style, table::Cell},
};

const EXAMPLES: &str = "\
Examples:
  edgeflow context add berlin --server https://edge.example:7443 --ca ca.crt --token-file admin-token
  edgeflow context use berlin
  edgeflow context list
  edgeflow --context berlin get devices        one command elsewhere

The CA certificate and the token are copied into the configuration file, which only its owner can
read: ~/.config/edgeflow/config.toml, or --config, or EDGEFLOW_CONFIG.";

/// Choose between control planes
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Context {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the contexts
    #[command(after_help = EXAMPLES)]
    List {
        /// Output format
        #[arg(short, long, value_enum, default_value = "table")]
        output: Format,
    },
    /// Use a context from now on
    #[command(after_help = EXAMPLES)]
    Use {
        /// Context
        name: String,
    },
    /// Add a context from --server, --ca and --token-file or EDGEFLOW_TOKEN; the first becomes current
    #[command(after_help = EXAMPLES)]
    Add {
        /// Context
        name: String,
        /// Replace a context of that name
        #[arg(long)]
        replace: bool,
        /// Use it from now on
        #[arg(long = "use")]
        use_it: bool,
    },
    /// Remove a context
    #[command(after_help = EXAMPLES)]
    Remove {
        /// Context
        name: String,
    },
    /// Print the name of the current context
    #[command(after_help = EXAMPLES)]
    Current {},
}

#[derive(Debug, Serialize)]
struct ContextView {
    name: String,
    current: bool,
    server: String,
    has_token: bool,
    has_ca: bool,
}

impl Row for ContextView {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["CONTEXT", "CURRENT", "SERVER", "TOKEN", "CA"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let mark = |is: bool| if is { "yes" } else { "" };
        vec![
            Cell::from(self.name.as_str()),
            Cell::styled(mark(self.current), Style::Good),
            self.server.as_str().into(),
            mark(self.has_token).into(),
            mark(self.has_ca).into(),
        ]
    }
}

impl Context {
    pub(crate) fn run(self, globals: &Globals) -> Outcome {
        let path = config::path(globals.config.as_deref())?;
        let mut config = config::load(&path)?;
        match self.action {
            Action::List { output } => {
                return output::rows(
                    output,
                    &views(&config),
                    "no contexts; add one: edgeflow context add NAME --server URL --ca ca.crt",
                );
            }
            Action::Current {} => return current(&config),
            Action::Use { name } => {
                config.context(&name)?;
                output::line(format!("using {name}"));
                config.current = Some(name);
            }
            Action::Add {
                name,
                replace,
                use_it,
            } => {
                add(&mut config, globals, &name, replace, use_it)?;
            }
            Action::Remove { name } => {
                config.context(&name)?;
                config.contexts.remove(&name);
                output::line(format!("{name} removed"));
                if config.current.as_deref() == Some(&name) {
                    config.current = None;
                    output::note(
                        "it was the current one; choose another: edgeflow context use NAME",
                    );
                }
            }
        }
        config::save(&path, &config)
    }
}

fn views(config: &Config) -> Vec<ContextView> {
    config
        .contexts
        .iter()
        .map(|(name, entry)| ContextView {
            name: name.clone(),
            current: config.current.as_deref() == Some(name),
            server: entry.server.clone(),
            has_token: entry.token.is_some() || entry.token_file.is_some(),
            has_ca: entry.ca.is_some() || entry.ca_file.is_some(),
        })
        .collect()
}

fn current(config: &Config) -> Outcome {
    let Some(name) = &config.current else {
        return Err(Failure::new(Exit::NotFound, "no context is in use")
            .why("commands talk to the control plane on this machine")
            .next("choose one: edgeflow context use NAME"));
    };
    output::line(name);
    Ok(())
}

fn add(config: &mut Config, globals: &Globals, name: &str, replace: bool, use_it: bool) -> Outcome {
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Failure::usage("the name of a context is one word"));
    }
    if config.contexts.contains_key(name) && !replace {
        return Err(Failure::new(
            Exit::Conflict,
            format!("there is a context `{name}` already"),
        )
        .next("replace it with --replace"));
    }
    let Some(server) = &globals.server else {
        return Err(
            Failure::usage("the address of the control plane is missing").next(format!(
                "edgeflow context add {name} --server https://HOST:7443 --ca ca.crt"
            )),
        );
    };
    let target = parse_server(server, Origin::Given)?;
    let token = match std::env::var("EDGEFLOW_TOKEN") {
        Ok(token) if !token.trim().is_empty() => Some(token.trim().to_owned()),
        _ => globals.token_file.as_deref().map(read_token).transpose()?,
    };
    let ca = globals.ca.as_deref().map(read_small).transpose()?;
    if let Some(pem) = &ca
        && !pem.contains("-----BEGIN CERTIFICATE-----")
    {
        let shown = globals.ca.as_ref().map_or_else(PathBuf::new, Clone::clone);
        return Err(
            Failure::usage(format!("{} is not a PEM certificate", shown.display()))
                .next("take ca.crt from the control plane's data folder"),
        );
    }
    if target.tls && ca.is_none() {
        output::note(
            "without --ca the certificate of the control plane can't be checked; add it before use",
        );
    }
    let entry = Entry {
        server: target.server,
        token,
        ca,
        ..Entry::default()
    };
    config.contexts.insert(name.to_owned(), entry);
    let first = config.current.is_none();
    if first || use_it {
        config.current = Some(name.to_owned());
    }
    let used = if first || use_it { ", in use" } else { "" };
    output::line(format!("{name} added{used}"));
    Ok(())
}
