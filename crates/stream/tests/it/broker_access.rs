//! Who may use a broker: passwords, users with few rights, TLS. Skipped where no redis-server is
//! installed, or where it has no TLS.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use edgeflow_spec::broker::Broker;
use edgeflow_spec::qos::LinkQos;
use edgeflow_testkit::Redis;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::broker_fixture::*;
use crate::support::*;

/// What a user of the broker has to be allowed, as in docs/frames-and-links.md.
const RIGHTS: &[&str] = &[
    "~edgeflow:*",
    "+xadd",
    "+xlen",
    "+xgroup|create",
    "+xreadgroup",
    "+xautoclaim",
    "+xack",
    "+xdel",
    "+xrange",
    "+set",
    "+mget",
    "+del",
    "+hset",
    "+hget",
    "+hmget",
    "+hincrby",
    "+hdel",
    "+get",
    "+lindex",
    "+rpush",
    "+lrem",
    "+multi",
    "+exec",
    "+select",
];

fn start(dir: &Path) -> Option<Redis> {
    if !Redis::is_installed() {
        eprintln!("skipped: redis-server is not installed");
        return None;
    }
    Some(Redis::start(dir, &[]).unwrap())
}

/// Sends frames of both kinds to the end and back.
fn works(fixture: &Fixture) {
    fixture.publisher.send(sized(0, 200_000)).unwrap();
    fixture.send(1..20);
    let mut consumer = fixture.consumer("c.0");
    assert_eq!(
        expect_numbers(&mut consumer, 20),
        (0..20).collect::<Vec<_>>()
    );
    consumer.ack();
    fixture.drained();
}

#[test]
fn a_user_with_the_documented_rights_can_do_everything() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = start(dir.path()) else {
        return;
    };
    let mut words = vec!["acl", "setuser", "cam", "on", ">sesame"];
    words.extend(RIGHTS);
    assert_eq!(redis.command(&words).unwrap(), "OK");
    let password_file = dir.path().join("password");
    fs::write(&password_file, "sesame\n").unwrap();
    let broker = Broker {
        password_file: Some(password_file),
        ..Broker::at(format!("{}?user=cam", redis.address()))
    };
    let fixture = Fixture::over(redis, broker, LinkQos::durable(), dir);
    works(&fixture);
    fixture.send(20..23);
    fixture.stored(23);
    let heir = key().replace("p.0", "p.1");
    let removed =
        edgeflow_stream::broker::admin::remove_stream(&fixture.broker, &key(), GROUP, Some(&heir));
    assert_eq!(removed.unwrap().moved, 3);
}

#[test]
fn a_user_without_a_right_is_told_which() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = start(dir.path()) else {
        return;
    };
    let mut words = vec!["acl", "setuser", "cam", "on", ">sesame"];
    words.extend(RIGHTS.iter().filter(|right| **right != "+xadd"));
    redis.command(&words).unwrap();
    let password_file = dir.path().join("password");
    fs::write(&password_file, "sesame").unwrap();
    let broker = Broker {
        password_file: Some(password_file),
        ..Broker::at(format!("{}?user=cam", redis.address()))
    };
    let fixture = Fixture::over(redis, broker, LinkQos::durable(), dir);
    fixture.send(0..1);
    let problem = fixture.problem();
    assert!(problem.contains("xadd"), "{problem}");
    assert!(!problem.contains("sesame"), "{problem}");
}

/// A server certificate for this host, and the authority that signed it. Their files.
fn certificates(dir: &Path) -> [std::path::PathBuf; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let files = ["ca.pem", "server.pem", "server.key"].map(|name| dir.join(name));
    fs::write(&files[0], authority.pem()).unwrap();
    fs::write(&files[1], certificate.pem()).unwrap();
    fs::write(&files[2], key.serialize_pem()).unwrap();
    files
}

/// Makes a running server listen with TLS. Its address; `None`, with a note, if it can't.
fn add_tls(redis: &Redis, dir: &Path) -> Option<String> {
    if redis
        .command(&["config", "get", "tls-port"])
        .unwrap()
        .is_empty()
    {
        eprintln!("skipped: this redis-server has no TLS");
        return None;
    }
    let [ca, certificate, key] = certificates(dir).map(|path| path.display().to_string());
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let port = port.to_string();
    let set = [
        "config",
        "set",
        "tls-ca-cert-file",
        &ca,
        "tls-cert-file",
        &certificate,
        "tls-key-file",
        &key,
        "tls-auth-clients",
        "no",
        "tls-port",
        &port,
    ];
    assert_eq!(redis.command(&set).unwrap(), "OK");
    Some(format!("rediss://127.0.0.1:{port}"))
}

#[test]
fn frames_travel_over_tls_with_a_private_authority() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = start(dir.path()) else {
        return;
    };
    let Some(address) = add_tls(&redis, dir.path()) else {
        return;
    };
    let broker = Broker {
        ca_file: Some(dir.path().join("ca.pem")),
        ..Broker::at(address)
    };
    let fixture = Fixture::over(redis, broker, LinkQos::durable(), dir);
    works(&fixture);
}

#[test]
fn a_server_of_another_authority_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = start(dir.path()) else {
        return;
    };
    let Some(address) = add_tls(&redis, dir.path()) else {
        return;
    };
    let stranger = tempfile::tempdir().unwrap();
    let [ca, ..] = certificates(stranger.path());
    let broker = Broker {
        ca_file: Some(ca),
        ..Broker::at(address)
    };
    let fixture = Fixture::over(redis, broker, LinkQos::durable(), dir);
    fixture.send(0..3);
    let problem = fixture.problem();
    assert!(problem.contains("certificate"), "{problem}");
    assert_eq!(fixture.redis.command(&["keys", "*"]).unwrap(), "");
}

#[test]
fn a_server_without_a_known_authority_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = start(dir.path()) else {
        return;
    };
    let Some(address) = add_tls(&redis, dir.path()) else {
        return;
    };
    let fixture = Fixture::over(redis, Broker::at(address), LinkQos::durable(), dir);
    fixture.send(0..1);
    let problem = fixture.problem();
    assert!(problem.contains("certificate"), "{problem}");
}
