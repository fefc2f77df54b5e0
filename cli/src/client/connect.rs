//! Opens the channel: TLS against the control plane's own CA, or plain HTTP/2 on loopback.

use std::time::Duration;

use edgeflow_proto::v1::control_service_client::ControlServiceClient;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{Api, errors, target::Target};
use crate::failure::{Exit, Failure, Outcome};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Finds out that a server has gone away while a stream is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Device lists with all their instances can be long.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// Adds the token to every call.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

pub(crate) async fn channel(target: &Target) -> Outcome<Channel> {
    let endpoint = endpoint(target)?;
    endpoint
        .connect()
        .await
        .map_err(|error| errors::connect_failure(target, &error))
}

fn endpoint(target: &Target) -> Outcome<Endpoint> {
    let invalid = |error: tonic::transport::Error| {
        Failure::usage(format!("can't use the address {}", target.server))
            .why(crate::failure::root_cause(&error))
    };
    let endpoint = Endpoint::from_shared(target.server.clone())
        .map_err(invalid)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    if !target.tls {
        return Ok(endpoint);
    }
    let Some(ca) = &target.ca else {
        return Err(Failure::new(
            Exit::Unreachable,
            format!(
                "can't tell whether {} is the real control plane",
                target.server
            ),
        )
        .why("its CA certificate is not known here")
        .next("copy ca.crt from the control plane's data folder and pass it: --ca ca.crt")
        .next("or keep it with a context: edgeflow context add NAME --server URL --ca ca.crt"));
    };
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .domain_name(target.host.clone());
    endpoint.tls_config(tls).map_err(|error| {
        Failure::failed("can't use the CA certificate").why(crate::failure::root_cause(&error))
    })
}

pub(crate) fn api(channel: Channel, token: Option<&str>) -> Outcome<Api> {
    let value = token
        .map(|token| MetadataValue::try_from(format!("Bearer {token}")))
        .transpose()
        .map_err(|_| {
            Failure::new(Exit::Denied, "the token has characters that no token has")
                .next("copy it again from the control plane's admin-token file")
        })?;
    Ok(
        ControlServiceClient::with_interceptor(channel, Bearer(value))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES),
    )
}
