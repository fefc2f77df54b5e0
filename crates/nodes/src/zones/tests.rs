//! Somebody walks through the picture.

use edgeflow::testing::{Fixture, Setup, node};
use edgeflow::{Codec, Frame, Track};
use serde_json::{Value, json};

use super::*;

const PICTURE_MS: i64 = 100;

fn fixture(params: Value) -> Fixture<Zones> {
    node(&Setup::default(), params).unwrap()
}

fn door() -> Value {
    json!({
        "zones": {"door": [[0.4, 0.0], [0.6, 0.0], [0.6, 1.0], [0.4, 1.0]]},
        "lines": {"sill": [[0.5, 0.0], [0.5, 1.0]]},
    })
}

/// A track whose feet are at a share of the picture's width.
fn walker(id: u64, share: f32) -> Track {
    Track {
        id,
        label: "person".to_owned(),
        score: 0.9,
        x: share * 1000.0 - 20.0,
        y: 300.0,
        w: 40.0,
        h: 100.0,
        seen_ms: 0,
        outline: Vec::new(),
    }
}

fn step(fixture: &mut Fixture<Zones>, number: i64, tracks: &[Track]) -> Value {
    let mut frame = Frame::new(Codec::Jpeg, vec![1]);
    (frame.header.width, frame.header.height) = (1000, 500);
    frame.header.capture_ns = 1_000_000_000 + number * PICTURE_MS * 1_000_000;
    let mut meta = frame.read_meta().unwrap();
    meta.set_tracks(tracks).unwrap();
    frame.set_meta(&meta);
    let sent = fixture.process("in", frame).unwrap();
    let meta = sent[0].1.read_meta().unwrap();
    assert_eq!(meta.tracks().unwrap(), tracks);
    meta.get("zones").unwrap().unwrap()
}

#[test]
fn one_who_walks_through_enters_crosses_and_leaves_once() {
    let mut fixture = fixture(door());
    let mut events = Vec::new();
    let mut most = 0;
    for n in 0..40 {
        let report = step(&mut fixture, n, &[walker(7, 0.9 - 0.02 * n as f32)]);
        most = most.max(report["zones"][0]["count"].as_u64().unwrap());
        let told = report["events"].as_array().unwrap().clone();
        events.extend(told.into_iter().map(|event| (n, event)));
    }
    let kinds: Vec<_> = events
        .iter()
        .map(|(_, e)| e["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["entered", "forward", "left"]);
    assert_eq!(most, 1);
    assert!(events.iter().all(|(_, event)| event["track"] == 7));
    // 0.2 of the width at 0.02 a picture.
    let stayed = events[2].1["stayed_ms"].as_i64().unwrap();
    assert!((900..=1100).contains(&stayed), "{stayed}");
    let last = step(&mut fixture, 40, &[]);
    let (zone, line) = (&last["zones"][0], &last["lines"][0]);
    assert_eq!((&zone["entered"], &zone["left"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&line["forward"], &line["backward"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(zone["points"][1], json!([600.0, 0.0]), "in pixels");
}

#[test]
fn feet_count_and_not_the_middle() {
    let params = json!({"zones": {"floor": [[0.0, 0.8], [1.0, 0.8], [1.0, 1.0], [0.0, 1.0]]}, "settle_ms": 0});
    let mut fixture = fixture(params);
    let mut near = walker(1, 0.5);
    near.y = 310.0;
    // The box reaches from 310 to 410 of 500.
    assert_eq!(step(&mut fixture, 0, &[near])["zones"][0]["count"], 1);
}

#[test]
fn trembling_at_the_border_is_no_coming_and_going() {
    let mut fixture = fixture(door());
    for n in 0..40 {
        let share = if n % 2 == 0 { 0.395 } else { 0.405 };
        step(&mut fixture, n, &[walker(1, share)]);
    }
    let report = step(&mut fixture, 40, &[walker(1, 0.395)]);
    assert_eq!(report["zones"][0]["entered"], 0);
}

#[test]
fn one_who_vanishes_has_left() {
    let mut fixture = fixture(door());
    for n in 0..10 {
        step(&mut fixture, n, &[walker(1, 0.45)]);
    }
    assert_eq!(step(&mut fixture, 20, &[])["zones"][0]["count"], 1);
    let gone = step(&mut fixture, 40, &[]);
    assert_eq!(gone["zones"][0]["count"], 0);
    assert_eq!(gone["events"][0]["kind"], "left");
    assert_eq!(gone["events"][0]["stayed_ms"], 900);
}

#[test]
fn only_the_wanted_labels_count_and_the_longest_stay_is_told() {
    let mut params = door();
    params["labels"] = json!(["dog"]);
    let mut fixture = fixture(params);
    let mut dog = walker(2, 0.45);
    dog.label = "dog".to_owned();
    let mut report = Value::Null;
    for n in 0..=20 {
        let walker = walker(1, 0.45);
        let mut frame = vec![walker];
        if n >= 10 {
            frame.push(dog.clone());
        }
        report = step(&mut fixture, n, &frame);
    }
    assert_eq!(report["zones"][0]["count"], 1);
    assert_eq!(report["zones"][0]["longest_ms"], 1000);
}

#[test]
fn what_is_wrong_is_told_by_name() {
    for (params, said) in [
        (json!({}), "`zones` or `lines`"),
        (json!({"zones": {"door": [[0, 0], [1, 1]]}}), "zone `door`"),
        (
            json!({"lines": {"sill": [[0, 0], [1, 1], [0, 1]]}}),
            "line `sill`",
        ),
        (
            json!({"lines": {"sill": [[0, 0], [100, 1]]}}),
            "from 0 to 1",
        ),
    ] {
        let error = node::<Zones>(&Setup::default(), params).unwrap_err();
        assert!(error.chain().contains(said), "{}", error.chain());
    }
    let mut fixture = fixture(door());
    let error = fixture
        .process("in", Frame::jpeg(1, 1, vec![1]))
        .unwrap_err();
    assert!(error.chain().contains("`track`"), "{}", error.chain());
}
