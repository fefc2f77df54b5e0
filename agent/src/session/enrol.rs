//! The first start: makes a key, checks the control plane against the token, trades the token for a
//! certificate. Waits for a control plane that is not there yet; gives up on a token that is refused.

use std::collections::BTreeMap;

use edgeflow_proto::{
    JoinToken,
    v1::{EnrollRequest, enrollment_service_client::EnrollmentServiceClient},
};
use thiserror::Error;
use tonic::Code;

use super::{
    Identity, IdentityError, backoff::Backoff, convert, dial, identity, trust::FleetServer,
};
use crate::{config::Config, config::DEFAULT_SERVER, inventory, links};

/// Why the device has no identity.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// Neither enrolled nor told how.
    #[error(
        "this device is not enrolled: run `edgeflow token create` where the control plane is, then start the agent with `--join TOKEN --server HOST:PORT`"
    )]
    NotEnrolled,
    /// The identity on disk can't be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Not a token.
    #[error("--join: {0}; copy the whole output of `edgeflow token create`")]
    Token(String),
    /// Enrolled with another control plane.
    #[error(
        "this device is enrolled as {name:?} with another control plane ({server}); to move it, stop the agent, remove {dir} and start it with the new token"
    )]
    OtherFleet {
        /// Device name.
        name: String,
        /// Where it is enrolled.
        server: String,
        /// Identity folder.
        dir: String,
    },
    /// The server is not the one that made the token.
    #[error(
        "the control plane at {0} is not the one that made this token (its CA differs), so the token was not sent; check --server, or make a token there"
    )]
    OtherServer(String),
    /// The server said no.
    #[error(
        "the control plane at {server} refused the token: {reason}; make a new one with `edgeflow token create`"
    )]
    Refused {
        /// The server.
        server: String,
        /// Its words.
        reason: String,
    },
    /// The answer makes no sense.
    #[error("the control plane's answer can't be used: {0}")]
    Answer(String),
}

/// The identity on disk, or a new one by the token.
pub async fn enrol_if_needed(config: &Config) -> Result<Identity, EnrolError> {
    let dir = config.paths.identity();
    let token = config.join.as_deref().map(parse).transpose()?;
    match (Identity::load(&dir)?, token) {
        (Some(identity), Some(token)) if !identity.trusts(&token.ca_sha256) => {
            Err(EnrolError::OtherFleet {
                name: identity.name.clone(),
                server: identity.server.clone(),
                dir: dir.display().to_string(),
            })
        }
        (Some(identity), token) => {
            if token.is_some() {
                tracing::info!(
                    device = identity.name,
                    "already enrolled, the join token is not used"
                );
            }
            Ok(identity)
        }
        (None, Some(token)) => {
            let identity = enrol(config, &token).await?;
            identity.save(&dir)?;
            tracing::info!(
                device = identity.name,
                id = identity.device_id,
                server = identity.server,
                "enrolled"
            );
            Ok(identity)
        }
        (None, None) => Err(EnrolError::NotEnrolled),
    }
}

fn parse(token: &str) -> Result<JoinToken, EnrolError> {
    token
        .trim()
        .parse()
        .map_err(|error: edgeflow_proto::JoinTokenError| EnrolError::Token(error.to_string()))
}

async fn enrol(config: &Config, token: &JoinToken) -> Result<Identity, EnrolError> {
    let server = config.server.as_deref().unwrap_or(DEFAULT_SERVER);
    let (key_pem, csr_der) = identity::new_request()?;
    let found = tokio::net::lookup_host(server).await;
    let towards = found.ok().and_then(|mut found| found.next());
    let facts = inventory::Facts {
        link_addresses: links::addresses(&config.links, towards),
        cameras: inventory::cameras(),
        ..inventory::facts()
    };
    let request = EnrollRequest {
        token_id: token.id.clone(),
        token_secret: token.secret.clone(),
        csr_der,
        name: config.name.clone(),
        labels: labels(&config.labels),
        facts: Some(convert::facts(facts)),
    };
    let mut backoff = Backoff::default();
    let mut told = false;
    loop {
        match attempt(server, token, request.clone()).await? {
            Ok(answer) => return accept(answer, token, server, &key_pem),
            Err(reason) => {
                if !told {
                    told = true;
                    tracing::warn!(server, reason, "can't enrol yet, retrying");
                }
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

fn labels(labels: &BTreeMap<String, String>) -> std::collections::HashMap<String, String> {
    labels.clone().into_iter().collect()
}

/// The inner error is worth another try.
async fn attempt(
    server: &str,
    token: &JoinToken,
    request: EnrollRequest,
) -> Result<Result<edgeflow_proto::v1::EnrollResponse, String>, EnrolError> {
    let verifier = FleetServer::pinned(token.ca_sha256.clone());
    let endpoint = dial::pinned(server, verifier.clone())
        .map_err(|error| EnrolError::Answer(edgeflow_runtime::logging::chain(&error)))?;
    let channel = match dial::connect(server, &endpoint).await {
        Ok(channel) => channel,
        Err(_) if verifier.saw_other_ca() => {
            return Err(EnrolError::OtherServer(server.to_owned()));
        }
        Err(error) => return Ok(Err(edgeflow_runtime::logging::chain(&error))),
    };
    match EnrollmentServiceClient::new(channel).enroll(request).await {
        Ok(answer) => Ok(Ok(answer.into_inner())),
        Err(status) => match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::ResourceExhausted => Ok(Err(dial::words(&status))),
            _ => Err(EnrolError::Refused {
                server: server.to_owned(),
                reason: dial::words(&status),
            }),
        },
    }
}

fn accept(
    answer: edgeflow_proto::v1::EnrollResponse,
    token: &JoinToken,
    server: &str,
    key_pem: &str,
) -> Result<Identity, EnrolError> {
    let identity = Identity {
        device_id: answer.device_id,
        name: answer.name,
        server: server.to_owned(),
        pem: format!("{key_pem}{}", answer.certificate_pem),
        ca_pem: answer.ca_bundle_pem,
    };
    identity.validity().map_err(EnrolError::Answer)?;
    if !identity.trusts(&token.ca_sha256) {
        return Err(EnrolError::Answer(
            "the CA that it sent is not the one in the token".to_owned(),
        ));
    }
    Ok(identity)
}
