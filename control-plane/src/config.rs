//! Command line and environment, checked once.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::Parser;

use crate::traces::Otlp;

/// EdgeFlow's control plane: desired state of a fleet, sessions of its agents, dashboard.
#[derive(Clone, Debug, Parser)]
#[command(name = "edgeflow-control-plane", version)]
pub struct Config {
    /// Folder with the database, the CA and the admin token
    #[arg(long, env = "EDGEFLOW_CONTROL_PLANE_DATA_DIR", default_value_os_t = default_data_dir())]
    pub data_dir: PathBuf,
    /// Address of the TLS port: agents, CLI and dashboard from other machines
    #[arg(
        long,
        env = "EDGEFLOW_CONTROL_PLANE_LISTEN",
        default_value = "127.0.0.1:7443"
    )]
    pub listen: SocketAddr,
    /// Address of the plain port on this machine: dashboard, CLI, health, metrics; loopback only
    #[arg(
        long,
        env = "EDGEFLOW_CONTROL_PLANE_HTTP",
        default_value = "127.0.0.1:7080"
    )]
    pub http: SocketAddr,
    /// Host name or address that agents dial; repeatable, the first one goes into join commands
    #[arg(long, env = "EDGEFLOW_CONTROL_PLANE_ADVERTISE", value_delimiter = ',', value_parser = parse_host)]
    pub advertise: Vec<String>,
    /// Where spans of sampled frames go.
    #[command(flatten)]
    pub otlp: Otlp,
    /// Stop when standard input ends
    #[arg(long)]
    pub exit_with_stdin: bool,
}

/// Why the command line can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The plain port would be reachable from other machines.
    #[error(
        "--http {0} is not a loopback address: this port has no encryption and is for this machine only; use --listen for other machines"
    )]
    PlainPortOffLoopback(SocketAddr),
}

impl Config {
    /// Checks what clap can't.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.http.ip().is_loopback() {
            return Err(ConfigError::PlainPortOffLoopback(self.http));
        }
        Ok(())
    }

    /// Names and addresses that the server certificate holds for.
    pub fn certificate_names(&self) -> Vec<String> {
        let mut names = self.advertise.clone();
        names.extend(hostname());
        if !self.listen.ip().is_unspecified() {
            names.push(self.listen.ip().to_string());
        }
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        names.sort();
        names.dedup();
        names
    }

    /// host:port for agents, once the port is known.
    pub fn agent_address(&self, listen: SocketAddr) -> String {
        let host = match self.advertise.first() {
            Some(host) => host.clone(),
            None if listen.ip().is_unspecified() => {
                hostname().unwrap_or_else(|| "localhost".to_owned())
            }
            None => listen.ip().to_string(),
        };
        if host.contains(':') {
            format!("[{host}]:{}", listen.port())
        } else {
            format!("{host}:{}", listen.port())
        }
    }
}

/// A host name or an IP address, without a port.
fn parse_host(text: &str) -> Result<String, String> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    if text.parse::<IpAddr>().is_ok() || is_host_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a host name or an IP address, without a port".to_owned())
    }
}

fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    is_host_name(name).then(|| name.to_owned())
}

fn default_data_dir() -> PathBuf {
    let below = "edgeflow/control-plane";
    // The owner of /proc/self is the effective user of this process.
    let is_root = std::fs::metadata("/proc/self")
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0);
    if is_root {
        return PathBuf::from("/var/lib").join(below);
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    std::env::var_os("XDG_DATA_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(home)
        .unwrap_or_else(|| PathBuf::from("."))
        .join(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Config {
        Config::try_parse_from([&["edgeflow-control-plane"], args].concat()).unwrap()
    }

    #[test]
    fn the_plain_port_is_refused_off_loopback() {
        let bad = config(&["--http", "0.0.0.0:7080"]);
        let error = bad.check().unwrap_err().to_string();
        assert!(
            error.contains("0.0.0.0:7080") && error.contains("--listen"),
            "{error}"
        );
        assert!(config(&["--http", "[::1]:0"]).check().is_ok());
    }

    #[test]
    fn agents_are_sent_to_the_advertised_host() {
        let listen = "0.0.0.0:7443".parse().unwrap();
        let advertised = config(&["--advertise", "fleet.example,10.0.0.5"]);
        assert_eq!(advertised.agent_address(listen), "fleet.example:7443");
        assert!(
            advertised
                .certificate_names()
                .contains(&"10.0.0.5".to_owned())
        );
        let v6 = config(&["--advertise", "[2001:db8::1]"]);
        assert_eq!(v6.agent_address(listen), "[2001:db8::1]:7443");
        let local = "127.0.0.1:9000".parse().unwrap();
        assert_eq!(config(&[]).agent_address(local), "127.0.0.1:9000");
    }

    #[test]
    fn an_advertised_host_has_no_port_and_no_scheme() {
        for bad in ["fleet.example:7443", "https://fleet.example", "a b", ""] {
            assert!(parse_host(bad).is_err(), "{bad}");
        }
    }
}
