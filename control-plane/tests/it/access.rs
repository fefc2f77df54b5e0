//! Who may ask, over HTTP and gRPC.

use edgeflow_proto::v1::{self, control_service_client::ControlServiceClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, transport::Endpoint};

use crate::harness::Fixture;

/// One HTTP/1.1 request; the answer as text.
pub(crate) async fn http(
    fixture: &Fixture,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> String {
    let address = fixture.server.http();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let host = if headers.iter().any(|header| header.starts_with("host:")) {
        String::new()
    } else {
        format!("host: {address}\r\n")
    };
    let headers: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{host}{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn code(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("")
}

#[tokio::test]
async fn health_is_open_and_everything_else_needs_a_login() {
    let fixture = Fixture::start().await;
    for open in ["/healthz", "/readyz", "/"] {
        let answer = http(&fixture, "GET", open, &[], "").await;
        assert_eq!(code(&answer), "200", "{open}: {answer}");
    }
    for private in ["/metrics", "/video/a/b", "/snapshot/a/b.jpg", "/ws/view"] {
        let answer = http(&fixture, "GET", private, &[], "").await;
        assert_eq!(code(&answer), "401", "{private}: {answer}");
    }
    let bearer = format!("authorization: Bearer {}", fixture.server.admin_token());
    let answer = http(&fixture, "GET", "/metrics", &[&bearer], "").await;
    assert!(answer.contains("edgeflow_systems 0"), "{answer}");
    assert!(
        answer.contains("edgeflow_devices{health=\"ready\"} 0"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_foreign_host_header_is_refused_on_the_plain_port() {
    let fixture = Fixture::start().await;
    let answer = http(&fixture, "GET", "/healthz", &["host: evil.example"], "").await;
    assert_eq!(code(&answer), "421", "{answer}");
}

#[tokio::test]
async fn a_login_gives_a_cookie_that_survives_a_restart_and_ends_with_a_logout() {
    let fixture = Fixture::start().await;
    let json = "content-type: application/json";
    let wrong = http(&fixture, "POST", "/login", &[json], r#"{"token":"efa_x"}"#).await;
    assert_eq!(code(&wrong), "401");
    let body = format!(r#"{{"token":"{}"}}"#, fixture.server.admin_token());
    let answer = http(&fixture, "POST", "/login", &[json], &body).await;
    assert_eq!(code(&answer), "204", "{answer}");
    assert!(answer.contains("HttpOnly; SameSite=Strict"), "{answer}");
    let cookie = answer
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .and_then(|line| line.split(';').next())
        .map(|pair| format!("cookie: {pair}"))
        .unwrap();

    let fixture = fixture.restart().await;
    let answer = http(&fixture, "GET", "/metrics", &[&cookie], "").await;
    assert_eq!(code(&answer), "200", "{answer}");
    // A foreign page can send the cookie, but not our origin.
    let foreign = [&*cookie, "origin: http://evil.example"];
    let answer = http(&fixture, "GET", "/metrics", &foreign, "").await;
    assert_eq!(code(&answer), "403", "{answer}");
    let socket = [&*cookie, "upgrade: websocket"];
    let answer = http(&fixture, "GET", "/ws/view", &socket, "").await;
    assert_eq!(code(&answer), "403", "{answer}");

    let answer = http(&fixture, "POST", "/logout", &[&cookie], "").await;
    assert_eq!(code(&answer), "204");
    let answer = http(&fixture, "GET", "/metrics", &[&cookie], "").await;
    assert_eq!(code(&answer), "401");
}

#[tokio::test]
async fn grpc_needs_the_admin_token_on_both_ports() {
    let fixture = Fixture::start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", fixture.server.http())).unwrap();
    let plain = endpoint.connect().await.unwrap();
    let tls = fixture.stranger().await;
    for channel in [plain, tls] {
        let error = ControlServiceClient::new(channel)
            .list_systems(v1::ListSystemsRequest {})
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
        assert!(error.message().contains("admin-token"), "{error}");
    }
    // A device's certificate is no admin token.
    let agent = fixture.join("cam").await;
    let error = ControlServiceClient::new(agent.channel)
        .list_devices(v1::ListDevicesRequest::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_browser_speaks_grpc_web() {
    let fixture = Fixture::start().await;
    let bearer = format!("authorization: Bearer {}", fixture.server.admin_token());
    let headers = [&*bearer, "content-type: application/grpc-web+proto"];
    let path = "/edgeflow.v1.ControlService/ListSystems";
    let answer = http(&fixture, "POST", path, &headers, "\0\0\0\0\0").await;
    assert_eq!(code(&answer), "200", "{answer}");
    assert!(answer.contains("grpc-status:0"), "{answer}");
}

#[tokio::test]
async fn agents_have_no_service_on_the_plain_port() {
    let fixture = Fixture::start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", fixture.server.http())).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let error = v1::enrollment_service_client::EnrollmentServiceClient::new(channel)
        .enroll(v1::EnrollRequest::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}
