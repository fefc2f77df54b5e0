//! A segment that is closed, cut at every byte or damaged anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use edgeflow::{Frame, Kind};
use proptest::prelude::*;

use super::folder::{State, active_name, list, recover};
use super::reader::{Item, ReadError, Recorded, SegmentReader};
use super::summary::Summary;
use super::writer::SegmentWriter;

fn frame(seq: u64, bytes: usize) -> Frame {
    let mut frame = Frame::jpeg(4, 2, vec![seq as u8; bytes]);
    frame.header.stream_id = 5;
    frame.header.epoch = 6;
    frame.header.seq = seq;
    frame.header.capture_ns = 1_000 + seq as i64 * 10;
    frame.header.capture_mono_ns = 0;
    let mut meta = frame.read_meta().unwrap();
    meta.set("n", &seq).unwrap();
    frame.set_meta(&meta);
    frame
}

fn frames() -> Vec<Frame> {
    let mut frames: Vec<Frame> = (1..=5).map(|seq| frame(seq, 20 + seq as usize)).collect();
    frames.push(Frame::error("no signal"));
    frames
}

/// A segment in the folder that is not closed.
fn active(dir: &Path, frames: &[Frame]) -> SegmentWriter {
    let path = dir.join(active_name(1, "t"));
    let about = vec![("system".to_owned(), "demo".to_owned())];
    let mut writer = SegmentWriter::create(&path, &about).unwrap();
    for frame in frames {
        writer.append("camera/out", frame).unwrap();
    }
    writer
}

struct Content {
    frames: Vec<Recorded>,
    damaged: u64,
    torn: u64,
}

impl Content {
    fn read(path: &Path) -> Result<Self, ReadError> {
        let mut reader = SegmentReader::open(path)?;
        let mut frames = Vec::new();
        while let Some(item) = reader.next()? {
            if let Item::Frame(frame) = item {
                frames.push(frame);
            }
        }
        let (damaged, torn) = (reader.damaged(), reader.torn());
        Ok(Self {
            frames,
            damaged,
            torn,
        })
    }

    fn frames(&self) -> Vec<Frame> {
        self.frames.iter().map(|it| it.frame.clone()).collect()
    }
}

fn only_file(dir: &Path) -> (PathBuf, State) {
    let segments = list(dir).unwrap();
    assert_eq!(segments.len(), 1, "{segments:?}");
    (segments[0].path.clone(), segments[0].state)
}

#[test]
fn a_closed_segment_gives_back_every_frame_and_finds_times() {
    let dir = tempfile::tempdir().unwrap();
    let frames = frames();
    let mut writer = active(dir.path(), &frames);
    let path = dir.path().join("00000001-t.mcap");
    writer.close(&path).unwrap();
    let content = Content::read(&path).unwrap();
    assert_eq!(content.frames(), frames);
    assert_eq!((content.damaged, content.torn), (0, 0));
    assert_eq!(&*content.frames[0].topic, "camera/out");
    let summary = Summary::read(&path).unwrap().unwrap();
    assert_eq!(summary.chunks.len(), frames.len());
    let (start, end) = summary.times.unwrap();
    assert_eq!((start, end), (1_010, frames[5].header.capture_ns as u64));
    let mut reader = SegmentReader::open(&path).unwrap();
    reader.seek(&summary, 1_040).unwrap();
    match reader.next().unwrap() {
        Some(Item::Frame(found)) => {
            assert_eq!(found.frame, frames[3]);
            assert_eq!(&*found.topic, "camera/out");
        }
        other => panic!("{other:?}"),
    }
}

/// Where each of the segment's records of a frame ends: its chunk, which is all of the frame.
fn chunk_ends(path: &Path) -> Vec<u64> {
    let content = Content::read(path).unwrap();
    content
        .frames
        .iter()
        .map(|it| it.offset + it.length)
        .collect()
}

#[test]
fn a_segment_cut_at_any_byte_keeps_its_whole_frames_and_gets_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let frames = frames();
    let writer = active(dir.path(), &frames);
    let bytes = fs::read(writer.path()).unwrap();
    let ends = chunk_ends(writer.path());
    let name = writer.path().file_name().unwrap().to_owned();
    // Every byte of the last frame; closing brings each of these files to the disk, which takes time.
    let tail = ends[ends.len() - 2] as usize;
    for cut in (0..tail).step_by(5).chain(tail..bytes.len()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(&name);
        fs::write(&path, &bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut as u64).count();
        if cut >= 8 {
            let unrecovered = Content::read(&path).unwrap().frames();
            assert_eq!(unrecovered, frames[..whole], "cut at {cut}");
        }
        let found = recover(&path).unwrap();
        assert_eq!((found.frames, found.damaged), (whole, 0), "cut at {cut}");
        if whole == 0 {
            assert!(list(dir.path()).unwrap().is_empty(), "cut at {cut}");
            continue;
        }
        assert!(found.no_index.is_none());
        assert_eq!(found.last[&(5, 6)], whole.min(5) as u64, "cut at {cut}");
        let (path, state) = only_file(dir.path());
        assert_eq!(state, State::Incomplete);
        let content = Content::read(&path).unwrap();
        assert_eq!(content.frames(), frames[..whole], "cut at {cut}");
        assert_eq!((content.damaged, content.torn), (0, 0), "cut at {cut}");
        let summary = Summary::read(&path).unwrap().unwrap();
        assert_eq!(summary.chunks.len(), whole, "cut at {cut}");
    }
}

#[test]
fn a_kill_while_closing_at_any_byte_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let frames = frames();
    let mut writer = active(dir.path(), &frames);
    let data = writer.length() as usize;
    let name = writer.path().file_name().unwrap().to_owned();
    let path = dir.path().join("00000001-t.mcap");
    writer.close(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for cut in (data..bytes.len()).step_by(3).chain([bytes.len()]) {
        let dir = tempfile::tempdir().unwrap();
        let active = dir.path().join(&name);
        fs::write(&active, &bytes[..cut]).unwrap();
        let found = recover(&active).unwrap();
        assert_eq!(
            (found.frames, found.damaged),
            (frames.len(), 0),
            "cut at {cut}"
        );
        let (path, state) = only_file(dir.path());
        let expected = if cut == bytes.len() {
            State::Closed
        } else {
            State::Incomplete
        };
        assert_eq!(state, expected, "cut at {cut}");
        assert_eq!(Content::read(&path).unwrap().frames(), frames);
        assert!(Summary::read(&path).unwrap().is_some(), "cut at {cut}");
    }
}

#[test]
fn damage_costs_the_frames_in_it_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let frames = frames();
    let writer = active(dir.path(), &frames);
    let whole = fs::read(writer.path()).unwrap();
    let content = Content::read(writer.path()).unwrap();
    let (second, third) = (
        content.frames[1].offset as usize,
        content.frames[2].offset as usize,
    );
    // A block of zeros over the second frame and the begin of the third, as after a power cut.
    let mut bytes = whole.clone();
    bytes[second + 3..third + 40].fill(0);
    let path = dir.path().join("damaged.mcap");
    fs::write(&path, &bytes).unwrap();
    let found = Content::read(&path).unwrap();
    assert_eq!(found.damaged, 1);
    let expected: Vec<Frame> = [0, 3, 4, 5].map(|at| frames[at].clone()).into();
    assert_eq!(found.frames(), expected);
    // One byte of a payload.
    let mut bytes = whole;
    bytes[third - 40] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let found = Content::read(&path).unwrap();
    assert_eq!((found.damaged, found.frames.len()), (1, 5));
}

#[test]
fn a_damaged_segment_that_was_not_closed_keeps_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let frames = frames();
    let writer = active(dir.path(), &frames);
    let mut bytes = fs::read(writer.path()).unwrap();
    let second = Content::read(writer.path()).unwrap().frames[1].offset as usize;
    bytes[second..second + 30].fill(0xff);
    fs::write(writer.path(), &bytes).unwrap();
    let found = recover(writer.path()).unwrap();
    assert_eq!((found.frames, found.damaged), (5, 1));
    let (path, _) = only_file(dir.path());
    assert_eq!(Content::read(&path).unwrap().frames.len(), 5);
    assert_eq!(Summary::read(&path).unwrap().unwrap().chunks.len(), 5);
}

#[test]
fn a_segment_whose_begin_is_damaged_is_read_from_its_first_whole_frame() {
    let dir = tempfile::tempdir().unwrap();
    let frames = frames();
    let writer = active(dir.path(), &frames);
    let mut bytes = fs::read(writer.path()).unwrap();
    let first = Content::read(writer.path()).unwrap().frames[0].offset as usize;
    bytes[..first + 20].fill(0);
    fs::write(writer.path(), &bytes).unwrap();
    let content = Content::read(writer.path()).unwrap();
    assert_eq!(content.frames(), frames[1..]);
    assert_eq!(recover(writer.path()).unwrap().frames, 5);
    // Nothing in it can be read, and it is kept all the same.
    let rubbish = dir.path().join(active_name(2, "t"));
    fs::write(&rubbish, [0; 5000]).unwrap();
    assert_eq!(recover(&rubbish).unwrap().frames, 0);
    assert_eq!(list(dir.path()).unwrap()[1].bytes, 5000);
}

#[test]
fn what_is_no_recording_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.avi");
    fs::write(&path, b"RIFF....AVI ").unwrap();
    assert!(matches!(SegmentReader::open(&path), Err(ReadError::Magic)));
    assert_eq!(Summary::read(&path).unwrap(), None);
}

#[test]
fn what_a_failed_write_left_is_removed_before_the_next_frame() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = active(dir.path(), &frames()[..2]);
    let before = writer.length();
    let torn = fs::OpenOptions::new()
        .append(true)
        .open(writer.path())
        .unwrap();
    std::io::Write::write_all(&mut &torn, &[6; 30]).unwrap();
    writer.mark_torn();
    writer.append("camera/out", &frames()[2]).unwrap();
    assert!(writer.length() > before);
    let content = Content::read(writer.path()).unwrap();
    assert_eq!(content.frames(), frames()[..3]);
    assert_eq!((content.damaged, content.torn), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn changed_bytes_never_panic_and_never_make_a_frame_up(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let frames = frames();
        let mut writer = active(dir.path(), &frames);
        let path = dir.path().join("00000001-t.mcap");
        writer.close(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1).max(bytes.len() / 2));
        let active = dir.path().join(active_name(2, "t"));
        fs::remove_file(&path).unwrap();
        fs::write(&active, &bytes).unwrap();
        let _ = Summary::read(&active);
        if let Ok(content) = Content::read(&active) {
            for found in content.frames() {
                prop_assert!(found.header.kind == Kind::Error || frames.contains(&found));
            }
            if let Ok(found) = recover(&active) {
                prop_assert_eq!(found.frames, content.frames.len());
            }
        }
    }
}
