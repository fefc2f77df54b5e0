//! The control plane's API for tests: blocking calls with the admin token.

use std::time::Duration;

use anyhow::{Context, Result};
use edgeflow_proto::v1::{self as pb, control_service_client::ControlServiceClient};
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

const CALL_LIMIT: Duration = Duration::from_secs(20);

type Client = ControlServiceClient<InterceptedService<Channel, Bearer>>;

/// A client of one control plane. It connects again by itself after a restart.
#[derive(Debug)]
pub struct Api {
    runtime: Runtime,
    client: Client,
}

#[derive(Clone, Debug)]
struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Api {
    /// Of the control plane with that plain address.
    pub fn new(http: &str, token: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a runtime")?;
        let endpoint = Endpoint::from_shared(format!("http://{http}"))
            .context("reading the address")?
            .timeout(CALL_LIMIT);
        let bearer = Bearer(
            format!("Bearer {token}")
                .parse()
                .context("reading the token")?,
        );
        let client = {
            let _entered = runtime.enter();
            ControlServiceClient::with_interceptor(endpoint.connect_lazy(), bearer)
        };
        Ok(Self { runtime, client })
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) -> Result<pb::ApplySystemResponse> {
        let mut client = self.client.clone();
        let request = pb::ApplySystemRequest {
            manifest: manifest.to_owned(),
            file: "system.yaml".to_owned(),
            ..Default::default()
        };
        let call = client.apply_system(request);
        Ok(self.runtime.block_on(call)?.into_inner())
    }

    /// A system as it is now.
    pub fn system(&self, name: &str) -> Result<pb::System> {
        let mut client = self.client.clone();
        let call = client.get_system(pb::GetSystemRequest {
            name: name.to_owned(),
        });
        let response = self.runtime.block_on(call)?.into_inner();
        response.system.context("a response without a system")
    }

    /// Every device.
    pub fn devices(&self) -> Result<Vec<pb::Device>> {
        let mut client = self.client.clone();
        let call = client.list_devices(pb::ListDevicesRequest::default());
        Ok(self.runtime.block_on(call)?.into_inner().devices)
    }

    /// A new join token.
    pub fn create_token(&self, ttl_seconds: u32, max_uses: u32) -> Result<String> {
        let mut client = self.client.clone();
        let call = client.create_token(pb::CreateTokenRequest {
            ttl_seconds,
            max_uses,
            ..Default::default()
        });
        Ok(self.runtime.block_on(call)?.into_inner().secret)
    }

    /// The newest events of a system, oldest first; of everything when `system` is empty.
    pub fn events(&self, system: &str) -> Result<Vec<pb::Event>> {
        let mut client = self.client.clone();
        let request = pb::WatchEventsRequest {
            system: system.to_owned(),
            tail: 200,
            ..Default::default()
        };
        self.runtime.block_on(async {
            let mut stream = client.watch_events(request).await?.into_inner();
            let mut events = Vec::new();
            while let Some(event) = stream.next().await {
                events.push(event?);
            }
            Ok(events)
        })
    }

    /// Removes a system.
    pub fn delete_system(&self, name: &str) -> Result<()> {
        let mut client = self.client.clone();
        let call = client.delete_system(pb::DeleteSystemRequest {
            name: name.to_owned(),
            ..Default::default()
        });
        self.runtime.block_on(call)?;
        Ok(())
    }
}
