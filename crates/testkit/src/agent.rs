//! An agent with folders of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{Process, assets, binary};

/// How an agent is started.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// Device name.
    pub name: String,
    /// Join token; none when it is enrolled already.
    pub join: Option<String>,
    /// Labels, `key=value`.
    pub labels: Vec<String>,
    /// Data folder; in the fleet's folder by default.
    pub data: Option<PathBuf>,
    /// Address for links from other devices; 127.0.0.1 by default.
    pub link_ip: Option<String>,
    /// More arguments.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
}

/// A started agent.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    home: PathBuf,
    server: String,
    options: AgentOptions,
    link_address: String,
}

impl Agent {
    /// Starts one; it may still fail, see [`Process::ended`].
    pub fn start(home: &Path, server: &str, options: AgentOptions) -> Result<Self> {
        let ip = options.link_ip.as_deref().unwrap_or("127.0.0.1");
        let link_address = format!("{ip}:{}", free_port(ip)?);
        let process = spawn(home, server, &options, &link_address)?;
        Ok(Self {
            link_address,
            process,
            home: home.to_owned(),
            server: server.to_owned(),
            options,
        })
    }

    /// Starts it again, as enrolled, after it has ended.
    pub fn restart(&mut self) -> Result<()> {
        self.options.join = None;
        self.process = spawn(&self.home, &self.server, &self.options, &self.link_address)?;
        Ok(())
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it logged.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Device name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Where it takes links from other devices, while there are some.
    pub fn link_address(&self) -> &str {
        &self.link_address
    }

    /// Data folder.
    pub fn data(&self) -> PathBuf {
        data(&self.home, &self.options)
    }
}

fn data(home: &Path, options: &AgentOptions) -> PathBuf {
    let default = || home.join(format!("agent-{}", options.name));
    options.data.clone().unwrap_or_else(default)
}

fn free_port(ip: &str) -> Result<u16> {
    let listener = std::net::TcpListener::bind(format!("{ip}:0"))?;
    Ok(listener.local_addr()?.port())
}

fn spawn(home: &Path, server: &str, options: &AgentOptions, link_address: &str) -> Result<Process> {
    let name = &options.name;
    let mut command = Command::new(binary("edgeflow-agent")?);
    command
        .arg("--data-dir")
        .arg(data(home, options))
        .arg("--run-dir")
        .arg(home.join(format!("run-{name}")))
        .args(["--link-listen", link_address])
        .args(["--server", server, "--name", name, "--http", "127.0.0.1:0"])
        .env("EDGEFLOW_LOG_FORMAT", "json");
    for folder in assets() {
        command.arg("--assets").arg(folder);
    }
    if let Some(token) = &options.join {
        command.args(["--join", token]);
    }
    for label in &options.labels {
        command.args(["--label", label]);
    }
    command.args(&options.args);
    command.envs(options.env.iter().cloned());
    Process::start(&mut command, &home.join(format!("agent-{name}.log")))
}
