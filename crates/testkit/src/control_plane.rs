//! A control plane with a folder of its own on free ports.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{Process, binary, until};

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    process: Process,
    data: PathBuf,
    log: PathBuf,
    advertise: Vec<String>,
    /// TLS address, `127.0.0.1:port`.
    pub listen: String,
    /// Plain loopback address, `127.0.0.1:port`.
    pub http: String,
}

impl ControlPlane {
    /// Starts one in `home/control-plane` and waits until it has bound its ports.
    pub fn start(home: &Path) -> Result<Self> {
        Self::start_on(home, "127.0.0.1", None)
    }

    /// The same, with its port for agents on this address. They may know it under another.
    pub fn start_on(home: &Path, ip: &str, advertise: Option<&str>) -> Result<Self> {
        let data = home.join("control-plane");
        let log = home.join("control-plane.log");
        let advertise: Vec<String> = advertise.map(str::to_owned).into_iter().collect();
        let process = spawn(&data, &format!("{ip}:0"), "127.0.0.1:0", &advertise, &log)?;
        let mut plane = Self {
            process,
            advertise,
            data,
            log,
            listen: String::new(),
            http: String::new(),
        };
        plane.wait_bound()?;
        Ok(plane)
    }

    /// Starts it again after a kill, on the same ports, since agents know them.
    pub fn restart(&mut self) -> Result<()> {
        // A killed one leaves its old addresses.
        let _ = fs::remove_file(self.data.join("addresses.json"));
        self.process = spawn(
            &self.data,
            &self.listen,
            &self.http,
            &self.advertise,
            &self.log,
        )?;
        self.wait_bound()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it logged.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The admin token made at first start.
    pub fn admin_token(&self) -> Result<String> {
        let path = self.data.join("admin-token");
        let token = fs::read_to_string(&path).context("reading the admin token")?;
        Ok(token.trim().to_owned())
    }

    fn wait_bound(&mut self) -> Result<()> {
        let path = self.data.join("addresses.json");
        let text = until("the control plane to bind", || {
            if let Some(status) = self.process.ended() {
                bail!("it ended with {status}:\n{}", self.process.output());
            }
            Ok(fs::read_to_string(&path).ok())
        })?;
        let addresses: serde_json::Value =
            serde_json::from_str(&text).context("reading addresses.json")?;
        let address = |key: &str| addresses[key].as_str().map(str::to_owned);
        self.listen = address("listen").context("addresses.json has no `listen`")?;
        self.http = address("http").context("addresses.json has no `http`")?;
        Ok(())
    }
}

fn spawn(
    data: &Path,
    listen: &str,
    http: &str,
    advertise: &[String],
    log: &Path,
) -> Result<Process> {
    let mut command = Command::new(binary("edgeflow-control-plane")?);
    command
        .arg("--data-dir")
        .arg(data)
        .args(["--listen", listen, "--http", http])
        .args(advertise.iter().map(|name| format!("--advertise={name}")))
        .env("EDGEFLOW_LOG_FORMAT", "json");
    Process::start(&mut command, log)
}
