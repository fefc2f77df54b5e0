//! Things that pass, hide and come back.

use edgeflow::testing::{Fixture, Setup, node};
use edgeflow::{Codec, Detection, Frame, Track};
use serde_json::json;

use super::*;

const PICTURE_NS: i64 = 33_333_333;

fn thing(label: &str, x: f32, y: f32, score: f32) -> Detection {
    Detection {
        label: label.into(),
        score,
        x,
        y,
        w: 40.0,
        h: 80.0,
        outline: vec![[x, y], [x + 40.0, y], [x, y + 80.0]],
    }
}

fn fixture() -> Fixture<TrackNode> {
    node(&Setup::default(), json!({})).unwrap()
}

fn step(fixture: &mut Fixture<TrackNode>, number: i64, things: &[Detection]) -> Vec<Track> {
    let mut frame = Frame::new(Codec::Jpeg, vec![number as u8]);
    frame.header.capture_ns = 1_000_000_000 + number * PICTURE_NS;
    let mut meta = frame.read_meta().unwrap();
    meta.set_detections(things).unwrap();
    frame.set_meta(&meta);
    let payload = frame.payload.clone();
    let sent = fixture.process("in", frame).unwrap();
    assert_eq!(sent[0].1.payload, payload, "the payload is untouched");
    let meta = sent[0].1.read_meta().unwrap();
    assert_eq!(meta.detections().unwrap(), things, "and the detections too");
    meta.tracks().unwrap()
}

fn ids(tracks: &[Track]) -> Vec<u64> {
    let mut ids: Vec<u64> = tracks.iter().map(|track| track.id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn two_that_pass_each_other_keep_their_numbers() {
    let mut fixture = fixture();
    let (mut left, mut right) = (0, 0);
    for n in 0..60 {
        let x = 6.0 * n as f32;
        let tracks = step(
            &mut fixture,
            n,
            &[
                thing("person", x, 100.0, 0.9),
                thing("person", 360.0 - x, 130.0, 0.9),
            ],
        );
        assert_eq!(tracks.len(), 2, "picture {n}");
        for track in &tracks {
            assert_eq!(track.outline[0], [track.x, track.y], "that of this picture");
        }
        let near = |x: f32| tracks.iter().find(|it| (it.x - x).abs() < 0.1).unwrap().id;
        if n == 0 {
            (left, right) = (near(x), near(360.0 - x));
        } else if (x - (360.0 - x)).abs() > 1.0 {
            assert_eq!((near(x), near(360.0 - x)), (left, right), "picture {n}");
        }
    }
}

#[test]
fn a_short_occlusion_keeps_the_number_and_a_long_one_does_not() {
    let mut fixture = fixture();
    let at = |n: i64| thing("person", 5.0 * n as f32, 100.0, 0.9);
    for n in 0..20 {
        assert_eq!(ids(&step(&mut fixture, n, &[at(n)])), [1]);
    }
    for n in 20..35 {
        assert_eq!(step(&mut fixture, n, &[]), []);
    }
    assert_eq!(ids(&step(&mut fixture, 35, &[at(35)])), [1]);
    for n in 36..100 {
        step(&mut fixture, n, &[]);
    }
    assert_eq!(step(&mut fixture, 100, &[at(100)]).len(), 1);
    let again = step(&mut fixture, 101, &[at(101)]);
    assert_eq!(ids(&again), [2]);
}

#[test]
fn a_thing_that_is_half_hidden_is_followed_by_its_unsure_detections() {
    let mut fixture = fixture();
    for n in 0..30 {
        let score = if (10..25).contains(&n) { 0.2 } else { 0.9 };
        let tracks = step(
            &mut fixture,
            n,
            &[thing("person", 3.0 * n as f32, 50.0, score)],
        );
        assert_eq!(ids(&tracks), [1], "picture {n}");
    }
    // An unsure one alone begins nothing.
    let mut fresh = self::fixture();
    for n in 0..5 {
        assert_eq!(step(&mut fresh, n, &[thing("person", 0.0, 0.0, 0.3)]), []);
    }
}

#[test]
fn a_flicker_gets_no_number() {
    let mut fixture = fixture();
    let stays = thing("person", 10.0, 10.0, 0.9);
    step(&mut fixture, 0, std::slice::from_ref(&stays));
    let with_flicker = [stays.clone(), thing("person", 500.0, 300.0, 0.95)];
    assert_eq!(ids(&step(&mut fixture, 1, &with_flicker)), [1]);
    assert_eq!(ids(&step(&mut fixture, 2, &[stays])), [1]);
}

#[test]
fn labels_do_not_mix() {
    let mut fixture = fixture();
    for n in 0..3 {
        step(&mut fixture, n, &[thing("person", 100.0, 100.0, 0.9)]);
    }
    for n in 3..6 {
        let tracks = step(&mut fixture, n, &[thing("dog", 100.0, 100.0, 0.9)]);
        assert!(tracks.iter().all(|track| track.id != 1));
    }
}

#[test]
fn pictures_that_were_left_out_cost_no_number() {
    // A realtime link skips pictures: the same motion at 5 a second.
    let mut fixture = fixture();
    for n in (0..120).step_by(6) {
        let tracks = step(
            &mut fixture,
            n,
            &[thing("person", 2.0 * n as f32, 100.0, 0.9)],
        );
        assert_eq!(ids(&tracks), [1], "picture {n}");
    }
    let seen = step(&mut fixture, 120, &[thing("person", 240.0, 100.0, 0.9)]);
    assert_eq!(seen[0].seen_ms, 3999);
}

#[test]
fn nonsense_is_left_out_and_time_that_goes_back_begins_anew() {
    let mut fixture = fixture();
    let bad = [
        thing("person", f32::NAN, 0.0, 0.9),
        thing("person", 0.0, f32::INFINITY, 0.9),
        Detection {
            w: -1.0,
            ..thing("person", 0.0, 0.0, 0.9)
        },
        thing("person", 0.0, 0.0, f32::NAN),
    ];
    let mut frame = Frame::new(Codec::Jpeg, vec![1]);
    let mut meta = frame.read_meta().unwrap();
    meta.set_detections(&bad).unwrap();
    frame.set_meta(&meta);
    let sent = fixture.process("in", frame).unwrap();
    assert_eq!(sent[0].1.read_meta().unwrap().tracks().unwrap(), []);
    step(&mut fixture, 10, &[thing("person", 0.0, 0.0, 0.9)]);
    let again = step(&mut fixture, 2, &[thing("person", 0.0, 0.0, 0.9)]);
    assert_eq!(ids(&again), [2]);
    // A crowd is bounded.
    let crowd: Vec<_> = (0..1000)
        .map(|n| {
            thing(
                "person",
                50.0 * (n % 40) as f32,
                90.0 * (n / 40) as f32,
                0.9,
            )
        })
        .collect();
    step(&mut fixture, 3, &crowd);
    assert!(step(&mut fixture, 4, &crowd).len() <= tracker::MAX_BOXES);
}

#[test]
fn a_wrong_setting_is_refused_with_its_name() {
    let error = node::<TrackNode>(&Setup::default(), json!({"threshold": 2})).unwrap_err();
    assert!(error.chain().contains("`threshold`"), "{}", error.chain());
    let mut fixture = fixture();
    let error = fixture
        .change_node(json!({"remember_ms": 100_000}))
        .unwrap_err();
    assert!(error.chain().contains("`remember_ms`"), "{}", error.chain());
}
