//! `edgeflow set`: what it asks, and how it ends.

use edgeflow_proto::v1::{self, ParamsProgress, param_value::Value};

use crate::fake::{Fake, State};

fn outcome(progress: ParamsProgress, online: bool, message: &str) -> v1::ParamsOutcome {
    v1::ParamsOutcome {
        instance: "entrance.detect.0".into(),
        device_name: "pi-1".into(),
        progress: progress.into(),
        message: message.into(),
        online,
    }
}

fn fake(outcomes: Vec<v1::ParamsOutcome>, withdrawn: bool) -> Fake {
    Fake::start(State {
        set_answer: v1::SetParamsResponse {
            outcomes,
            withdrawn,
            ..Default::default()
        },
        ..Default::default()
    })
}

const SET: [&str; 4] = ["set", "entrance", "detect", "threshold=0.6"];

#[test]
fn values_are_sent_as_typed_and_resets_by_name() {
    let fake = fake(vec![outcome(ParamsProgress::Applied, true, "")], false);
    let words = [&SET[..], &["labels-", "note=a=b-", "--durable"]].concat();
    let ran = fake.home.run(&words).expect(0);
    assert!(ran.stdout.contains("applied"), "{}", ran.stdout);
    let state = fake.state.lock().unwrap();
    let request = &state.set[0];
    let sent: Vec<_> = request
        .set
        .iter()
        .map(|one| (one.name.as_str(), one.value.clone()))
        .collect();
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    assert_eq!(sent, [("threshold", text("0.6")), ("note", text("a=b-"))]);
    assert_eq!(request.reset, ["labels"]);
    assert!(request.durable && request.wait_ms == 30_000);
}

#[test]
fn problems_are_shown_and_end_with_4() {
    let fake = Fake::start(State {
        set_answer: v1::SetParamsResponse {
            problems: vec![v1::Problem {
                code: "out-of-range".into(),
                severity: "error".into(),
                message: "parameter `threshold` of node `detect`: 2 is out of range".into(),
                hint: "it has to be from 0 to 1".into(),
                length: 1,
                ..Default::default()
            }],
            ..Default::default()
        },
        ..Default::default()
    });
    let ran = fake.home.run(&SET).expect(4);
    for part in ["2 is out of range", "from 0 to 1", "nothing was changed"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}

#[test]
fn a_refusal_is_1_a_slow_node_6_and_an_offline_device_0() {
    let refused = outcome(ParamsProgress::Refused, true, "no class `fase`");
    let ran = fake(vec![refused], true).home.run(&SET).expect(1);
    assert!(ran.stderr.contains("no class `fase`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("taken back"), "{}", ran.stderr);
    let busy = outcome(ParamsProgress::Pending, true, "the node is busy");
    let ran = fake(vec![busy.clone()], false).home.run(&SET).expect(6);
    assert!(ran.stderr.contains("the node is busy"), "{}", ran.stderr);
    let no_wait = [&SET[..], &["--no-wait"]].concat();
    fake(vec![busy], false).home.run(&no_wait).expect(0);
    let offline = outcome(ParamsProgress::Pending, false, "offline");
    let json = [&SET[..], &["-o", "json"]].concat();
    let ran = fake(vec![offline], false).home.run(&json).expect(0);
    assert_eq!(ran.json()["outcomes"][0]["state"], "pending");
}
