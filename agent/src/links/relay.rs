//! The consumer's end of links between devices: for each output that instances here read on another
//! device a Unix socket where they find it, and a connection to that device for each of them. A
//! node dials again for ever, so a relay that can't connect just drops it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use edgeflow_spec::assignment::Peer;
use thiserror::Error;
use tokio::{
    net::{TcpStream, UnixListener, UnixStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};

use super::{
    Locked, Shared, accept,
    table::Output,
    tls,
    wire::{self, Answer, Request},
};
use crate::files;

/// Time to connect to one address and to be answered there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Head start of an address before the next one is tried beside it, as RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);
/// Connections through one relay at the same time.
const MAX_CONNECTIONS: usize = 64;
/// A socket that could not be bound is tried again this often.
const BIND_PAUSE: Duration = Duration::from_secs(5);

/// Why a link to another device is not there.
#[derive(Debug, Error)]
enum DialError {
    #[error("the control plane knows no address of it; is its agent of an older version?")]
    NoAddress,
    #[error("can't set up TLS")]
    Tls(#[source] tls::TlsError),
    #[error("{0}")]
    Addresses(String),
    #[error("it refuses the link: {0}")]
    Refused(String),
}

#[derive(Debug, Error)]
enum AttemptError {
    #[error("can't connect to {0}")]
    Connect(String, #[source] io::Error),
    #[error("no answer from {0}")]
    Late(String),
    #[error("{0} is not that device, or its certificate is no longer valid")]
    Tls(String, #[source] io::Error),
    #[error("{0} does not speak the link protocol")]
    Protocol(String, #[source] io::Error),
}

/// A link that is missing for less is no condition: the other agent may just have been restarted.
const GRACE: Duration = Duration::from_secs(3);

/// What stands between this device and others, by output.
#[derive(Debug, Default)]
pub(super) struct Troubles(Locked<BTreeMap<Output, Trouble>>);

#[derive(Debug)]
struct Trouble {
    since: Instant,
    text: String,
}

impl Troubles {
    /// The first one and their number, in words; `None`: all is well.
    pub(super) fn words(&self) -> Option<String> {
        let held = self.0.lock();
        let lasting = held.values().filter(|it| it.since.elapsed() >= GRACE);
        let first = lasting.clone().next()?.text.clone();
        Some(match lasting.count() {
            1 => first,
            count => format!("{first} (and {} more links)", count - 1),
        })
    }

    /// Whether it is news.
    fn add(&self, output: &Output, text: String) -> bool {
        let mut held = self.0.lock();
        let trouble = held.entry(output.clone()).or_insert_with(|| Trouble {
            since: Instant::now(),
            text: String::new(),
        });
        let is_news = trouble.text != text;
        trouble.text = text;
        is_news
    }

    pub(super) fn keep(&self, wanted: &BTreeMap<Output, String>) {
        self.0
            .lock()
            .retain(|output, _| wanted.contains_key(output));
    }
}

/// Serves one relay until it is dropped.
pub(super) async fn run(shared: Arc<Shared>, output: Output, path: PathBuf) {
    let listener = bind(&path).await;
    let serve = |local| {
        let (shared, output) = (Arc::clone(&shared), output.clone());
        async move { serve(&shared, &output, local).await }
    };
    accept::each(
        "a consumer of another device",
        MAX_CONNECTIONS,
        listener,
        serve,
    )
    .await;
}

/// Tries until it works: the run folder may be full for a while.
async fn bind(path: &Path) -> UnixListener {
    let mut told = false;
    loop {
        // The folder is the agent's own, so nobody else can listen there.
        let bound = files::remove_if_there(path).and_then(|()| UnixListener::bind(path));
        match bound {
            Ok(listener) => return listener,
            Err(error) if !told => {
                told = true;
                let path = path.display();
                tracing::error!(%path, %error, "a link from another device has no socket; retrying");
            }
            Err(_) => {}
        }
        sleep(BIND_PAUSE).await;
    }
}

async fn serve(shared: &Shared, output: &Output, local: UnixStream) {
    let device = shared.table.borrow().wanted.get(output).cloned();
    let Some(device) = device else {
        return;
    };
    let peer = shared.table.borrow().peers.get(&device).cloned();
    let peer = peer.unwrap_or_default();
    let connected = tokio::select! {
        connected = connect(shared, output, &device, &peer) => connected,
        // A node that does not wait any longer comes again.
        () = hung_up(&local) => return,
    };
    let (from, name) = (&output.instance, &peer.name);
    match connected {
        Ok((far, address)) => {
            shared.troubles.0.lock().remove(output);
            shared.tell();
            tracing::info!(from, device = name, address, "link to another device");
            let ended = wire::carry(local, far, wire::SILENCE).await;
            let reason = ended.err().map(|error| error.to_string());
            tracing::info!(from, device = name, reason, "link to another device ended");
        }
        Err(error) => {
            let why = edgeflow_runtime::logging::chain(&error);
            let text = format!("no link to {from} on {name}: {why}");
            if shared.troubles.add(output, text) {
                tracing::info!(
                    from,
                    device = name,
                    reason = why,
                    "no link to another device"
                );
            }
            shared.tell();
        }
    }
}

/// Waits until the node closes its socket. What it has sent stays where it is.
async fn hung_up(local: &UnixStream) {
    let mut poll = tokio::time::interval(STAGGER);
    loop {
        poll.tick().await;
        let mut byte = [0; 1];
        let peeked = rustix::net::recv(
            local,
            &mut byte,
            rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT,
        );
        if matches!(peeked, Ok((0, _))) {
            return;
        }
    }
}

/// Tries the device's addresses, each with a head start, and takes the first where that device
/// itself answered: an address is used only once it has proved to lead there.
async fn connect(
    shared: &Shared,
    output: &Output,
    device: &str,
    peer: &Peer,
) -> Result<(TlsStream<TcpStream>, String), DialError> {
    let identity = shared.identity.borrow().clone();
    let connector = tls::connector(&identity, device).map_err(DialError::Tls)?;
    let mut addresses = peer.addresses.clone();
    if let Some(good) = shared.good.lock().get(device)
        && let Some(at) = addresses.iter().position(|address| address == good)
    {
        addresses[..=at].rotate_right(1);
    }
    if addresses.is_empty() {
        return Err(DialError::NoAddress);
    }
    let mut attempts = JoinSet::new();
    for (n, address) in addresses.into_iter().enumerate() {
        let connector = connector.clone();
        let head_start = STAGGER * u32::try_from(n).unwrap_or(u32::MAX);
        attempts.spawn(async move {
            sleep(head_start).await;
            let reached = timeout(CONNECT_TIMEOUT, reach(&connector, &address));
            match reached.await {
                Ok(reached) => reached.map(|far| (far, address)),
                Err(_) => Err(AttemptError::Late(address)),
            }
        });
    }
    let mut failures = Vec::new();
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok((mut far, address))) => {
                ask(&mut far, output, &address).await?;
                let mut good = shared.good.lock();
                good.insert(device.to_owned(), address.clone());
                return Ok((far, address));
            }
            Ok(Err(error)) => failures.push(edgeflow_runtime::logging::chain(&error)),
            Err(_) => {}
        }
    }
    failures.sort();
    Err(DialError::Addresses(failures.join("; ")))
}

async fn reach(
    connector: &TlsConnector,
    address: &str,
) -> Result<TlsStream<TcpStream>, AttemptError> {
    let named = || address.to_owned();
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| AttemptError::Connect(named(), error))?;
    // Small messages must not wait for larger ones.
    let set = stream.set_nodelay(true);
    set.map_err(|error| AttemptError::Connect(named(), error))?;
    // The certificate is checked against the device's id, not against a name.
    let anyone = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
    let far = connector.connect(anyone, stream).await;
    far.map_err(|error| AttemptError::Tls(named(), error))
}

async fn ask(
    far: &mut TlsStream<TcpStream>,
    output: &Output,
    address: &str,
) -> Result<(), DialError> {
    let request = Request {
        version: wire::VERSION,
        instance: output.instance.clone(),
        port: output.port.clone(),
    };
    let exchange = async {
        wire::send(far, &request).await?;
        wire::receive::<Answer>(far).await
    };
    let failed = |error: AttemptError| {
        Err(DialError::Addresses(edgeflow_runtime::logging::chain(
            &error,
        )))
    };
    match timeout(CONNECT_TIMEOUT, exchange).await {
        Ok(Ok(answer)) if answer.refusal.is_empty() => Ok(()),
        Ok(Ok(answer)) => Err(DialError::Refused(answer.refusal)),
        // TLS 1.3 tells the side that dials of a refused certificate only now.
        Ok(Err(error)) => failed(AttemptError::Protocol(address.to_owned(), error)),
        Err(_) => failed(AttemptError::Late(address.to_owned())),
    }
}
