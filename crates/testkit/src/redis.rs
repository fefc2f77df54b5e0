//! A real redis-server on a Unix socket in a folder of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use rustix::process::Signal;

use crate::{Process, signal, until};

/// Every command is written to the append-only file before it is answered, and so survives a kill.
/// With `everysec` a write may wait for a sync that is still running.
const OPTIONS: &[&str] = &[
    "--port",
    "0",
    "--save",
    "",
    "--appendonly",
    "yes",
    "--appendfsync",
    "no",
    "--maxclients",
    "200",
];

/// A running redis-server. Dropping it kills it.
#[derive(Debug)]
pub struct Redis {
    dir: PathBuf,
    options: Vec<String>,
    process: Process,
}

impl Redis {
    /// Whether this machine has redis-server.
    pub fn is_installed() -> bool {
        let version = Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    }

    /// Starts it with its data in `dir`, and waits until it answers.
    pub fn start(dir: &Path, options: &[&str]) -> Result<Self> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let process = launch(dir, &options)?;
        Ok(Self {
            dir: dir.to_owned(),
            options,
            process,
        })
    }

    /// Its address for system.yaml.
    pub fn address(&self) -> String {
        format!("unix://{}", socket(&self.dir).display())
    }

    /// Runs one command with redis-cli and returns what it prints.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("redis-cli")
            .arg("-s")
            .arg(socket(&self.dir))
            .args(arguments)
            .output()
            .context("running redis-cli")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// `kill -9`; its files stay.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9()
    }

    /// Stops it from answering, its connections stay open.
    pub fn freeze(&self) -> Result<()> {
        signal(self.process.pid(), Signal::STOP)
    }

    /// Starts it again on the same files.
    pub fn restart(&mut self) -> Result<()> {
        self.process = launch(&self.dir, &self.options)?;
        Ok(())
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("redis.sock")
}

fn launch(dir: &Path, options: &[String]) -> Result<Process> {
    let mut command = Command::new("redis-server");
    command.args(OPTIONS).args(options);
    command
        .arg("--dir")
        .arg(dir)
        .arg("--unixsocket")
        .arg(socket(dir));
    let process = Process::start(&mut command, &dir.join("redis.log"))?;
    until("redis-server to answer", || {
        let pong = Command::new("redis-cli")
            .arg("-s")
            .arg(socket(dir))
            .arg("ping")
            .stderr(Stdio::null())
            .output()
            .context("running redis-cli")?;
        // NOAUTH is an answer as well; LOADING is not.
        let text = String::from_utf8_lossy(&pong.stdout);
        Ok((text.contains("PONG") || text.contains("NOAUTH")).then_some(()))
    })?;
    Ok(process)
}
