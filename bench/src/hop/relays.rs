//! Two agents' ends of links, each in a process of its own on this machine, with certificates of one
//! CA: what a link between devices goes through. No control plane.

use std::{
    collections::BTreeMap,
    io::BufRead,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use edgeflow_agent::{
    conditions::Conditions,
    links::{Links, Output, Table, table::Grant},
    paths::Paths,
    session::Identity,
};
use edgeflow_spec::assignment::Peer;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use tokio::sync::watch;

use super::LINK;

const PRODUCER: &str = "aaaa";
const CONSUMER: &str = "bbbb";
const INSTANCE: &str = "s.bench.0";
const PORT: &str = "out";

/// Both ends. They end when this is dropped.
pub(super) struct Relays {
    dir: tempfile::TempDir,
    ends: Vec<Child>,
}

impl Relays {
    pub(super) fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("ef-").tempdir()?;
        write_identities(dir.path())?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let mut ends = Vec::new();
        for device in [PRODUCER, CONSUMER] {
            let mut end = Command::new(std::env::current_exe()?)
                .args(["hop", "relay", device, &port.to_string()])
                .arg(dir.path())
                .stdout(Stdio::piped())
                .spawn()
                .context("starting a relay")?;
            let stdout = end.stdout.take().context("no pipe to the relay")?;
            ends.push(end);
            let mut ready = String::new();
            std::io::BufReader::new(stdout).read_line(&mut ready)?;
        }
        Ok(Self { dir, ends })
    }

    /// Where the producer listens.
    pub(super) fn output(&self) -> Result<PathBuf> {
        Ok(paths(self.dir.path(), PRODUCER).output_socket(INSTANCE, PORT)?)
    }

    /// Where the consumer finds it.
    pub(super) fn relay(&self) -> Result<PathBuf> {
        Ok(paths(self.dir.path(), CONSUMER).relay_socket(INSTANCE, PORT)?)
    }

    /// Time on a processor of both so far, microseconds.
    pub(super) fn cpu_us(&self) -> f64 {
        self.ends.iter().map(|end| cpu_us(end.id())).sum()
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        for end in &mut self.ends {
            let _ = end.kill();
            let _ = end.wait();
        }
    }
}

/// From `/proc/PID/stat`: ticks of 10 ms in user and kernel mode.
fn cpu_us(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks * 10_000.0
}

fn paths(dir: &Path, device: &str) -> Paths {
    Paths::new(dir.join(device), dir.join(device))
}

/// One end, until it is killed.
pub(super) fn serve(args: &[String]) -> Result<()> {
    let [device, port, dir] = args else {
        bail!("for benchmarks only");
    };
    let (dir, port): (&Path, u16) = (Path::new(dir), port.parse()?);
    let paths = paths(dir, device);
    paths.prepare()?;
    let read = |name: &str| std::fs::read_to_string(dir.join(name));
    let pem = read(&format!("{device}.pem"))?;
    let identity = Identity::from_parts(device.clone(), device.clone(), pem, read("ca.pem")?);
    let output = Output {
        instance: INSTANCE.to_owned(),
        port: PORT.to_owned(),
    };
    let table = if device == PRODUCER {
        Table {
            granted: vec![Grant {
                device: CONSUMER.to_owned(),
                output,
                link: LINK.to_owned(),
                group: "peer".to_owned(),
            }],
            ..Table::default()
        }
    } else {
        let peer = Peer {
            name: PRODUCER.to_owned(),
            addresses: vec![format!("127.0.0.1:{port}")],
        };
        Table {
            wanted: BTreeMap::from([(output, PRODUCER.to_owned())]),
            peers: BTreeMap::from([(PRODUCER.to_owned(), peer)]),
            ..Table::default()
        }
    };
    let identity = watch::Sender::new(identity);
    let table = watch::Sender::new(Arc::new(table));
    let listen = ([127, 0, 0, 1], port).into();
    let conditions = Arc::new(Conditions::default());
    let links = Links::new(
        paths,
        identity.subscribe(),
        conditions,
        Some(listen),
        table.subscribe(),
    );
    println!("ready");
    // As in the agent.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(links.run());
    Ok(())
}

fn write_identities(dir: &Path) -> Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(dir.join("ca.pem"), authority.pem())?;
    for device in [PRODUCER, CONSUMER] {
        let mut params = CertificateParams::default();
        let uri = format!("edgeflow://device/{device}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &authority)?;
        let pem = format!("{}{}", key.serialize_pem(), leaf.pem());
        std::fs::write(dir.join(format!("{device}.pem")), pem)?;
    }
    Ok(())
}
