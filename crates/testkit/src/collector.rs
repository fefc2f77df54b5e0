//! An OpenTelemetry collector: a real gRPC server with the protocol's own service, which keeps what
//! it gets. Can go and come back on its port, and can ask for a header.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::until;

/// A span and the attributes of its resource that are texts.
#[derive(Clone, Debug)]
pub struct Exported {
    /// As the protocol has it.
    pub span: Span,
    resource: Vec<KeyValue>,
}

impl Exported {
    /// A text attribute of the resource; empty when there is none.
    pub fn resource(&self, key: &str) -> &str {
        let found = self.resource.iter().find(|pair| pair.key == key);
        let value = found.and_then(|pair| pair.value.as_ref());
        match value.and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => text,
            _ => "",
        }
    }
}

/// A collector on the loopback.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    service: Service,
    server: Option<Runtime>,
}

#[derive(Clone, Debug)]
struct Service {
    /// Name and value that a request must have.
    header: (&'static str, &'static str),
    spans: Arc<Mutex<Vec<Exported>>>,
}

impl Service {
    fn spans(&self) -> MutexGuard<'_, Vec<Exported>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector {
    /// On a free port; refuses what comes without this header.
    pub fn start(header: (&'static str, &'static str)) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("binding")?;
        let mut collector = Self {
            address: listener.local_addr()?,
            service: Service {
                header,
                spans: Arc::default(),
            },
            server: None,
        };
        collector.serve(listener)?;
        Ok(collector)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks every connection.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }

    /// On the same port again.
    pub fn start_again(&mut self) -> Result<()> {
        let address = self.address;
        let listener = until("the port", || Ok(std::net::TcpListener::bind(address).ok()))?;
        self.serve(listener)
    }

    /// What came so far.
    pub fn spans(&self) -> Vec<Exported> {
        self.service.spans().clone()
    }

    fn serve(&mut self, listener: std::net::TcpListener) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("starting a runtime")?;
        listener.set_nonblocking(true)?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let server = Server::builder().add_service(TraceServiceServer::new(self.service.clone()));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        self.server = Some(runtime);
        Ok(())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop();
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (name, value) = self.header;
        if request.metadata().get(name).is_none_or(|it| it != value) {
            return Err(Status::unauthenticated("who are you?"));
        }
        for group in request.into_inner().resource_spans {
            let resource = group.resource.unwrap_or_default().attributes;
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans().extend(spans.map(|span| Exported {
                span,
                resource: resource.clone(),
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
