//! A whole fleet on this machine: a control plane, agents, the tool and the API.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};
use edgeflow_proto::v1::{self as pb, InstancePhase, SystemPhase};
use tempfile::TempDir;

use crate::{
    Agent, AgentOptions, Api, CliOutput, ControlPlane, ControlPlaneOptions, cli, cli_in, logs,
    processes, until,
};

/// A control plane and its agents. Everything dies with it, node processes too.
#[derive(Debug)]
pub struct Fleet {
    // Dropped in this order: agents first, so that none logs the loss of the control plane.
    agents: Vec<Agent>,
    /// The control plane.
    pub plane: ControlPlane,
    /// Its API.
    pub api: Api,
    expected: Vec<String>,
    home: TempDir,
}

impl Fleet {
    /// A control plane without devices.
    pub fn empty() -> Result<Self> {
        Self::start(ControlPlaneOptions::default())
    }

    /// The same, where agents reach it under this address.
    pub fn listening_on(ip: &str) -> Result<Self> {
        Self::start(ControlPlaneOptions {
            ip: ip.to_owned(),
            ..ControlPlaneOptions::default()
        })
    }

    /// The same on the loopback, for agents that know it under another address.
    pub fn advertising(address: &str) -> Result<Self> {
        Self::start(ControlPlaneOptions {
            advertise: Some(address.to_owned()),
            ..ControlPlaneOptions::default()
        })
    }

    /// The same with environment variables for the control plane.
    pub fn with_variables(variables: &[(&str, &str)]) -> Result<Self> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self::start(ControlPlaneOptions {
            variables: variables.iter().map(owned).collect(),
            ..ControlPlaneOptions::default()
        })
    }

    fn start(options: ControlPlaneOptions) -> Result<Self> {
        // A short name: socket paths have 108 bytes.
        let home = tempfile::Builder::new()
            .prefix("ef-")
            .tempdir()
            .context("creating a folder")?;
        let plane = ControlPlane::start_with(home.path(), options)?;
        let api = Api::new(&plane.http, &plane.admin_token()?)?;
        Ok(Self {
            agents: Vec::new(),
            plane,
            api,
            expected: Vec::new(),
            home,
        })
    }

    /// A control plane with one device named `edge-1`, online.
    pub fn with_device() -> Result<Self> {
        let mut fleet = Self::empty()?;
        fleet.add_device("edge-1")?;
        Ok(fleet)
    }

    /// Enrols one more device and waits until it is online.
    pub fn add_device(&mut self, name: &str) -> Result<&mut Agent> {
        let options = AgentOptions {
            name: name.to_owned(),
            join: Some(self.api.create_token(0, 1)?),
            ..Default::default()
        };
        self.add(options)?;
        self.wait_online(name)?;
        self.agent()
    }

    /// The same with labels, `key=value`.
    pub fn add_labelled(&mut self, name: &str, labels: &[&str]) -> Result<()> {
        let options = AgentOptions {
            name: name.to_owned(),
            join: Some(self.api.create_token(0, 1)?),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            ..Default::default()
        };
        self.add(options)?;
        self.wait_online(name)?;
        Ok(())
    }

    /// The agent of a device.
    pub fn agent_named(&mut self, name: &str) -> Result<&mut Agent> {
        let mut agents = self.agents.iter_mut();
        let found = agents.find(|agent| agent.name() == name);
        found.context("no such agent")
    }

    /// Starts an agent and does not wait.
    pub fn add(&mut self, options: AgentOptions) -> Result<&mut Agent> {
        let agent = Agent::start(self.home.path(), &self.plane.listen, options)?;
        self.agents.push(agent);
        self.agent()
    }

    /// The agent added last.
    pub fn agent(&mut self) -> Result<&mut Agent> {
        self.agents.last_mut().context("the fleet has no agent")
    }

    /// The folder of everything in this fleet.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A warning or error with this text in it is part of the test.
    pub fn expect_log(&mut self, text: &str) {
        self.expected.push(text.to_owned());
    }

    /// The tool, set up for this control plane.
    pub fn cli_command(&self, args: &[&str]) -> Result<Command> {
        let mut command = cli_in(self.home.path())?;
        command
            .env("EDGEFLOW_SERVER", format!("http://{}", self.plane.http))
            .env("EDGEFLOW_TOKEN", self.plane.admin_token()?)
            .args(args);
        Ok(command)
    }

    /// Runs the tool.
    pub fn cli(&self, args: &[&str]) -> Result<CliOutput> {
        cli::run(&mut self.cli_command(args)?)
    }

    /// Writes a file into the fleet's folder, for the tool.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        std::fs::write(self.home.path().join(name), text).context("writing a file")
    }

    /// Applies a manifest; a rejection is an error with the problems in it.
    pub fn apply(&self, manifest: &str) -> Result<pb::System> {
        let response = self.api.apply(manifest)?;
        if !response.problems.is_empty() {
            bail!("rejected: {:?}", response.problems);
        }
        response.system.context("applied, and no system came back")
    }

    /// Applies a manifest and waits until all of it is ready.
    pub fn apply_ready(&self, manifest: &str) -> Result<pb::System> {
        let system = self.apply(manifest)?;
        self.wait_ready(&system.name, system.revision)
    }

    /// Waits until a revision of a system is ready on every device.
    pub fn wait_ready(&self, name: &str, revision: u64) -> Result<pb::System> {
        self.wait_system(
            name,
            &format!("revision {revision} to be ready"),
            |system| {
                let ready = status(system).phase() == SystemPhase::Ready;
                ready && system.revision == revision
            },
        )
    }

    /// Waits until a system is as `wanted` says. Its state is told when time is up.
    pub fn wait_system(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&pb::System) -> bool,
    ) -> Result<pb::System> {
        until(&format!("{name}: {what}"), || {
            let system = self.api.system(name)?;
            if wanted(&system) {
                return Ok(Some(system));
            }
            bail!("it is {}", summary(&system))
        })
    }

    /// Waits until a device is online.
    pub fn wait_online(&self, name: &str) -> Result<pb::Device> {
        until(&format!("device {name} to be online"), || {
            let devices = self.api.devices()?;
            let found = devices.into_iter().find(|device| device.name == name);
            if let Some(device) = found.filter(|device| device.online) {
                return Ok(Some(device));
            }
            bail!(
                "{}",
                self.agents.last().map(Agent::output).unwrap_or_default()
            )
        })
    }

    /// The one instance of a node.
    pub fn instance(&self, system: &str, node: &str) -> Result<pb::InstanceStatus> {
        instance(&self.api.system(system)?, node)
    }

    /// Ends the fleet. Fails on a warning or error that was not expected.
    pub fn finish(self) -> Result<()> {
        let mut found = logs::unexpected(&self.plane.output(), &self.expected);
        for agent in &self.agents {
            found.extend(logs::unexpected(&agent.output(), &self.expected));
        }
        if !found.is_empty() {
            bail!("unexpected warnings or errors:\n{}", found.join("\n"));
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("control plane:\n{}", tail(&self.plane.output()));
            for agent in &self.agents {
                eprintln!("agent {}:\n{}", agent.name(), tail(&agent.output()));
            }
        }
        self.agents.clear();
        // Node processes outlive their agent by design.
        for (pid, _) in processes::mentioning(self.home.path()) {
            let _ = processes::kill(pid);
        }
    }
}

/// The one instance of a node in a system's status.
pub(crate) fn instance(system: &pb::System, node: &str) -> Result<pb::InstanceStatus> {
    let found: Vec<_> = status(system)
        .instances
        .into_iter()
        .filter(|instance| instance.node == node)
        .collect();
    match <[_; 1]>::try_from(found) {
        Ok([instance]) => Ok(instance),
        Err(other) => bail!("{} instances of {node}", other.len()),
    }
}

fn status(system: &pb::System) -> pb::SystemStatus {
    system.status.clone().unwrap_or_default()
}

fn summary(system: &pb::System) -> String {
    let status = status(system);
    let instances: Vec<String> = status
        .instances
        .iter()
        .map(|instance| {
            let phase = InstancePhase::try_from(instance.phase).unwrap_or_default();
            format!(
                "{} {} {}",
                instance.id,
                phase.as_str_name(),
                instance.reason
            )
        })
        .collect();
    format!(
        "at revision {}, {} ({}): {}",
        system.revision,
        status.phase().as_str_name(),
        status.message,
        instances.join("; ")
    )
}

/// The last lines, enough to see why a test failed.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
