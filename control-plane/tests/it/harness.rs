//! A server on free ports, an admin client, and an agent made of nothing but its protocol.

use std::{collections::HashMap, path::Path, time::Duration};

use clap::Parser;
use edgeflow_control_plane::{config::Config, server::Server};
use edgeflow_proto::{
    JoinToken,
    v1::{
        self, agent_message::Message as Up, agent_service_client::AgentServiceClient,
        control_message::Message as Down, control_service_client::ControlServiceClient,
        enrollment_service_client::EnrollmentServiceClient,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// Longer than anything here takes; a test that waits for this has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bearer(AsciiMetadataValue);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub(crate) type Admin = ControlServiceClient<InterceptedService<Channel, Bearer>>;

pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            server: start_server(dir.path()).await,
            dir,
        }
    }

    /// Stops the server and starts it again on the same data.
    pub(crate) async fn restart(self) -> Self {
        self.server.stop().await;
        Self {
            server: start_server(self.dir.path()).await,
            dir: self.dir,
        }
    }

    pub(crate) async fn admin(&self) -> Admin {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.server.http())).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let value = format!("Bearer {}", self.server.admin_token());
        ControlServiceClient::with_interceptor(channel, Bearer(value.parse().unwrap()))
    }

    pub(crate) async fn token(&self, max_uses: u32) -> JoinToken {
        self.labelled_token(max_uses, &[]).await
    }

    pub(crate) async fn labelled_token(&self, max_uses: u32, labels: &[(&str, &str)]) -> JoinToken {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let response = self
            .admin()
            .await
            .create_token(v1::CreateTokenRequest {
                ttl_seconds: 60,
                max_uses,
                labels,
            })
            .await
            .unwrap();
        response.into_inner().secret.parse().unwrap()
    }

    /// A channel as a machine without a certificate has it.
    pub(crate) async fn stranger(&self) -> Channel {
        self.tls(None).await
    }

    async fn tls(&self, identity: Option<Identity>) -> Channel {
        let ca = std::fs::read(self.dir.path().join("ca.crt")).unwrap();
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name("localhost");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        Endpoint::from_shared(format!("https://{}", self.server.listen()))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(crate) async fn try_join(&self, token: &JoinToken, name: &str) -> Result<Agent, Status> {
        let key = rcgen::KeyPair::generate().unwrap();
        let csr = rcgen::CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let response = EnrollmentServiceClient::new(self.stranger().await)
            .enroll(v1::EnrollRequest {
                token_id: token.id.clone(),
                token_secret: token.secret.clone(),
                csr_der: csr.der().to_vec(),
                name: name.to_owned(),
                labels: HashMap::from([("own".to_owned(), "yes".to_owned())]),
                facts: Some(facts()),
            })
            .await?
            .into_inner();
        let identity = Identity::from_pem(&response.certificate_pem, key.serialize_pem());
        Ok(Agent {
            id: response.device_id,
            name: response.name,
            channel: self.tls(Some(identity.clone())).await,
            identity,
        })
    }

    /// The same device on a new connection, after a restart of the server.
    pub(crate) async fn reconnect(&self, agent: Agent) -> Agent {
        Agent {
            channel: self.tls(Some(agent.identity.clone())).await,
            ..agent
        }
    }

    pub(crate) async fn join(&self, name: &str) -> Agent {
        let token = self.token(1).await;
        self.try_join(&token, name).await.unwrap()
    }

    /// Reads the device until it is as wanted.
    pub(crate) async fn device_until(
        &self,
        name: &str,
        wanted: impl Fn(&v1::Device) -> bool,
    ) -> v1::Device {
        let mut admin = self.admin().await;
        until(async || {
            let request = v1::GetDeviceRequest {
                device: name.to_owned(),
            };
            let device = admin.get_device(request).await.unwrap().into_inner().device;
            device.filter(|device| wanted(device))
        })
        .await
    }
}

async fn start_server(data_dir: &Path) -> Server {
    let config = Config::try_parse_from([
        "edgeflow-control-plane",
        "--data-dir",
        data_dir.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ])
    .unwrap();
    Server::start(config).await.unwrap()
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the state that was waited for never came")
}

pub(crate) fn facts() -> v1::DeviceFacts {
    v1::DeviceFacts {
        hostname: "bench".to_owned(),
        arch: "aarch64".to_owned(),
        os: "linux".to_owned(),
        cpus: 4,
        ..v1::DeviceFacts::default()
    }
}

pub(crate) fn pattern(name: &str, fps: u32) -> String {
    format!(
        "apiVersion: edgeflow.dev/v1\nkind: System\nmetadata:\n  name: {name}\nspec:\n  nodes:\n    source: {{use: pattern, with: {{fps: {fps}}}}}\n    sink: {{use: log}}\n  links:\n    - source -> sink\n  views: [source]\n"
    )
}

pub(crate) fn placed(manifest: &str, selector: &str) -> String {
    manifest.replace(
        "spec:\n",
        &format!("spec:\n  devices:\n    selector: {selector}\n"),
    )
}

pub(crate) async fn apply(admin: &mut Admin, manifest: &str) -> v1::ApplySystemResponse {
    let request = v1::ApplySystemRequest {
        manifest: manifest.to_owned(),
        file: "system.yaml".to_owned(),
        ..v1::ApplySystemRequest::default()
    };
    admin.apply_system(request).await.unwrap().into_inner()
}

pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) channel: Channel,
    pub(crate) identity: Identity,
}

impl Agent {
    pub(crate) async fn session(&self) -> Session {
        self.session_with(v1::Hello::default()).await.unwrap()
    }

    /// Opens a session; fields of `hello` that are not set get sensible values.
    pub(crate) async fn session_with(&self, mut hello: v1::Hello) -> Result<Session, Status> {
        if hello.protocol_max == 0 {
            hello.protocol_min = 1;
            hello.protocol_max = 1;
        }
        if hello.next_event_sequence == 0 {
            hello.next_event_sequence = 1;
        }
        let (up, receiver) = mpsc::channel(64);
        let mut session = Session {
            welcome: v1::Welcome::default(),
            up,
            down: AgentServiceClient::new(self.channel.clone())
                .session(ReceiverStream::new(receiver))
                .await?
                .into_inner(),
        };
        session.send(Up::Hello(hello)).await;
        match session.next().await? {
            Down::Welcome(welcome) => session.welcome = welcome,
            other => panic!("expected Welcome, got {other:?}"),
        }
        Ok(session)
    }
}

pub(crate) struct Session {
    pub(crate) welcome: v1::Welcome,
    pub(crate) up: mpsc::Sender<v1::AgentMessage>,
    pub(crate) down: Streaming<v1::ControlMessage>,
}

impl Session {
    pub(crate) async fn send(&self, message: Up) {
        let message = v1::AgentMessage {
            message: Some(message),
        };
        // A closed session shows when it is read.
        let _ = self.up.send(message).await;
    }

    pub(crate) async fn next(&mut self) -> Result<Down, Status> {
        let message = tokio::time::timeout(PATIENCE, self.down.message())
            .await
            .expect("no message came")?;
        message
            .and_then(|message| message.message)
            .ok_or_else(|| Status::cancelled("the stream ended"))
    }

    pub(crate) async fn assignment(&mut self) -> v1::Assignment {
        loop {
            if let Down::Assignment(assignment) = self.next().await.unwrap() {
                return assignment;
            }
        }
    }

    pub(crate) async fn command(&mut self) -> v1::Command {
        loop {
            if let Down::Command(command) = self.next().await.unwrap() {
                return command;
            }
        }
    }

    pub(crate) async fn ack(
        &self,
        assignment: &v1::Assignment,
        result: v1::AckResult,
        message: &str,
    ) {
        self.send(Up::Ack(v1::AssignmentAck {
            generation: assignment.generation,
            hash: assignment.hash.clone(),
            result: result.into(),
            message: message.to_owned(),
        }))
        .await;
    }

    /// Accepts an assignment and reports every instance of it in `phase`.
    pub(crate) async fn run(
        &self,
        assignment: &v1::Assignment,
        phase: v1::InstancePhase,
        reason: &str,
    ) {
        self.ack(assignment, v1::AckResult::Accepted, "").await;
        self.send(Up::Status(status(assignment, phase, reason)))
            .await;
    }
}

pub(crate) fn status(
    assignment: &v1::Assignment,
    phase: v1::InstancePhase,
    reason: &str,
) -> v1::StatusReport {
    let body = edgeflow_spec::Assignment::from_body(&assignment.body).unwrap();
    v1::StatusReport {
        observed_generation: assignment.generation,
        observed_hash: assignment.hash.clone(),
        instances: body
            .instances
            .iter()
            .map(|instance| v1::InstanceStatus {
                id: instance.id.clone(),
                system: instance.system.clone(),
                node: instance.node.clone(),
                revision: instance.revision,
                phase: phase.into(),
                reason: reason.to_owned(),
                ..v1::InstanceStatus::default()
            })
            .collect(),
        ..v1::StatusReport::default()
    }
}
