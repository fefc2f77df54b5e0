//! Browser logins: the admin token once, then a cookie that scripts can't read.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use super::{
    Port,
    auth::{COOKIE, Guard, cookie, is_admin, is_same_origin},
    error_response,
};
use crate::{
    clock::now_ms,
    pki::{Secret, hash_secret},
    service::ServiceError,
};

/// Life of a login.
const LOGIN_LIFE_SECONDS: i64 = 30 * 24 * 3600;
/// Logins at the same time; the oldest ends when there are more.
const MAX_LOGINS: i64 = 1_000;

#[derive(serde::Deserialize)]
pub(super) struct Login {
    token: String,
}

/// `POST /login {"token": "efa_…"}` → 204 and the cookie.
pub(super) async fn login(
    State(guard): State<Guard>,
    uri: Uri,
    headers: HeaderMap,
    Json(login): Json<Login>,
) -> Response {
    if !is_same_origin(&headers, &uri, false) {
        return (StatusCode::FORBIDDEN, "refused: another web page\n").into_response();
    }
    if !is_admin(&guard.app, login.token.trim()) {
        guard.app.metrics.login_refused();
        return (
            StatusCode::UNAUTHORIZED,
            "this is not the admin token; it is in the file admin-token in the control plane's data folder\n",
        )
            .into_response();
    }
    let secret = Secret::random("");
    let now_ms = now_ms();
    let expires_ms = now_ms + LOGIN_LIFE_SECONDS * 1000;
    let hash = hash_secret(secret.reveal());
    let store = async {
        let mut write = guard.app.service.store().write().await?;
        write
            .add_login(&hash, now_ms, expires_ms, MAX_LOGINS)
            .await?;
        write.commit().await
    };
    if let Err(error) = store.await {
        return error_response(&ServiceError::Store(error));
    }
    let value = set_cookie(&guard, secret.reveal(), LOGIN_LIFE_SECONDS);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, value)]).into_response()
}

/// `GET /login` → 204 when the cookie is valid, else 401.
pub(super) async fn state(State(guard): State<Guard>, headers: HeaderMap) -> Response {
    let Some(session) = cookie(&headers) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let known = guard
        .app
        .service
        .store()
        .login_is_valid(&hash_secret(session), now_ms())
        .await;
    match known {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => StatusCode::UNAUTHORIZED.into_response(),
        Err(error) => error_response(&ServiceError::Store(error)),
    }
}

/// `POST /logout` → 204; the login has ended.
pub(super) async fn logout(State(guard): State<Guard>, uri: Uri, headers: HeaderMap) -> Response {
    if !is_same_origin(&headers, &uri, false) {
        return (StatusCode::FORBIDDEN, "refused: another web page\n").into_response();
    }
    if let Some(session) = cookie(&headers) {
        let hash = hash_secret(session);
        let store = async {
            let mut write = guard.app.service.store().write().await?;
            write.delete_login(&hash).await?;
            write.commit().await
        };
        if let Err(error) = store.await {
            return error_response(&ServiceError::Store(error));
        }
    }
    let value = set_cookie(&guard, "", 0);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, value)]).into_response()
}

fn set_cookie(guard: &Guard, value: &str, max_age: i64) -> String {
    let secure = if guard.port == Port::Tls {
        "; Secure"
    } else {
        ""
    };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={max_age}{secure}")
}
