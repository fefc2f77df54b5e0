//! The producer's end of links between devices: one TCP port for all. Whoever connects has to show
//! the certificate of a device, ask for an output that this device's assignment grants it, and
//! greet as a consumer of a link that is granted. Nothing else reaches a node.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use edgeflow_stream::{
    Limits,
    link::{Decoder, Message, Role},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{
    Locked, Shared, accept,
    table::{Grant, Output, Table},
    tls,
    wire::{self, Answer, MAX_CHUNK, Request},
};

/// Links from other devices at the same time, with those that are not admitted yet.
const MAX_CONNECTIONS: usize = 256;
/// Time for handshake, request and greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a greeting that are looked at.
const MAX_GREETING: usize = 2 * edgeflow_stream::link::message::MAX_CONTROL_LEN;

/// The links that are carried, with what they were granted.
#[derive(Debug, Default)]
pub(super) struct Carried(Locked<Links>);

#[derive(Debug, Default)]
struct Links {
    next: u64,
    held: BTreeMap<u64, (Grant, CancellationToken)>,
}

impl Carried {
    /// Adds a link; the token ends it.
    fn add(&self, grant: Grant) -> (Entry<'_>, CancellationToken) {
        let mut links = self.0.lock();
        let (id, token) = (links.next, CancellationToken::new());
        links.next += 1;
        links.held.insert(id, (grant, token.clone()));
        (Entry(self, id), token)
    }

    /// Ends links that are no longer granted.
    pub(super) fn keep(&self, table: &Table) {
        for (grant, token) in self.0.lock().held.values() {
            if !table.granted.contains(grant) {
                tracing::info!(
                    link = grant.link,
                    "a link to another device is no longer wanted"
                );
                token.cancel();
            }
        }
    }
}

/// Binds the port: on all addresses unless one is configured.
pub(super) async fn bind(listen: Option<SocketAddr>, port: u16) -> io::Result<TcpListener> {
    match listen {
        Some(address) => TcpListener::bind(address).await,
        None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            // A machine without IPv6.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
            }
            bound => bound,
        },
    }
}

/// Serves the port until it is dropped.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let serve = |(stream, address)| {
        let shared = Arc::clone(&shared);
        async move { serve(&shared, stream, address).await }
    };
    accept::each(
        "a link from another device",
        MAX_CONNECTIONS,
        listener,
        serve,
    )
    .await;
}

/// Takes a link out of those carried, however it ends.
struct Entry<'a>(&'a Carried, u64);

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.0.0.lock().held.remove(&self.1);
    }
}

async fn serve(shared: &Shared, stream: TcpStream, address: SocketAddr) {
    let admitted = match timeout(GREETING_TIMEOUT, admit(shared, stream)).await {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(reason)) => {
            tracing::info!(%address, reason, "a link from another device was refused");
            return;
        }
        Err(_) => {
            tracing::info!(%address, "another device connected and said nothing");
            return;
        }
    };
    let Admitted { grant, local, far } = admitted;
    let (_entry, unwanted) = shared.carried.add(grant.clone());
    // The assignment may have changed since it was admitted.
    if !shared.table.borrow().granted.contains(&grant) {
        return;
    }
    let Grant { link, device, .. } = grant;
    tracing::info!(link, device, %address, "link from another device");
    let ended = tokio::select! {
        ended = wire::carry(local, far, wire::SILENCE) => ended,
        () = unwanted.cancelled() => return,
    };
    let reason = ended.err().map(|error| error.to_string());
    tracing::info!(link, device, reason, "link from another device ended");
}

struct Admitted {
    grant: Grant,
    local: UnixStream,
    far: TlsStream<TcpStream>,
}

async fn admit(shared: &Shared, stream: TcpStream) -> Result<Admitted, String> {
    let text = |error: io::Error| error.to_string();
    stream.set_nodelay(true).map_err(text)?;
    let identity = shared.identity.borrow().clone();
    let acceptor =
        tls::acceptor(&identity).map_err(|error| edgeflow_runtime::logging::chain(&error))?;
    let mut far = acceptor.accept(stream).await.map_err(text)?;
    let device = {
        let certificates = far.get_ref().1.peer_certificates();
        certificates.and_then(|all| tls::device_of(all.first()?))
    };
    let device = device.ok_or("its certificate names no device")?;
    let request: Request = wire::receive(&mut far).await.map_err(text)?;
    let (output, opened) = open(shared, &device, request).await;
    let (local, refusal) = match opened {
        Ok(local) => (Some(local), String::new()),
        Err(refusal) => (None, refusal),
    };
    let answer = Answer { refusal };
    wire::send(&mut far, &answer).await.map_err(text)?;
    let mut local = local.ok_or(answer.refusal)?;
    let grant = greet(shared, &device, &output, &mut far, &mut local).await?;
    Ok(Admitted { grant, local, far })
}

async fn open(
    shared: &Shared,
    device: &str,
    request: Request,
) -> (Output, Result<UnixStream, String>) {
    let output = Output {
        instance: request.instance,
        port: request.port,
    };
    if request.version != wire::VERSION {
        let text = format!(
            "version {} of the protocol is not spoken here",
            request.version
        );
        return (output, Err(text));
    }
    let Output { instance, port } = &output;
    if !shared.table.borrow().admits(device, &output) {
        let text = format!("no link to {instance}.{port} is assigned to this device yet");
        return (output, Err(text));
    }
    let opened = match shared.paths.output_socket(instance, port) {
        Ok(path) => UnixStream::connect(path)
            .await
            .map_err(|_| format!("{instance} does not run now")),
        Err(error) => Err(error.to_string()),
    };
    (output, opened)
}

/// Reads the consumer's greeting, checks what it wants to be, and passes it on.
async fn greet(
    shared: &Shared,
    device: &str,
    output: &Output,
    far: &mut TlsStream<TcpStream>,
    local: &mut UnixStream,
) -> Result<Grant, String> {
    let mut decoder = Decoder::new(Role::Producer, Limits::default());
    let mut chunk = Vec::with_capacity(MAX_CHUNK);
    let mut said = Vec::new();
    let hello = loop {
        let bytes = wire::next_chunk(far, wire::SILENCE, &mut chunk).await;
        let bytes = bytes.map_err(|error| error.to_string())?;
        let bytes = bytes.ok_or("it ended before its greeting")?;
        if said.len() + bytes.len() > MAX_GREETING {
            return Err("its greeting is too long".to_owned());
        }
        said.extend_from_slice(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = decoder.space();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            decoder.advance(count);
            rest = &rest[count..];
        }
        match decoder.next().map_err(|error| error.to_string())? {
            Some(Message::Hello(hello)) => break hello,
            Some(_) => return Err("it does not greet".to_owned()),
            None => {}
        }
    };
    let grant = Grant {
        device: device.to_owned(),
        output: output.clone(),
        link: hello.link,
        group: hello.group,
    };
    if !shared.table.borrow().granted.contains(&grant) {
        let (link, group) = (grant.link, grant.group);
        return Err(format!("{group} on link {link} is not assigned to it"));
    }
    local
        .write_all(&said)
        .await
        .map_err(|error| error.to_string())?;
    Ok(grant)
}
