//! A control plane for one agent: TLS with a CA of its own, enrolment, sessions, bulk streams. Says
//! what the test tells it to say and keeps what it hears.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use edgeflow_proto::v1::{
    self, AckResult, AgentMessage, AssignmentAck, Command, ControlMessage, EnrollRequest,
    EnrollResponse, Hello, PushCredit, PushFrame, PushLogs, PushLogsResponse, RenewRequest,
    RenewResponse, StatusReport, Welcome, agent_message, agent_service_server,
    artifact_service_server, command, control_message, enrollment_service_server,
    log_service_server, stream_service_server,
};
use edgeflow_spec::assignment::{Assignment, Instance, body_hash};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, runtime::Runtime, sync::mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};

use crate::eventually;

pub(crate) const SECRET: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTAwMDA";
pub(crate) const TOKEN_ID: &str = "0a1b2c3d";

#[derive(Default)]
struct Heard {
    hellos: Vec<Hello>,
    acks: Vec<AssignmentAck>,
    status: Option<StatusReport>,
    events: Vec<v1::Event>,
    logs: Vec<v1::LogLine>,
    frames: Vec<PushFrame>,
    dead_letters: Vec<v1::DeadLettersReport>,
    wants_spans: bool,
    spans: Vec<v1::SpanReport>,
    files: BTreeMap<String, Vec<u8>>,
    fetches: Vec<v1::FetchRequest>,
    cut_after: Option<usize>,
    enrolments: usize,
    renewals: usize,
    old_certificates: bool,
    outbox: Option<mpsc::Sender<Result<ControlMessage, Status>>>,
}

pub(crate) struct Fleet {
    authority: Arc<CertifiedIssuer<'static, KeyPair>>,
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    /// Of its own, so that ending it breaks every connection.
    server: Option<Runtime>,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = Arc::new(CertifiedIssuer::self_signed(params, key).unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut fleet = Self {
            authority,
            address: listener.local_addr().unwrap(),
            heard: Arc::default(),
            server: None,
        };
        fleet.serve(listener);
        fleet
    }

    fn serve(&mut self, listener: std::net::TcpListener) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).unwrap()
        };
        let mut params = CertificateParams::new(vec!["elsewhere".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &*self.authority).unwrap();
        let chain = format!("{}{}", leaf.pem(), self.authority.pem());
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(chain, key.serialize_pem()))
            .client_ca_root(Certificate::from_pem(self.authority.pem()))
            .client_auth_optional(true);
        let service = Service {
            heard: Arc::clone(&self.heard),
            authority: Arc::clone(&self.authority),
        };
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(enrollment_service_server::EnrollmentServiceServer::new(
                service.clone(),
            ))
            .add_service(agent_service_server::AgentServiceServer::new(
                service.clone(),
            ))
            .add_service(log_service_server::LogServiceServer::new(service.clone()))
            .add_service(artifact_service_server::ArtifactServiceServer::new(
                service.clone(),
            ))
            .add_service(stream_service_server::StreamServiceServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(async move {
            server.await.unwrap();
        });
        self.server = Some(runtime);
    }

    /// As `kill -9` does: connections break, nothing is said.
    pub(crate) fn stop(&mut self) {
        self.heard().outbox = None;
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }

    /// On the same port with the same CA.
    pub(crate) async fn start_again(&mut self) {
        self.heard().status = None;
        let begin = std::time::Instant::now();
        let listener = loop {
            match std::net::TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(error) => assert!(begin.elapsed() < crate::LIMIT, "{error}"),
            }
            tokio::time::sleep(crate::POLL).await;
        };
        self.serve(listener);
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn token(&self) -> String {
        let hash: String = Sha256::digest(self.authority.der())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("EF1.{hash}.{TOKEN_ID}.{SECRET}")
    }

    pub(crate) fn enrolments(&self) -> usize {
        self.heard().enrolments
    }

    pub(crate) fn renewals(&self) -> usize {
        self.heard().renewals
    }

    /// From now on certificates are past the time for their renewal.
    pub(crate) fn sign_old_certificates(&self) {
        self.heard().old_certificates = true;
    }

    pub(crate) fn events(&self) -> Vec<v1::Event> {
        self.heard().events.clone()
    }

    pub(crate) fn frames(&self) -> Vec<PushFrame> {
        self.heard().frames.clone()
    }

    pub(crate) fn dead_letters(&self) -> Vec<v1::DeadLettersReport> {
        self.heard.lock().unwrap().dead_letters.clone()
    }

    /// From the next session on.
    pub(crate) fn want_spans(&self, wanted: bool) {
        self.heard().wants_spans = wanted;
    }

    /// Waits for so many reports from now on.
    pub(crate) async fn reports(&self, count: usize) {
        for _ in 0..count {
            self.heard().status = None;
            self.status("another report", |_| true).await;
        }
    }

    /// Gives out this file under this digest from now on.
    pub(crate) fn give_file(&self, sha256: &str, bytes: &[u8]) {
        let files = &mut self.heard().files;
        files.insert(sha256.to_owned(), bytes.to_vec());
    }

    /// Breaks every fetch off after so many bytes.
    pub(crate) fn cut_files_after(&self, bytes: Option<usize>) {
        self.heard().cut_after = bytes;
    }

    /// Offsets that were asked for.
    pub(crate) fn fetches(&self) -> Vec<u64> {
        self.heard().fetches.iter().map(|it| it.offset).collect()
    }

    pub(crate) fn take_spans(&self) -> Vec<v1::SpanReport> {
        std::mem::take(&mut self.heard().spans)
    }

    pub(crate) async fn hello(&self, number: usize) -> Hello {
        eventually("a session", || self.heard().hellos.get(number - 1).cloned()).await
    }

    async fn say(&self, message: control_message::Message) {
        let outbox = eventually("a session to send over", || self.heard().outbox.clone()).await;
        let message = ControlMessage {
            message: Some(message),
        };
        outbox.send(Ok(message)).await.unwrap();
    }

    /// Sends an assignment and returns what the agent answers.
    pub(crate) async fn assign(&self, generation: u64, instances: &[Instance]) -> AssignmentAck {
        let mut instances = instances.to_vec();
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        let body = Assignment {
            instances,
            ..Assignment::default()
        }
        .to_body();
        self.assign_body(generation, body_hash(&body), body).await
    }

    pub(crate) async fn assign_body(
        &self,
        generation: u64,
        hash: String,
        body: Vec<u8>,
    ) -> AssignmentAck {
        let before = self.heard().acks.len();
        let assignment = v1::Assignment {
            generation,
            hash,
            body,
        };
        self.say(control_message::Message::Assignment(assignment))
            .await;
        eventually("an acknowledgement", || {
            self.heard().acks.get(before).cloned()
        })
        .await
    }

    pub(crate) async fn assign_accepted(&self, generation: u64, instances: &[Instance]) {
        let ack = self.assign(generation, instances).await;
        assert_eq!(ack.result(), AckResult::Accepted, "{}", ack.message);
    }

    pub(crate) async fn command(&self, id: &str, command: command::Command) {
        let command = Command {
            id: id.to_owned(),
            command: Some(command),
        };
        self.say(control_message::Message::Command(command)).await;
    }

    /// Waits for a status report with `check`.
    pub(crate) async fn status(
        &self,
        what: &str,
        check: impl Fn(&StatusReport) -> bool,
    ) -> StatusReport {
        eventually(what, || self.heard().status.clone().filter(&check)).await
    }

    /// Waits until an instance's status passes `check`.
    pub(crate) async fn instance(
        &self,
        what: &str,
        id: &str,
        check: impl Fn(&v1::InstanceStatus) -> bool,
    ) -> v1::InstanceStatus {
        let find = |status: &StatusReport| status.instances.iter().find(|i| i.id == id).cloned();
        let status = self
            .status(what, |status| find(status).is_some_and(|i| check(&i)))
            .await;
        find(&status).unwrap()
    }

    /// Waits until an instance is ready.
    pub(crate) async fn ready(&self, id: &str) -> v1::InstanceStatus {
        self.instance(&format!("{id} is ready"), id, |instance| {
            instance.phase() == v1::InstancePhase::Ready
        })
        .await
    }

    pub(crate) fn log_lines(&self) -> Vec<v1::LogLine> {
        self.heard().logs.clone()
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }
}

#[derive(Clone)]
struct Service {
    heard: Arc<Mutex<Heard>>,
    authority: Arc<CertifiedIssuer<'static, KeyPair>>,
}

impl Service {
    fn sign(&self, csr_der: &[u8]) -> Result<String, Status> {
        let mut request = CertificateSigningRequestParams::from_der(&csr_der.into())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if self.heard.lock().unwrap().old_certificates {
            request.params.not_before = rcgen::date_time_ymd(1975, 1, 1);
            request.params.not_after = rcgen::date_time_ymd(2045, 1, 1);
        }
        Ok(request.signed_by(&*self.authority).unwrap().pem())
    }
}

#[tonic::async_trait]
impl enrollment_service_server::EnrollmentService for Service {
    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        self.heard.lock().unwrap().enrolments += 1;
        if request.token_id != TOKEN_ID || request.token_secret != SECRET {
            return Err(Status::permission_denied("the token is used up"));
        }
        Ok(Response::new(EnrollResponse {
            device_id: "00112233aabbccdd".to_owned(),
            name: request.name,
            certificate_pem: self.sign(&request.csr_der)?,
            ca_bundle_pem: self.authority.pem(),
        }))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        if request.peer_certs().is_none_or(|certs| certs.is_empty()) {
            return Err(Status::unauthenticated("no client certificate"));
        }
        self.heard.lock().unwrap().renewals += 1;
        Ok(Response::new(RenewResponse {
            certificate_pem: self.sign(&request.into_inner().csr_der)?,
            ca_bundle_pem: self.authority.pem(),
        }))
    }
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl agent_service_server::AgentService for Service {
    type SessionStream = Replies<ControlMessage>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if request.peer_certs().is_none_or(|certs| certs.is_empty()) {
            return Err(Status::unauthenticated("no client certificate"));
        }
        let (out, replies) = mpsc::channel(64);
        let heard = Arc::clone(&self.heard);
        tokio::spawn(session(request.into_inner(), out, heard));
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }
}

async fn session(
    mut inbound: Streaming<AgentMessage>,
    out: mpsc::Sender<Result<ControlMessage, Status>>,
    heard: Arc<Mutex<Heard>>,
) {
    while let Ok(Some(message)) = inbound.message().await {
        let reply = match message.message.unwrap() {
            agent_message::Message::Hello(hello) => {
                let mut heard = heard.lock().unwrap();
                heard.hellos.push(hello);
                heard.outbox = Some(out.clone());
                Some(control_message::Message::Welcome(Welcome {
                    connection_epoch: heard.hellos.len() as u64,
                    heartbeat_interval_ms: 1000,
                    spans: heard.wants_spans,
                    ..Welcome::default()
                }))
            }
            agent_message::Message::Ack(ack) => {
                heard.lock().unwrap().acks.push(ack);
                None
            }
            agent_message::Message::Status(status) => {
                heard.lock().unwrap().status = Some(status);
                None
            }
            agent_message::Message::Event(event) => {
                heard.lock().unwrap().events.push(event.event.unwrap());
                let sequence = event.sequence;
                Some(control_message::Message::EventAck(v1::EventAck {
                    sequence,
                }))
            }
            agent_message::Message::DeadLetters(report) => {
                heard.lock().unwrap().dead_letters.push(report);
                None
            }
            agent_message::Message::Spans(report) => {
                heard.lock().unwrap().spans.push(report);
                None
            }
            agent_message::Message::Heartbeat(beat) => {
                Some(control_message::Message::Heartbeat(beat))
            }
        };
        if let Some(message) = reply {
            let message = Some(message);
            let _ = out.send(Ok(ControlMessage { message })).await;
        }
    }
}

#[tonic::async_trait]
impl artifact_service_server::ArtifactService for Service {
    type FetchStream = Replies<v1::FetchResponse>;

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let ask = request.into_inner();
        let mut heard = self.heard.lock().unwrap();
        let file = heard.files.get(&ask.sha256).cloned();
        let start = usize::try_from(ask.offset).unwrap();
        heard.fetches.push(ask);
        let file = file.ok_or_else(|| Status::unavailable("the file is lost"))?;
        let rest = file.get(start..).unwrap_or_default();
        let cut = heard.cut_after.filter(|cut| *cut < rest.len());
        let pieces = rest[..cut.unwrap_or(rest.len())].chunks(1000);
        let piece = |piece: &[u8]| {
            Ok(v1::FetchResponse {
                piece: piece.to_vec(),
            })
        };
        let mut pieces: Vec<Result<_, Status>> = pieces.map(piece).collect();
        if cut.is_some() {
            pieces.push(Err(Status::unavailable("cut off")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }
}

#[tonic::async_trait]
impl log_service_server::LogService for Service {
    async fn push(
        &self,
        request: Request<Streaming<PushLogs>>,
    ) -> Result<Response<PushLogsResponse>, Status> {
        let mut inbound = request.into_inner();
        while let Some(push) = inbound.message().await? {
            self.heard.lock().unwrap().logs.extend(push.lines);
        }
        Ok(Response::new(PushLogsResponse {}))
    }
}

#[tonic::async_trait]
impl stream_service_server::StreamService for Service {
    type PushStream = Replies<PushCredit>;

    /// Grants one frame at a time.
    async fn push(
        &self,
        request: Request<Streaming<PushFrame>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let mut inbound = request.into_inner();
        let (out, replies) = mpsc::channel(4);
        let heard = Arc::clone(&self.heard);
        tokio::spawn(async move {
            while let Ok(Some(push)) = inbound.message().await {
                let credit = push.error.is_empty();
                heard.lock().unwrap().frames.push(push);
                if credit {
                    let _ = out.send(Ok(PushCredit { frames: 1 })).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop();
    }
}
