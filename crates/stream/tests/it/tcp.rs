//! Links between devices as the agents carry them: two of them in one process, with certificates of
//! one CA, over TCP on loopback.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use edgeflow_agent::conditions::Conditions;
use edgeflow_agent::links::table::Grant;
use edgeflow_agent::links::{Links, Output, Table};
use edgeflow_agent::paths::Paths;
use edgeflow_agent::session::Identity;
use edgeflow_spec::assignment::Peer;
use edgeflow_stream::transport::unix::{UnixDial, UnixListen};
use edgeflow_stream::transport::{Dial, Listen};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use tokio::sync::watch;

use crate::support::Transport;

const PRODUCER: &str = "aaaa";
const CONSUMER: &str = "bbbb";

pub(crate) struct Tcp {
    _dir: tempfile::TempDir,
    output: PathBuf,
    relay: PathBuf,
    _agents: tokio::runtime::Runtime,
    _kept: Vec<Kept>,
}

type Kept = (watch::Sender<Identity>, watch::Sender<Arc<Table>>);

impl Tcp {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = authority();
        let agents = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let port = free_port();
        let output = Output {
            instance: "s.p.0".to_owned(),
            port: "out".to_owned(),
        };
        let mut kept = Vec::new();
        let mut start = |device: &str, table: Table| {
            let paths = Paths::new(dir.path().join(device), dir.path().join(device));
            paths.prepare().unwrap();
            let identity = watch::Sender::new(identity(&authority, device));
            let table = watch::Sender::new(Arc::new(table));
            let links = Links::new(
                paths.clone(),
                identity.subscribe(),
                Arc::new(Conditions::default()),
                Some(([127, 0, 0, 1], port).into()),
                table.subscribe(),
            );
            agents.spawn(links.run());
            kept.push((identity, table));
            paths
        };
        // Every group that a behaviour uses.
        let groups = ('a'..='z').map(String::from).chain(["view:1".to_owned()]);
        let producer = start(
            PRODUCER,
            Table {
                granted: groups
                    .map(|group| Grant {
                        device: CONSUMER.to_owned(),
                        output: output.clone(),
                        link: format!("p->{group}"),
                        group,
                    })
                    .collect(),
                ..Table::default()
            },
        );
        let peer = Peer {
            name: "producer".to_owned(),
            addresses: vec![format!("127.0.0.1:{port}")],
        };
        let consumer = start(
            CONSUMER,
            Table {
                wanted: BTreeMap::from([(output, PRODUCER.to_owned())]),
                peers: BTreeMap::from([(PRODUCER.to_owned(), peer)]),
                ..Table::default()
            },
        );
        Self {
            output: producer.output_socket("s.p.0", "out").unwrap(),
            relay: consumer.relay_socket("s.p.0", "out").unwrap(),
            _dir: dir,
            _agents: agents,
            _kept: kept,
        }
    }
}

impl Transport for Tcp {
    fn listen(&mut self) -> Box<dyn Listen> {
        Box::new(UnixListen::bind(&self.output).unwrap())
    }

    fn dial(&self) -> Box<dyn Dial> {
        Box::new(UnixDial::relayed(&self.relay))
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn identity(authority: &CertifiedIssuer<'static, KeyPair>, device: &str) -> Identity {
    let mut params = CertificateParams::default();
    let uri = format!("edgeflow://device/{device}");
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, authority).unwrap();
    Identity::from_parts(
        device.to_owned(),
        device.to_owned(),
        format!("{}{}", key.serialize_pem(), leaf.pem()),
        authority.pem(),
    )
}
