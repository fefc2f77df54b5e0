//! The source without processes: order, pace, parts, damage.

use std::fs;

use edgeflow::testing::{Fixture, Setup, node, source};
use edgeflow::{Kind, Node};
use serde_json::{Value, json};

use super::*;
use crate::record::Record;

const BASE_NS: i64 = 1_700_000_000_000_000_000;

/// A recording with a frame every 100 ms, in segments of three.
fn recording(dir: &Path, frames: u64) {
    let params = json!({"path": dir, "segment": "64KiB"});
    let setup = Setup::default();
    let mut recorder = node::<Record>(&setup, params).unwrap();
    for seq in 1..=frames {
        let mut frame = Frame::jpeg(8, 8, vec![seq as u8; 20_000]);
        frame.header.seq = seq;
        frame.header.stream_id = (seq % 2) as u32;
        frame.header.capture_ns = BASE_NS + (seq as i64 - 1) * 100_000_000;
        recorder.process("in", frame).unwrap();
    }
    recorder.node.teardown();
}

fn open(path: &Path, more: Value) -> Fixture<Replay> {
    let mut params = json!({"path": path, "speed": 0, "loop": false});
    if let (Value::Object(params), Value::Object(more)) = (&mut params, more) {
        params.extend(more);
    }
    source::<Replay>(&Setup::default(), params).unwrap()
}

/// Everything until the end.
fn play(fixture: &mut Fixture<Replay>) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let (step, sent) = fixture.produce().unwrap();
        frames.extend(sent.into_iter().map(|(_, frame)| frame));
        if step == Step::End {
            return frames;
        }
    }
}

fn numbers(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.header.seq).collect()
}

#[test]
fn every_frame_comes_in_order_with_a_new_time_and_the_old_one_in_its_metadata() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path(), 7);
    let before = clock::unix_ns();
    let frames = play(&mut open(dir.path(), json!({})));
    assert_eq!(numbers(&frames), [1, 2, 3, 4, 5, 6, 7]);
    assert!(frames[0].header.capture_ns >= before);
    let recorded: Option<i64> = frames[2].read_meta().unwrap().get(RECORDED).unwrap();
    assert_eq!(recorded, Some(BASE_NS + 200_000_000));
    let frames = play(&mut open(dir.path(), json!({"retime": false})));
    assert_eq!(frames[2].header.capture_ns, BASE_NS + 200_000_000);
    assert!(frames[2].meta.is_empty());
}

#[test]
fn a_part_and_topics_can_be_chosen() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path(), 12);
    let part = json!({"from": "400ms", "to": "900ms"});
    assert_eq!(numbers(&play(&mut open(dir.path(), part))), [5, 6, 7, 8, 9]);
    let topic = json!({"topics": ["stream-00000001"], "from": "1s"});
    assert_eq!(numbers(&play(&mut open(dir.path(), topic))), [11]);
    let mut nothing = open(dir.path(), json!({"from": "1h"}));
    let error = loop {
        if let Err(error) = nothing.produce() {
            break error;
        }
    };
    assert!(error.is_fatal() && error.chain().contains("no frame to replay"));
}

#[test]
fn the_pace_is_that_of_the_capture_times() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path(), 6);
    let begin = Instant::now();
    play(&mut open(dir.path(), json!({"speed": 2})));
    // Half a second at twice the speed.
    assert!(
        begin.elapsed() >= Duration::from_millis(250),
        "{:?}",
        begin.elapsed()
    );
    let mut slow = open(dir.path(), json!({"speed": 0.01}));
    slow.produce().unwrap();
    slow.request_stop();
    assert_eq!(slow.produce().unwrap().1.len(), 0, "a stop ends the wait");
}

#[test]
fn a_loop_begins_again_and_one_file_is_a_recording_too() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path(), 4);
    let file = files(dir.path()).unwrap().remove(0);
    let mut fixture = open(&file, json!({"loop": true}));
    let mut seen = Vec::new();
    while seen.len() < 7 {
        let (step, sent) = fixture.produce().unwrap();
        assert_eq!(step, Step::Continue);
        seen.extend(sent.into_iter().map(|(_, frame)| frame.header.seq));
    }
    assert_eq!(seen, [1, 2, 3, 1, 2, 3, 1]);
}

#[test]
fn damage_is_left_out_counted_and_shown_and_a_cut_segment_plays_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path(), 9);
    let paths = files(dir.path()).unwrap();
    let mut bytes = fs::read(&paths[0]).unwrap();
    bytes[30_000] ^= 0xff;
    fs::write(&paths[0], bytes).unwrap();
    let bytes = fs::read(&paths[1]).unwrap();
    fs::write(&paths[1], &bytes[..50_000]).unwrap();
    fs::write(dir.path().join("00000099-x.INCOMPLETE.mcap"), "rubbish").unwrap();
    let mut fixture = open(dir.path(), json!({}));
    assert_eq!(numbers(&play(&mut fixture)), [1, 3, 4, 5, 7, 8, 9]);
    let condition = fixture.condition();
    assert!(condition.starts_with("2 damaged places"), "{condition}");
}

#[test]
fn bad_parameters_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    for (params, part) in [
        (json!({"path": path}), "has no segments"),
        (json!({"path": "/nowhere/at/all"}), "does not exist"),
        (json!({"path": path, "speed": 0.001}), "`speed`: 0.001"),
        (json!({"path": path, "from": "2s", "to": "1s"}), "`to`"),
        (json!({"path": path, "from": "soon"}), "`from`: `soon`"),
    ] {
        let error = source::<Replay>(&Setup::default(), params).unwrap_err();
        assert!(error.chain().contains(part), "{}", error.chain());
    }
}

#[test]
fn an_error_frame_is_played_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = node::<Record>(&Setup::default(), json!({"path": dir.path()})).unwrap();
    recorder.process("in", Frame::error("no signal")).unwrap();
    recorder.node.teardown();
    let frames = play(&mut open(dir.path(), json!({})));
    assert_eq!(frames[0].header.kind, Kind::Error);
    assert_eq!(frames[0].read_meta().unwrap().error().unwrap(), "no signal");
}
