//! Who gets in, and who does not.

use edgeflow_proto::v1::{self, enrollment_service_client::EnrollmentServiceClient};
use tonic::Code;

use crate::harness::{Fixture, facts};

#[tokio::test]
async fn a_device_joins_with_the_labels_of_its_token_and_its_facts() {
    let fixture = Fixture::start().await;
    let token = fixture.labelled_token(1, &[("site", "berlin")]).await;
    let agent = fixture.try_join(&token, "cam-1").await.unwrap();
    assert_eq!(agent.name, "cam-1");
    let device = fixture.device_until("cam-1", |_| true).await;
    assert_eq!(device.labels["site"], "berlin");
    assert_eq!(device.labels["own"], "yes");
    assert_eq!(device.facts.as_ref().unwrap().arch, "aarch64");
    assert_eq!(device.health(), v1::DeviceHealth::Pending);
}

#[tokio::test]
async fn wrong_expired_and_used_up_tokens_are_refused_with_the_reason() {
    let fixture = Fixture::start().await;
    let mut wrong = fixture.token(1).await;
    wrong.secret.push('x');
    let error = fixture.try_join(&wrong, "a").await.err().unwrap();
    assert_eq!(error.code(), Code::Unauthenticated);
    assert!(error.message().contains("not known"), "{error}");

    let once = fixture.token(1).await;
    fixture.try_join(&once, "a").await.unwrap();
    let error = fixture.try_join(&once, "b").await.err().unwrap();
    assert!(error.message().contains("used up"), "{error}");

    let short = fixture
        .admin()
        .await
        .create_token(v1::CreateTokenRequest {
            ttl_seconds: 1,
            ..v1::CreateTokenRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    let token = short.secret.parse().unwrap();
    let error = crate::harness::until(async || {
        fixture
            .try_join(&token, "c")
            .await
            .err()
            .filter(|error| error.code() == Code::Unauthenticated)
    })
    .await;
    assert!(error.message().contains("expired"), "{error}");
}

#[tokio::test]
async fn a_token_is_not_used_up_by_a_join_that_fails() {
    let fixture = Fixture::start().await;
    let token = fixture.token(1).await;
    let error = fixture.try_join(&token, "Bad Name!").await.err().unwrap();
    assert_eq!(error.code(), Code::InvalidArgument);
    fixture.try_join(&token, "good").await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_online_is_kept_and_one_that_is_offline_is_taken_over() {
    let fixture = Fixture::start().await;
    let first = fixture.join("cam").await;
    let session = first.session().await;
    let token = fixture.token(0).await;
    let error = fixture.try_join(&token, "cam").await.err().unwrap();
    assert_eq!(error.code(), Code::AlreadyExists);
    assert!(error.message().contains("--name"), "{error}");

    drop(session);
    fixture.device_until("cam", |device| !device.online).await;
    let second = fixture.try_join(&token, "cam").await.unwrap();
    assert_eq!(second.id, first.id, "a flashed device keeps its identity");
    let refused = first
        .session_with(v1::Hello::default())
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    second.session().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_over_the_old_one_and_only_there() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let request = v1::RenewRequest {
        csr_der: csr.der().to_vec(),
    };
    let renewed = EnrollmentServiceClient::new(agent.channel.clone())
        .renew(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(renewed.certificate_pem.contains("BEGIN CERTIFICATE"));
    let error = EnrollmentServiceClient::new(fixture.stranger().await)
        .renew(request)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_deleted_device_is_cut_off_at_once_and_stays_out() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut session = agent.session().await;
    let request = v1::DeleteDeviceRequest {
        device: "cam".to_owned(),
    };
    fixture.admin().await.delete_device(request).await.unwrap();
    while session.next().await.is_ok() {}
    let error = agent
        .session_with(v1::Hello::default())
        .await
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn facts_that_are_too_long_are_refused() {
    let fixture = Fixture::start().await;
    let token = fixture.token(1).await;
    let error = EnrollmentServiceClient::new(fixture.stranger().await)
        .enroll(v1::EnrollRequest {
            token_id: token.id,
            token_secret: token.secret,
            name: "cam".to_owned(),
            facts: Some(v1::DeviceFacts {
                model: "x".repeat(10_000),
                ..facts()
            }),
            ..v1::EnrollRequest::default()
        })
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}
