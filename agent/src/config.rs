//! Command line and environment, parsed once into absolute paths and checked addresses.

use std::{
    collections::BTreeMap,
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Parser;
use thiserror::Error;

use crate::{links, paths::Paths};

/// The port and host of the control plane when neither the flag nor an earlier enrolment names one.
pub const DEFAULT_SERVER: &str = "127.0.0.1:7443";

/// Runs this device's share of the pipelines.
///
/// The first start needs a join token, made with `edgeflow token create` on the control plane.
#[derive(Clone, Debug, Parser)]
#[command(name = "edgeflow-agent", version, about)]
pub struct Args {
    /// Folder for identity, assignment, logs and node state [default: /var/lib/edgeflow/agent as
    /// root, else ~/.local/share/edgeflow/agent]
    #[arg(long, value_name = "DIR", env = "EDGEFLOW_AGENT_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder for sockets [default: /run/edgeflow as root, else $XDG_RUNTIME_DIR/edgeflow]
    #[arg(long, value_name = "DIR", env = "EDGEFLOW_AGENT_RUN_DIR")]
    pub run_dir: Option<PathBuf>,
    /// Control plane [default: where the device enrolled, else 127.0.0.1:7443]
    #[arg(long, value_name = "HOST:PORT", env = "EDGEFLOW_AGENT_SERVER")]
    pub server: Option<String>,
    /// Token for the first start, from `edgeflow token create`
    #[arg(
        long,
        value_name = "TOKEN",
        env = "EDGEFLOW_JOIN_TOKEN",
        hide_env_values = true
    )]
    pub join: Option<String>,
    /// Device name to ask for [default: host name]
    #[arg(long, value_name = "NAME", env = "EDGEFLOW_AGENT_NAME")]
    pub name: Option<String>,
    /// Label to join with; can be given again, in the variable separated by commas
    #[arg(
        long = "label",
        value_name = "KEY=VALUE",
        value_parser = parse_label,
        env = "EDGEFLOW_AGENT_LABELS",
        value_delimiter = ','
    )]
    pub labels: Vec<(String, String)>,
    /// Address of /healthz, /readyz and /metrics
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "EDGEFLOW_AGENT_HTTP",
        default_value = "127.0.0.1:7081"
    )]
    pub http: SocketAddr,
    /// Where links from other devices are taken; open only while there are some [default: port 7444
    /// on every address]
    #[arg(long, value_name = "ADDRESS", env = "EDGEFLOW_AGENT_LINK_LISTEN")]
    pub link_listen: Option<SocketAddr>,
    /// Where other devices find this one; can be given again, in the variable separated by commas
    /// [default: the addresses of this machine]
    #[arg(
        long = "link-address",
        value_name = "HOST:PORT",
        env = "EDGEFLOW_AGENT_LINK_ADDRESSES",
        value_delimiter = ','
    )]
    pub link_addresses: Vec<String>,
    /// Folder with models and clips; can be given again, in the variable separated by colons
    /// [default: DATA_DIR/assets]
    #[arg(
        long,
        value_name = "DIR",
        env = "EDGEFLOW_AGENT_ASSETS",
        value_delimiter = ':'
    )]
    pub assets: Vec<PathBuf>,
    /// Bytes that models which the control plane brings may have on this disk
    #[arg(
        long,
        value_name = "SIZE",
        env = "EDGEFLOW_AGENT_MODEL_CACHE",
        default_value = "4GiB",
        value_parser = parse_bytes
    )]
    pub model_cache: u64,
    /// The built-in nodes [default: edgeflow-nodes next to this program]
    #[arg(long, value_name = "PATH", env = "EDGEFLOW_NODES_BIN")]
    pub nodes_bin: Option<PathBuf>,
    /// Stop the nodes when the agent stops, instead of leaving them running for the next start
    #[arg(long)]
    pub stop_nodes_on_exit: bool,
    /// Stop when standard input ends
    #[arg(long)]
    pub exit_with_stdin: bool,
}

/// What is wrong with the command line or the environment.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// No place to keep data.
    #[error("HOME is not set; say where to keep data with --data-dir")]
    NoHome,
    /// The working folder is gone.
    #[error("can't find the working folder to resolve relative paths")]
    WorkingDir(#[source] std::io::Error),
    /// `/metrics` needs no login, so it stays on this machine.
    #[error(
        "--http {0} is not a loopback address: it serves without TLS and login; use 127.0.0.1 and a proxy in front of it"
    )]
    HttpNotLoopback(SocketAddr),
    /// A port has to be known before it is opened.
    #[error("--link-listen {0} needs a port other than 0: other devices are told it")]
    LinkPort(SocketAddr),
    /// Not `HOST:PORT`.
    #[error("--link-address {0:?} is not HOST:PORT, for example cam-7.local:7444")]
    LinkAddress(String),
    /// Not `HOST:PORT`.
    #[error("--server {0:?} is not HOST:PORT, for example 192.168.1.10:7443")]
    Server(String),
}

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folders.
    pub paths: Paths,
    /// `--server`.
    pub server: Option<String>,
    /// `--join`.
    pub join: Option<String>,
    /// `--name`, or what the host name gives.
    pub name: String,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--http`.
    pub http: SocketAddr,
    /// `--link-listen` and `--link-address`.
    pub links: links::Configured,
    /// Where nodes look for models and clips.
    pub assets: Vec<PathBuf>,
    /// `--model-cache`.
    pub model_cache: u64,
    /// The built-in nodes' program.
    pub nodes_bin: PathBuf,
    /// `--stop-nodes-on-exit`.
    pub stop_nodes_on_exit: bool,
    /// `--exit-with-stdin`.
    pub exit_with_stdin: bool,
}

impl Config {
    /// Checks the arguments and fills in defaults.
    pub fn new(args: Args) -> Result<Self, ConfigError> {
        let root = rustix::process::geteuid().is_root();
        let cwd = env::current_dir().map_err(ConfigError::WorkingDir)?;
        let data = cwd.join(match args.data_dir {
            Some(dir) => dir,
            None => default_data_dir(root)?,
        });
        let run = cwd.join(args.run_dir.unwrap_or_else(|| default_run_dir(root)));
        if !args.http.ip().is_loopback() {
            return Err(ConfigError::HttpNotLoopback(args.http));
        }
        if let Some(server) = &args.server
            && !is_host_port(server)
        {
            return Err(ConfigError::Server(server.clone()));
        }
        if let Some(listen) = args.link_listen.filter(|listen| listen.port() == 0) {
            return Err(ConfigError::LinkPort(listen));
        }
        if let Some(wrong) = args.link_addresses.iter().find(|it| !is_host_port(it)) {
            return Err(ConfigError::LinkAddress(wrong.clone()));
        }
        let assets = if args.assets.is_empty() {
            vec![data.join("assets")]
        } else {
            args.assets.iter().map(|dir| cwd.join(dir)).collect()
        };
        Ok(Self {
            paths: Paths::new(data, run),
            server: args.server,
            join: args.join,
            name: args.name.unwrap_or_else(crate::inventory::device_name),
            labels: args.labels.into_iter().collect(),
            http: args.http,
            links: links::Configured {
                listen: args.link_listen,
                addresses: args.link_addresses,
            },
            assets,
            model_cache: args.model_cache,
            nodes_bin: args
                .nodes_bin
                .map_or_else(sibling_nodes_bin, |path| cwd.join(path)),
            stop_nodes_on_exit: args.stop_nodes_on_exit,
            exit_with_stdin: args.exit_with_stdin,
        })
    }
}

fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    edgeflow_spec::quantity::parse_bytes(text)
        .map_err(|error| format!("{error}; write a number and a unit, for example 4GiB"))
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE, for example site=berlin".to_owned()),
    }
}

fn default_data_dir(root: bool) -> Result<PathBuf, ConfigError> {
    if root {
        return Ok(PathBuf::from("/var/lib/edgeflow/agent"));
    }
    let base = match absolute_env("XDG_DATA_HOME") {
        Some(dir) => dir,
        None => absolute_env("HOME")
            .ok_or(ConfigError::NoHome)?
            .join(".local/share"),
    };
    Ok(base.join("edgeflow/agent"))
}

fn default_run_dir(root: bool) -> PathBuf {
    if root {
        return PathBuf::from("/run/edgeflow");
    }
    absolute_env("XDG_RUNTIME_DIR").map_or_else(
        || {
            let user = rustix::process::geteuid().as_raw();
            PathBuf::from(format!("/tmp/edgeflow-{user}"))
        },
        |dir| dir.join("edgeflow"),
    )
}

fn absolute_env(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

fn sibling_nodes_bin() -> PathBuf {
    env::current_exe()
        .ok()
        .as_deref()
        .and_then(Path::parent)
        .map_or_else(
            || PathBuf::from("/usr/bin/edgeflow-nodes"),
            |dir| dir.join("edgeflow-nodes"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_listener_off_loopback_is_refused() {
        let args = Args::parse_from(["edgeflow-agent", "--http", "0.0.0.0:7081"]);
        assert!(matches!(
            Config::new(args),
            Err(ConfigError::HttpNotLoopback(_))
        ));
    }

    #[test]
    fn a_server_without_a_port_is_refused() {
        let args = Args::parse_from(["edgeflow-agent", "--data-dir", "d", "--server", "host"]);
        assert!(matches!(Config::new(args), Err(ConfigError::Server(_))));
    }

    #[test]
    fn relative_folders_become_absolute() {
        let args = Args::parse_from(["edgeflow-agent", "--data-dir", "d", "--run-dir", "r"]);
        let config = Config::new(args).unwrap();
        assert!(config.paths.data().is_absolute());
        assert!(config.paths.run().is_absolute());
        assert!(config.assets[0].is_absolute());
    }
}
