//! No control plane, or not this one: messages that say what to do, exit code 3.

use std::net::TcpListener;

use crate::run::Home;

#[test]
fn without_any_control_plane_the_ways_to_get_one_are_named() {
    let ran = Home::new().run(&["get", "systems"]).expect(3);
    assert!(
        ran.stderr.contains("there is no control plane to talk to"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("edgeflow local system.yaml"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("edgeflow context add"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout, "");
}

#[test]
fn a_refused_connection_names_the_address_and_the_reason() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let server = format!("http://127.0.0.1:{port}");
    let ran = Home::new()
        .run(&["--server", &server, "get", "devices"])
        .expect(3);
    assert!(
        ran.stderr
            .contains(&format!("can't reach the control plane at {server}")),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.to_lowercase().contains("refused"),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_address_file_without_a_process_behind_it_is_told_apart() {
    let home = Home::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    home.write("control-plane/admin-token", "efa_x\n");
    home.write(
        "control-plane/addresses.json",
        &format!("{{\"listen\":\"127.0.0.1:1\",\"http\":\"127.0.0.1:{port}\"}}"),
    );
    let ran = home.run(&["get", "devices"]).expect(3);
    assert!(ran.stderr.contains("left its address"), "{}", ran.stderr);
}

#[test]
fn tls_without_a_ca_is_refused_before_anything_is_sent() {
    let ran = Home::new()
        .env("EDGEFLOW_TOKEN", "efa_secret")
        .run(&["--server", "https://edge.example:7443", "get", "devices"])
        .expect(3);
    assert!(ran.stderr.contains("--ca ca.crt"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("efa_secret"));
}

#[test]
fn doctor_fails_and_says_so_for_programs_too() {
    let ran = Home::new().run(&["doctor", "-o", "json"]).expect(1);
    let checks = ran.json();
    let server = checks
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == "server")
        .unwrap();
    assert_eq!(server["state"], "failed");
    assert!(server["fix"].as_str().unwrap().contains("edgeflow local"));
    for name in ["token", "devices", "systems"] {
        let check = checks
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["name"] == name)
            .unwrap();
        assert_eq!(check["state"], "skipped", "{name}");
    }
}
