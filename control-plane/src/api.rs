//! The gRPC services: parse, one call, map the error. Holds no rules. Tonic ends here.

mod agents;
mod control;
mod error;
mod frames;
mod models;
mod tap;

use std::sync::Arc;

use edgeflow_proto::v1::{
    agent_service_server::AgentServiceServer, artifact_service_server::ArtifactServiceServer,
    control_service_server::ControlServiceServer,
    enrollment_service_server::EnrollmentServiceServer, log_service_server::LogServiceServer,
    stream_service_server::StreamServiceServer,
};
use tonic::{Request, Status, service::Routes};

use crate::{app::App, pki::PeerIdentity, service::DeviceState, views::MAX_PUSH_BYTES};

pub use error::status;

/// Biggest request of a person or a program.
const MAX_CONTROL_BYTES: usize = 4 * 1024 * 1024;
/// Biggest message of a session.
const MAX_SESSION_BYTES: usize = 4 * 1024 * 1024;
/// Biggest message to a client: a fleet's state.
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;
/// Biggest enrolment request.
const MAX_ENROLL_BYTES: usize = 256 * 1024;

/// The services for people and programs. The caller puts the login check in front.
pub fn control_routes(app: &Arc<App>) -> axum::Router {
    let control = ControlServiceServer::new(control::Control::new(Arc::clone(app)))
        .max_decoding_message_size(MAX_CONTROL_BYTES)
        .max_encoding_message_size(MAX_RESPONSE_BYTES);
    Routes::new(control).into_axum_router().reset_fallback()
}

/// The services for agents, each of which checks the client certificate. On the TLS port only.
pub fn agent_routes(app: &Arc<App>) -> axum::Router {
    let agents = || agents::Agents::new(Arc::clone(app));
    Routes::new(EnrollmentServiceServer::new(agents()).max_decoding_message_size(MAX_ENROLL_BYTES))
        .add_service(AgentServiceServer::new(agents()).max_decoding_message_size(MAX_SESSION_BYTES))
        .add_service(
            StreamServiceServer::new(frames::Bulk::new(Arc::clone(app)))
                .max_decoding_message_size(MAX_PUSH_BYTES),
        )
        .add_service(
            LogServiceServer::new(frames::Bulk::new(Arc::clone(app)))
                .max_decoding_message_size(MAX_SESSION_BYTES),
        )
        .add_service(ArtifactServiceServer::new(models::Files::new(Arc::clone(
            app,
        ))))
        .into_axum_router()
        .reset_fallback()
}

/// The device behind a request: what TLS has verified, and nothing the request says.
fn device<T>(app: &App, request: &Request<T>) -> Result<Arc<DeviceState>, Status> {
    let peer = peer(request)?;
    app.service
        .authenticate(peer)
        .map_err(|error| status(&error))
}

fn peer<T>(request: &Request<T>) -> Result<&PeerIdentity, Status> {
    request.extensions().get::<PeerIdentity>().ok_or_else(|| {
        Status::unauthenticated("this call needs the device's client certificate; join first")
    })
}
