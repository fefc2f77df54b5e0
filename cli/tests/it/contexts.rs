//! The configuration file.

use std::os::unix::fs::PermissionsExt;

use crate::run::Home;

const FILE: &str = ".config/edgeflow/config.toml";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn add(home: &Home, name: &str) {
    let ca = home.write("ca.crt", CERTIFICATE);
    let token = home.write("token", "efa_secret\n");
    home.run(&[
        "context",
        "add",
        name,
        "--server",
        "https://edge.example",
        "--ca",
        &ca,
        "--token-file",
        &token,
    ])
    .expect(0);
}

#[test]
fn the_first_context_becomes_current_and_the_file_is_private() {
    let home = Home::new();
    add(&home, "berlin");
    add(&home, "paris");
    let listed = home
        .run(&["context", "list", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(listed[0]["name"], "berlin");
    assert_eq!(listed[0]["current"], true);
    assert_eq!(listed[0]["server"], "https://edge.example:7443");
    assert_eq!(listed[1]["current"], false);
    assert_eq!(
        home.run(&["context", "current"]).expect(0).stdout,
        "berlin\n"
    );
    let mode = std::fs::metadata(home.path(FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = home.run(&["context", "list"]).expect(0);
    assert!(!shown.stdout.contains("efa_secret"));
}

#[test]
fn contexts_are_switched_and_removed() {
    let home = Home::new();
    add(&home, "berlin");
    add(&home, "paris");
    home.run(&["context", "use", "paris"]).expect(0);
    assert_eq!(
        home.run(&["context", "current"]).expect(0).stdout,
        "paris\n"
    );
    home.run(&["context", "remove", "paris"]).expect(0);
    home.run(&["context", "current"]).expect(5);
    let ran = home.run(&["context", "use", "rome"]).expect(5);
    assert!(ran.stderr.contains("use one of: berlin"), "{}", ran.stderr);
    let ran = home.run(&["--context", "rome", "get", "systems"]).expect(5);
    assert!(
        ran.stderr.contains("there is no context `rome`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_context_is_not_replaced_by_accident() {
    let home = Home::new();
    add(&home, "berlin");
    let ran = home
        .run(&["context", "add", "berlin", "--server", "https://other"])
        .expect(7);
    assert!(ran.stderr.contains("--replace"), "{}", ran.stderr);
    home.run(&[
        "context",
        "add",
        "berlin",
        "--server",
        "https://other",
        "--replace",
    ])
    .expect(0);
}

#[test]
fn a_damaged_file_is_named_with_the_place() {
    let home = Home::new();
    home.write(FILE, "current = \"a\"\ncontexts = 7 8\n");
    let ran = home.run(&["get", "systems"]).expect(1);
    assert!(ran.stderr.contains("config.toml"), "{}", ran.stderr);
    assert!(ran.stderr.contains("line 2"), "{}", ran.stderr);
}
