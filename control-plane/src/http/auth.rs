//! Who may ask: the admin token as a bearer, or a browser's login cookie together with proof that
//! the request comes from our own page. The plain port answers to loopback names only, so that a
//! foreign web page can't reach it through DNS.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use edgeflow_runtime::logging::chain;
use tonic::Status;

use super::Port;
use crate::{
    app::App,
    clock::now_ms,
    pki::{hash_secret, secrets_equal},
    store::StoreError,
};

/// Name of the login cookie.
pub(super) const COOKIE: &str = "edgeflow_session";
/// Longest secret that is looked at.
const MAX_SECRET: usize = 256;

/// State of the guards.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) app: Arc<App>,
    pub(super) port: Port,
}

enum Refusal {
    NoLogin,
    ForeignPage,
    Store(StoreError),
}

impl Refusal {
    fn text(&self) -> &'static str {
        match self {
            Self::NoLogin => {
                "log in first: send the admin token (file admin-token in the control plane's data folder) as `authorization: Bearer …`"
            }
            Self::ForeignPage => "this request comes from another web page; refused",
            Self::Store(_) => "logins can't be checked: the database does not answer",
        }
    }
}

pub(super) async fn check_host(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    if guard.port == Port::Plain && !host_is_loopback(request.headers(), request.uri()) {
        return (
            StatusCode::MISDIRECTED_REQUEST,
            "this port answers to localhost and 127.0.0.1 only\n",
        )
            .into_response();
    }
    next.run(request).await
}

pub(super) async fn require_admin_http(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    match check(&guard, request.method(), request.headers(), request.uri()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let code = match refusal {
                Refusal::NoLogin => StatusCode::UNAUTHORIZED,
                Refusal::ForeignPage => StatusCode::FORBIDDEN,
                Refusal::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            (code, format!("{}\n", refusal.text())).into_response()
        }
    }
}

pub(super) async fn require_admin_grpc(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    match check(&guard, request.method(), request.headers(), request.uri()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let status = match refusal {
                Refusal::NoLogin => Status::unauthenticated(refusal.text()),
                Refusal::ForeignPage => Status::permission_denied(refusal.text()),
                Refusal::Store(_) => Status::unavailable(refusal.text()),
            };
            status.into_http::<axum::body::Body>()
        }
    }
}

async fn check(
    guard: &Guard,
    method: &Method,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(), Refusal> {
    let outcome = check_login(guard, method, headers, uri).await;
    match &outcome {
        Err(Refusal::NoLogin) => guard.app.metrics.login_refused(),
        Err(Refusal::Store(error)) => {
            tracing::warn!(error = chain(error), "a login can't be checked");
        }
        Ok(()) | Err(Refusal::ForeignPage) => {}
    }
    outcome
}

async fn check_login(
    guard: &Guard,
    method: &Method,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(), Refusal> {
    if let Some(token) = bearer(headers) {
        return if is_admin(&guard.app, token) {
            Ok(())
        } else {
            Err(Refusal::NoLogin)
        };
    }
    let Some(session) = cookie(headers) else {
        return Err(Refusal::NoLogin);
    };
    // A cookie travels by itself: what changes something, or opens a socket, has to come from us.
    let needs_origin = *method != Method::GET || headers.contains_key(header::UPGRADE);
    if !is_same_origin(headers, uri, needs_origin) {
        return Err(Refusal::ForeignPage);
    }
    let known = guard
        .app
        .service
        .store()
        .login_is_valid(&hash_secret(session), now_ms())
        .await
        .map_err(Refusal::Store)?;
    if known { Ok(()) } else { Err(Refusal::NoLogin) }
}

pub(super) fn is_admin(app: &App, token: &str) -> bool {
    token.len() <= MAX_SECRET && secrets_equal(&hash_secret(token), &app.admin_hash)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
        .filter(|value| value.len() <= MAX_SECRET)
}

/// Whether the page that sent the request is ours: its origin is the host it asks.
pub(super) fn is_same_origin(headers: &HeaderMap, uri: &Uri, required: bool) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return !required;
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, authority)| authority);
    origin.is_some() && origin == host(headers, uri)
}

fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    match headers.get(header::HOST) {
        Some(host) => host.to_str().ok(),
        // HTTP/2 has it in the pseudo header.
        None => uri.authority().map(axum::http::uri::Authority::as_str),
    }
}

fn host_is_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
    let Some(host) = host(headers, uri) else {
        return false;
    };
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else {
        return false;
    };
    let name = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    axum::http::HeaderName::from_static(name),
                    value.parse().unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn only_loopback_names_pass_the_host_check() {
        let uri = Uri::from_static("/");
        for good in ["localhost:7080", "127.0.0.1", "[::1]:7080", "LOCALHOST"] {
            assert!(
                host_is_loopback(&headers(&[("host", good)]), &uri),
                "{good}"
            );
        }
        for bad in [
            "evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:7080",
            "",
        ] {
            assert!(!host_is_loopback(&headers(&[("host", bad)]), &uri), "{bad}");
        }
        assert!(!host_is_loopback(&HeaderMap::new(), &uri));
    }

    #[test]
    fn a_foreign_or_missing_origin_is_not_ours() {
        let uri = Uri::from_static("/");
        let ask = |pairs: &[(&'static str, &str)], required| {
            is_same_origin(&headers(pairs), &uri, required)
        };
        let host = ("host", "localhost:7080");
        assert!(ask(&[host, ("origin", "http://localhost:7080")], true));
        assert!(!ask(&[host, ("origin", "http://evil.example")], true));
        assert!(!ask(&[host, ("origin", "http://localhost:9999")], true));
        assert!(!ask(&[host, ("origin", "null")], true));
        assert!(!ask(&[host], true));
        assert!(ask(&[host], false));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let map = headers(&[("cookie", "a=b; edgeflow_session=xyz; c=d")]);
        assert_eq!(cookie(&map), Some("xyz"));
    }
}
