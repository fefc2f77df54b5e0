//! The dashboard's files, health and metrics.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use edgeflow_runtime::metrics::CONTENT_TYPE;

use super::{auth::Guard, error_response};
use crate::{app::App, service::ServiceError};

/// Scripts and pictures of our own only, and nobody may put the page into a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; \
    style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:; frame-ancestors 'none'; \
    base-uri 'none'; form-action 'self'; worker-src 'self' blob:";

/// The process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The process can do its work.
pub(super) async fn readyz(State(guard): State<Guard>) -> Response {
    match guard.app.service.store().ping().await {
        Ok(()) => "ok\n".into_response(),
        Err(error) => error_response(&ServiceError::Store(error)),
    }
}

/// Prometheus text.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = app.metrics.render(&app.service, &app.views);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

/// A file of the dashboard; routes of the application get its page.
pub(super) async fn asset(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let is_grpc = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return tonic::Status::unimplemented("no such service on this port").into_http::<Body>();
    }
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let Some(asset) = edgeflow_web::asset(uri.path()) else {
        return (StatusCode::NOT_FOUND, "no such page\n").into_response();
    };
    let cache = if asset.immutable {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == asset.etag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = match asset.bytes {
            std::borrow::Cow::Borrowed(bytes) => Body::from(bytes),
            std::borrow::Cow::Owned(bytes) => Body::from(bytes),
        };
        ([(header::CONTENT_TYPE, asset.mime)], body).into_response()
    };
    let map = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&asset.etag) {
        map.insert(header::ETAG, etag);
    }
    map.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    map.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    );
    map.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    map.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}
