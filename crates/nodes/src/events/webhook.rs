//! Posts events as JSON to an address.

use std::time::Duration;

use edgeflow::NodeError;
use edgeflow_runtime::http;

use super::courier::{Deliver, Failed};

/// Longest call.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Delivers to `url`, with `token` as a bearer token if it is not empty. The address may hold a secret: only
/// its host is ever told.
pub(super) fn deliver(url: &str, token: &str) -> Result<Deliver, NodeError> {
    let address: ureq::http::Uri = url
        .parse()
        .map_err(|_| NodeError::new("parameter `webhook` is no address"))?;
    let host = address.host().unwrap_or_default().to_owned();
    if !matches!(address.scheme_str(), Some("http" | "https")) || host.is_empty() {
        return Err(NodeError::new(
            "parameter `webhook` is an address like https://example.com/hook",
        ));
    }
    let client = http::client(CALL_TIMEOUT);
    let bearer = (!token.is_empty()).then(|| format!("Bearer {token}"));
    Ok(Box::new(move |message| {
        let mut request = client
            .post(address.clone())
            .header("content-type", "application/json");
        if let Some(bearer) = &bearer {
            request = request.header("authorization", bearer);
        }
        let response = request
            .send(message)
            .map_err(|error| Failed::Later(format!("{host}: {error}")))?;
        let status = response.status();
        let text = format!("{host} answers {status}");
        match status.as_u16() {
            200..=299 => Ok(()),
            // A wrong token can be put right; a timeout and a limit pass.
            401 | 403 | 404 | 408 | 425 | 429 => Err(Failed::Later(text)),
            400..=499 => Err(Failed::Never(text)),
            _ => Err(Failed::Later(text)),
        }
    }))
}
