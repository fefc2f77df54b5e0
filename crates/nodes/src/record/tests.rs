//! The node without processes: limits, restarts, a folder that is taken.

use std::path::Path;

use edgeflow::testing::{Fixture, Setup, node};
use serde_json::{Value, json};

use super::*;
use crate::recording::folder::{Segment, State, list};
use crate::recording::reader::{Item, SegmentReader};

fn setup() -> Setup {
    Setup {
        outputs: Vec::new(),
        ..Setup::default()
    }
}

fn open(path: &Path, more: Value) -> Fixture<Record> {
    let mut params = json!({"path": path, "segment": "64KiB"});
    if let (Value::Object(params), Value::Object(more)) = (&mut params, more) {
        params.extend(more);
    }
    node::<Record>(&setup(), params).unwrap()
}

fn frame(epoch: u32, seq: u64) -> Frame {
    let mut frame = Frame::jpeg(8, 8, vec![seq as u8; 20_000]);
    frame.header.epoch = epoch;
    frame.header.seq = seq;
    frame
}

fn segments(path: &Path, state: State) -> Vec<Segment> {
    let mut segments = list(path).unwrap();
    segments.retain(|segment| segment.state == state);
    segments
}

/// Numbers of all frames in the folder.
fn numbers(path: &Path) -> Vec<u64> {
    let mut numbers = Vec::new();
    for segment in list(path).unwrap() {
        let mut reader = SegmentReader::open(&segment.path).unwrap();
        while let Some(item) = reader.next().unwrap() {
            if let Item::Frame(found) = item {
                numbers.push(found.frame.header.seq);
            }
        }
    }
    numbers
}

#[test]
fn frames_go_to_segments_of_the_size_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/on/the/way");
    let mut fixture = open(&path, json!({}));
    for seq in 1..=10 {
        fixture.process("in", frame(1, seq)).unwrap();
    }
    assert_eq!(
        numbers(&path),
        (1..=10).collect::<Vec<_>>(),
        "written at once"
    );
    assert_eq!(segments(&path, State::Closed).len(), 3);
    assert_eq!(segments(&path, State::Active).len(), 1);
    fixture.node.teardown();
    assert_eq!(segments(&path, State::Closed).len(), 4);
    let bytes: Vec<u64> = list(&path).unwrap().iter().map(|it| it.bytes).collect();
    assert!(bytes.iter().all(|bytes| *bytes <= 68 * 1024), "{bytes:?}");
}

#[test]
fn the_oldest_segments_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = open(dir.path(), json!({"keep": "1MiB"}));
    for seq in 1..=200 {
        fixture.process("in", frame(1, seq)).unwrap();
        let bytes: u64 = list(dir.path()).unwrap().iter().map(|it| it.bytes).sum();
        assert!(bytes <= 1 << 20, "{bytes} bytes after frame {seq}");
    }
    let kept = numbers(dir.path());
    assert_eq!(kept.last(), Some(&200));
    assert_eq!(kept, (kept[0]..=200).collect::<Vec<_>>(), "no hole");
    assert!(kept.len() > 40, "{}", kept.len());
}

#[test]
fn segments_end_and_go_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        keep: 1 << 30,
        keep_for: Some(Duration::from_secs(3600)),
        segment: 1 << 20,
        segment_for: Duration::ZERO,
    };
    let (mut recorder, _) = Recorder::open(dir.path(), limits, Vec::new(), HashMap::new()).unwrap();
    recorder.write(&frame(1, 1)).unwrap();
    assert_eq!(segments(dir.path(), State::Active).len(), 1);
    recorder.tick(SystemTime::now()).unwrap();
    assert_eq!(segments(dir.path(), State::Closed).len(), 1);
    recorder.tick(SystemTime::UNIX_EPOCH).unwrap();
    recorder
        .tick(SystemTime::now() + Duration::from_secs(3500))
        .unwrap();
    assert_eq!(segments(dir.path(), State::Closed).len(), 1);
    recorder
        .tick(SystemTime::now() + Duration::from_secs(3700))
        .unwrap();
    assert_eq!(list(dir.path()).unwrap(), []);
}

#[test]
fn a_restart_after_a_kill_marks_the_segment_and_writes_no_frame_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut fixture = open(&path, json!({}));
    fixture.process("in", frame(1, 1)).unwrap();
    fixture.process("in", frame(1, 2)).unwrap();
    // What a killed process leaves, with the half of a frame.
    let copy = dir.path().join("b");
    std::fs::create_dir(&copy).unwrap();
    let active = &segments(&path, State::Active)[0].path;
    let mut bytes = std::fs::read(active).unwrap();
    bytes.truncate(bytes.len() - 500);
    std::fs::write(copy.join(active.file_name().unwrap()), bytes).unwrap();
    let mut fixture = open(&copy, json!({}));
    // Frame 1 was acknowledged by nobody, frame 2 is torn: both come again.
    for seq in 1..=3 {
        fixture.process("in", frame(1, seq)).unwrap();
    }
    fixture.process("in", frame(2, 1)).unwrap();
    fixture.node.teardown();
    assert_eq!(numbers(&copy), [1, 2, 3, 1]);
    assert_eq!(segments(&copy, State::Incomplete).len(), 1);
}

#[test]
fn a_folder_has_one_recorder() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), json!({}));
    let params = json!({"path": dir.path()});
    let error = node::<Record>(&setup(), params).unwrap_err();
    assert!(
        error.chain().contains("another recorder"),
        "{}",
        error.chain()
    );
}

#[test]
fn a_relative_path_is_in_the_nodes_folder_and_bad_limits_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup {
        state_dir: dir.path().to_owned(),
        ..setup()
    };
    let mut fixture = node::<Record>(&setup, json!({"path": "clips"})).unwrap();
    fixture.process("in", frame(1, 1)).unwrap();
    fixture.process("in", Frame::error("no signal")).unwrap();
    assert_eq!(numbers(&dir.path().join("clips")), [1, 0]);
    let error = node::<Record>(&setup, json!({"path": "x", "keep": "much"})).unwrap_err();
    assert!(
        error.chain().contains("`keep`: `much`"),
        "{}",
        error.chain()
    );
}

#[test]
fn a_full_disk_waits_until_it_has_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut fixture = open(&path, json!({}));
    // Nothing can be made in a folder that is gone.
    std::fs::remove_dir(&path).unwrap();
    fixture.request_stop();
    let error = fixture.process("in", frame(1, 1)).unwrap_err();
    assert!(error.to_string().contains("stopping"), "{error}");
    let condition = fixture.condition();
    assert!(condition.starts_with("recording waits"), "{condition}");
    std::fs::create_dir(&path).unwrap();
    fixture.process("in", frame(1, 1)).unwrap();
    assert_eq!(fixture.condition(), "");
    assert_eq!(numbers(&path), [1]);
    let text = why(&path, &io::ErrorKind::StorageFull.into());
    assert!(text.starts_with("disk full"), "{text}");
}
