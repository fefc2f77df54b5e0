//! Lists, details, logs, events and small changes.

use edgeflow_proto::v1;

use crate::fake::{Fake, State};

fn fake() -> Fake {
    let system = |name: &str, phase: v1::SystemPhase| v1::System {
        name: name.into(),
        revision: 2,
        status: Some(v1::SystemStatus {
            phase: phase.into(),
            instances_desired: 2,
            instances_ready: 1,
            devices_matched: 1,
            ..Default::default()
        }),
        ..Default::default()
    };
    let device = v1::Device {
        id: "00ff".into(),
        name: "pi-1".into(),
        online: true,
        health: v1::DeviceHealth::Ready.into(),
        facts: Some(v1::DeviceFacts {
            arch: "aarch64".into(),
            agent_version: "0.1.0".into(),
            cameras: vec![v1::Camera {
                path: "/dev/video0".into(),
                name: "USB".into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    Fake::start(State {
        systems: vec![
            system("a", v1::SystemPhase::Ready),
            system("b", v1::SystemPhase::Degraded),
        ],
        devices: vec![device],
        events: vec![v1::Event {
            id: 1,
            at_unix_ms: 1_700_000_000_000,
            severity: "warning".into(),
            reason: "InstanceExited".into(),
            message: "exited with code 3".into(),
            instance: "a.x.0".into(),
            device_name: "pi-1".into(),
            ..Default::default()
        }],
        logs: vec![v1::LogLine {
            at_unix_ms: 1_700_000_000_000,
            instance: "a.x.0".into(),
            device_name: "pi-1".into(),
            text: r#"{"level":"INFO","message":"hello","n":1}"#.into(),
            ..Default::default()
        }],
        ..Default::default()
    })
}

#[test]
fn tables_line_up_and_names_are_bare() {
    let fake = fake();
    let ran = fake.home.run(&["get", "systems"]).expect(0);
    insta::assert_snapshot!(ran.stdout, @r"
    SYSTEM  PHASE     READY  DEVICES  REVISION  UPDATED  MESSAGE
    a       ready     1/2    0/1      2         -
    b       degraded  1/2    0/1      2         -
    ");
    assert_eq!(
        fake.home
            .run(&["get", "systems", "-o", "name"])
            .expect(0)
            .stdout,
        "a\nb\n"
    );
    assert_eq!(
        fake.home
            .run(&["get", "system", "b", "-o", "name"])
            .expect(0)
            .stdout,
        "b\n"
    );
    let cameras = fake
        .home
        .run(&["get", "cameras", "-o", "name"])
        .expect(0)
        .stdout;
    assert_eq!(cameras, "pi-1:/dev/video0\n");
    fake.home.run(&["get", "system", "nope"]).expect(5);
}

#[test]
fn json_and_yaml_have_the_same_fields() {
    let fake = fake();
    let json = fake
        .home
        .run(&["get", "devices", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(json[0]["name"], "pi-1");
    assert_eq!(json[0]["health"], "ready");
    assert_eq!(json[0]["facts"]["arch"], "aarch64");
    assert_eq!(json[0]["last_seen_at"], serde_json::Value::Null);
    let yaml = fake
        .home
        .run(&["get", "devices", "-o", "yaml"])
        .expect(0)
        .stdout;
    let parsed: serde_json::Value = serde_norway::from_str(&yaml).unwrap();
    assert_eq!(parsed, json);
}

#[test]
fn an_empty_list_says_how_to_fill_it_on_stderr_only() {
    let fake = Fake::start(State::default());
    let ran = fake.home.run(&["get", "devices"]).expect(0);
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("edgeflow token create"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        fake.home
            .run(&["get", "devices", "-o", "json"])
            .expect(0)
            .stdout,
        "[]\n"
    );
}

#[test]
fn describe_shows_one_and_knows_what_is_not_there() {
    let fake = fake();
    let ran = fake.home.run(&["describe", "device", "pi-1"]).expect(0);
    assert!(ran.stdout.contains("/dev/video0"), "{}", ran.stdout);
    fake.home.run(&["describe", "system", "a"]).expect(0);
    fake.home.run(&["describe", "system", "nope"]).expect(5);
}

#[test]
fn logs_and_events_are_lines_or_json_lines() {
    let fake = fake();
    let ran = fake.home.run(&["logs", "a/x"]).expect(0);
    assert_eq!(
        ran.stdout,
        "2023-11-14 22:13:20.000 pi-1 a.x.0 | info hello n=1\n"
    );
    let raw = fake.home.run(&["logs", "a", "--raw"]).expect(0).stdout;
    assert!(raw.contains(r#"{"level":"INFO""#), "{raw}");
    let ran = fake.home.run(&["events"]).expect(0);
    assert_eq!(
        ran.stdout,
        "2023-11-14 22:13:20.000 InstanceExited pi-1 a.x.0: exited with code 3\n"
    );
    let json = fake.home.run(&["events", "-o", "json"]).expect(0).json();
    assert_eq!(json["device"], "pi-1");
    assert_eq!(json["at"], "2023-11-14T22:13:20Z");
}

#[test]
fn nothing_is_deleted_without_a_yes() {
    let fake = fake();
    let ran = fake.home.run(&["delete", "system", "a"]).expect(2);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert!(fake.state.lock().unwrap().deleted.is_empty());
    fake.home.run(&["delete", "system", "a", "--yes"]).expect(0);
    assert_eq!(fake.state.lock().unwrap().deleted, ["a"]);
}

#[test]
fn labels_are_set_and_removed_in_one_call() {
    let fake = fake();
    fake.home
        .run(&["label", "device", "pi-1", "site=berlin", "old-"])
        .expect(0);
    let state = fake.state.lock().unwrap();
    assert_eq!(state.labelled[0].set["site"], "berlin");
    assert_eq!(state.labelled[0].remove, ["old"]);
}

#[test]
fn a_new_token_comes_as_the_command_to_run() {
    let fake = fake();
    let ran = fake.home.run(&["token", "create"]).expect(0);
    assert_eq!(
        ran.stdout,
        "edgeflow-agent --server edge.example:7443 --join EF1.hash.abc.secret\n"
    );
    assert_eq!(
        fake.home
            .run(&["token", "create", "-o", "name"])
            .expect(0)
            .stdout,
        "EF1.hash.abc.secret\n"
    );
    fake.home.run(&["token", "delete", "abc"]).expect(5);
}

#[test]
fn history_lists_newest_first_and_prints_a_manifest() {
    let fake = fake();
    assert_eq!(
        fake.home
            .run(&["history", "a", "-o", "name"])
            .expect(0)
            .stdout,
        "2\n1\n"
    );
    assert_eq!(
        fake.home
            .run(&["history", "a", "--revision", "1"])
            .expect(0)
            .stdout,
        "# 1\n"
    );
    fake.home
        .run(&["history", "a", "--revision", "7"])
        .expect(5);
}

#[test]
fn doctor_names_a_degraded_system() {
    let fake = fake();
    let ran = fake.home.run(&["doctor", "-o", "json"]).expect(1);
    let checks = ran.json();
    let find = |name: &str| {
        checks
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(find("server")["state"], "ok");
    assert_eq!(find("token")["state"], "ok");
    assert_eq!(find("version")["state"], "ok");
    assert_eq!(find("devices")["state"], "ok");
    assert_eq!(find("systems")["state"], "failed");
    assert_eq!(find("systems")["fix"], "edgeflow describe system b");
}

#[test]
fn dead_letters_are_listed_and_replayed() {
    let fake = fake();
    let ran = fake.home.run(&["deadletters", "list", "a"]).expect(0);
    assert!(ran.stdout.contains("1700000000000-42"), "{}", ran.stdout);
    assert!(ran.stdout.contains("camera->detect"), "{}", ran.stdout);
    let ran = fake
        .home
        .run(&["deadletters", "list", "a", "camera", "-o", "json"])
        .expect(0);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let [letter] = &json.as_array().unwrap()[..] else {
        panic!("one letter: {json}")
    };
    assert_eq!(letter["consumer"], "detect");
    assert_eq!(
        (letter["sequence"].as_u64(), letter["deliveries"].as_u64()),
        (Some(42), Some(5))
    );
    let replay = ["deadletters", "replay", "a", "camera"];
    let with = |more: &[&'static str]| [&replay[..], more].concat();
    let ran = fake.home.run(&with(&["--all"])).expect(0);
    assert_eq!(ran.stdout.trim(), "1 sent once more, 0 left");
    let ran = fake
        .home
        .run(&with(&["--id", "1700000000000-42", "-o", "json"]))
        .expect(0);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["replayed"], 1);
    let ran = fake.home.run(&with(&["--id", "7"])).expect(1);
    assert!(ran.stderr.contains("no dead letter 7"), "{}", ran.stderr);
    fake.home.run(&with(&[])).expect(2);
    fake.home.run(&["deadletters", "list", "b"]).expect(5);
}
