//! A control plane with a folder of its own on free ports.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{PATIENCE, Process, binary, until};

/// How a control plane is started.
#[derive(Clone, Debug)]
pub struct ControlPlaneOptions {
    /// Where its port for agents is.
    pub ip: String,
    /// Under which other name they know it.
    pub advertise: Option<String>,
    /// Environment variables, name and value.
    pub variables: Vec<(String, String)>,
}

impl Default for ControlPlaneOptions {
    fn default() -> Self {
        Self {
            ip: "127.0.0.1".to_owned(),
            advertise: None,
            variables: Vec::new(),
        }
    }
}

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    process: Process,
    data: PathBuf,
    log: PathBuf,
    options: ControlPlaneOptions,
    /// TLS address, `127.0.0.1:port`.
    pub listen: String,
    /// Plain loopback address, `127.0.0.1:port`.
    pub http: String,
}

impl ControlPlane {
    /// Starts one in `home/control-plane` and waits until it has bound its ports.
    pub fn start(home: &Path) -> Result<Self> {
        Self::start_with(home, ControlPlaneOptions::default())
    }

    /// The same with options.
    pub fn start_with(home: &Path, options: ControlPlaneOptions) -> Result<Self> {
        let data = home.join("control-plane");
        let log = home.join("control-plane.log");
        let listen = format!("{}:0", options.ip);
        let process = spawn(&data, &listen, "127.0.0.1:0", &options, &log)?;
        let mut plane = Self {
            process,
            options,
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
            &self.options,
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

    /// What Prometheus reads.
    pub fn metrics(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.get("/metrics")?).into_owned())
    }

    /// The answer of the plain port to a request of the admin, head and all.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.http).context("connecting")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let token = self.admin_token()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("reading")?;
        Ok(answer)
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
    options: &ControlPlaneOptions,
    log: &Path,
) -> Result<Process> {
    let mut command = Command::new(binary("edgeflow-control-plane")?);
    command
        .arg("--data-dir")
        .arg(data)
        .args(["--listen", listen, "--http", http])
        .args(
            options
                .advertise
                .iter()
                .map(|name| format!("--advertise={name}")),
        )
        .envs(options.variables.iter().map(|(name, value)| (name, value)))
        .env("EDGEFLOW_LOG_FORMAT", "json");
    Process::start(&mut command, log)
}
