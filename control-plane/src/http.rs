//! The HTTP side: the dashboard, logins, live video, health and metrics, and the guards in front
//! of everything. Holds no rules about systems or devices.

mod auth;
mod login;
mod media;
mod pages;
mod view_socket;

use std::sync::Arc;

use axum::{
    Router,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use edgeflow_runtime::logging::chain;
use tonic_web::GrpcWebLayer;

use crate::{api, app::App, service::ServiceError};

/// Which port a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// TLS, for the network.
    Tls,
    /// Plain, on loopback only.
    Plain,
}

/// Everything that one port serves.
pub fn router(app: &Arc<App>, port: Port) -> Router {
    let state = auth::Guard {
        app: Arc::clone(app),
        port,
    };
    let control = api::control_routes(app)
        .layer(middleware::from_fn_with_state(
            state.clone(),
            auth::require_admin_grpc,
        ))
        // Outside of the login check, so that a browser can read the refusal.
        .layer(GrpcWebLayer::new());
    let private = Router::new()
        .route("/ws/view", any(view_socket::upgrade))
        .route("/video/{system}/{node}", get(media::video))
        .route("/snapshot/{system}/{file}", get(media::snapshot))
        .route("/events/{id}/picture", get(media::event_picture))
        .route("/metrics", get(pages::metrics))
        .route_layer(middleware::from_fn_with_state(
            state.clone(),
            auth::require_admin_http,
        ))
        .with_state(Arc::clone(app));
    let open = Router::new()
        .route("/login", post(login::login).get(login::state))
        .route("/logout", post(login::logout))
        .route("/healthz", get(pages::healthz))
        .route("/readyz", get(pages::readyz))
        .with_state(state.clone());
    let mut all = control.merge(private).merge(open);
    if port == Port::Tls {
        all = all.merge(api::agent_routes(app));
    }
    all.fallback(pages::asset)
        .layer(middleware::from_fn_with_state(state, auth::check_host))
}

/// The one place where errors become HTTP answers.
fn error_response(error: &ServiceError) -> Response {
    let code = match error {
        ServiceError::NotFound(_) => StatusCode::NOT_FOUND,
        ServiceError::Stale(_) | ServiceError::AlreadyExists(_) | ServiceError::Precondition(_) => {
            StatusCode::CONFLICT
        }
        ServiceError::Invalid(_) => StatusCode::BAD_REQUEST,
        ServiceError::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        ServiceError::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
        ServiceError::Unavailable(_) | ServiceError::Store(_) | ServiceError::Artifact(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ServiceError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        ServiceError::Pki(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if code.is_server_error() {
        tracing::warn!(error = chain(error), "an HTTP request failed");
    }
    (code, format!("{error}\n")).into_response()
}
