//! The files of a spill, without links.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::frame::{Codec, Frame};

fn entry(seq: u64, len: usize) -> Entry {
    let mut frame = Frame::new(Codec::Bytes, vec![byte(seq); len]);
    frame.header.seq = seq;
    Entry::new(frame)
}

fn byte(seq: u64) -> u8 {
    seq.to_le_bytes()[0]
}

fn open(dir: &std::path::Path, budget: u64) -> Spill {
    Spill::open(dir.to_owned(), budget, Limits::default()).unwrap()
}

fn next_seq(spill: &mut Spill) -> Option<u64> {
    match spill.next()? {
        Next::Frame(entry) => {
            assert!(entry.frame.payload.iter().all(|b| *b == byte(entry.seq())));
            Some(entry.seq())
        }
        Next::Damaged(count) => panic!("{count} damaged"),
    }
}

#[test]
fn a_full_disk_refuses_and_takes_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut spill = open(dir.path(), 1 << 20);
    spill.append(&entry(1, 10)).unwrap();
    spill.is_disk_full = true;
    let error = spill.append(&entry(2, 10)).unwrap_err();
    assert_eq!(error.to_string(), "it can't be written to disk");
    spill.is_disk_full = false;
    spill.append(&entry(3, 10)).unwrap();
    assert_eq!(next_seq(&mut spill), Some(1));
    assert_eq!(next_seq(&mut spill), Some(3));
    assert_eq!(next_seq(&mut spill), None);
}

#[test]
fn a_segment_goes_when_its_frames_are_done_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut spill = open(dir.path(), 80_000);
    for seq in 1..=50 {
        spill.append(&entry(seq, 1000)).unwrap();
    }
    assert!(spill.segments.len() >= 5);
    let before = spill.bytes();
    for seq in 1..=25 {
        assert_eq!(next_seq(&mut spill), Some(seq));
        spill.done(seq);
    }
    assert!(
        spill.bytes() < before * 6 / 10,
        "{before} {}",
        spill.bytes()
    );
    let on_disk: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(on_disk, spill.bytes() + CURSOR_LEN as u64);
}

#[test]
fn a_frame_over_the_budget_fits_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut spill = open(dir.path(), 1000);
    spill.append(&entry(1, 5000)).unwrap();
    assert!(matches!(
        spill.append(&entry(2, 10)),
        Err(SpillError::Full(1000))
    ));
    assert_eq!(next_seq(&mut spill), Some(1));
    spill.done(1);
    spill.append(&entry(2, 10)).unwrap();
}

#[test]
fn a_damaged_place_in_the_middle_costs_its_frames_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut spill = open(dir.path(), 1 << 20);
    for seq in 1..=9 {
        spill.append(&entry(seq, 1000)).unwrap();
    }
    let path = dir.path().join(format!("{FIRST_INDEX:016x}.seg"));
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let record = spill.bytes() / 9;
    // Two records at once, headers and all.
    file.write_all_at(&vec![0; 2 * record as usize], 3 * record)
        .unwrap();
    let (mut seqs, mut damaged) = (Vec::new(), 0);
    while let Some(next) = spill.next() {
        match next {
            Next::Frame(entry) => seqs.push(entry.seq()),
            Next::Damaged(count) => damaged += count,
        }
    }
    assert_eq!((seqs, damaged), (vec![1, 2, 3, 6, 7, 8, 9], 2));
    assert_eq!(spill.unread(), 0);
}

#[test]
fn a_new_file_does_not_inherit_the_place_of_a_deleted_one() {
    let dir = tempfile::tempdir().unwrap();
    // Two frames fill a segment; the third is alone in the next one, and done with first.
    let mut spill = open(dir.path(), 40_000);
    for (seq, len) in [(1, 1955), (2, 1075), (3, 1563)] {
        spill.append(&entry(seq, len)).unwrap();
        assert_eq!(next_seq(&mut spill), Some(seq));
    }
    spill.done(3);
    for _ in 0..2 {
        drop(spill);
        spill = open(dir.path(), 40_000);
    }
    spill.append(&entry(4, 0)).unwrap();
    drop(spill);
    let mut spill = open(dir.path(), 40_000);
    let all: Vec<u64> = std::iter::from_fn(|| next_seq(&mut spill)).collect();
    assert_eq!(all, [1, 2, 4]);
}

/// One step in the life of a spill.
#[derive(Clone, Debug)]
enum Act {
    Append(usize),
    Read,
    /// The frame at this place of those in memory.
    Done(prop::sample::Index),
    /// Killed and started again.
    Restart,
    /// Ended with some frames that were only in memory, and started again.
    Save(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_usize..3000).prop_map(Act::Append),
        6 => Just(Act::Read),
        5 => any::<prop::sample::Index>().prop_map(Act::Done),
        1 => Just(Act::Restart),
        1 => (0_usize..3).prop_map(Act::Save),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_every_frame_comes_in_order_until_it_is_done(
        acts in proptest::collection::vec(act(), 1..120),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let budget = 40_000;
        let mut spill = open(dir.path(), budget);
        let mut last = 0;
        // What was accepted and is not done with: on disk, and read into memory.
        let (mut waiting, mut held) = (VecDeque::new(), Vec::new());
        for act in acts {
            match act {
                Act::Append(len) => {
                    last += 1000;
                    match spill.append(&entry(last, len)) {
                        Ok(()) => waiting.push_back(last),
                        Err(SpillError::Full(_)) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
                Act::Read => {
                    let seq = next_seq(&mut spill);
                    prop_assert_eq!(seq, waiting.pop_front());
                    held.extend(seq);
                }
                Act::Done(index) if !held.is_empty() => {
                    spill.done(held.remove(index.index(held.len())));
                }
                Act::Done(_) => {}
                Act::Restart | Act::Save(_) => {
                    if let Act::Save(count) = act {
                        // Older than what waits: as if they had been in the window.
                        let waits = held.iter().chain(&waiting).min().copied();
                        let first = waits.unwrap_or(last + 500);
                        let count = count as u64;
                        let saved: Vec<Entry> =
                            (first - count..first).map(|seq| entry(seq, 10)).collect();
                        spill.save(&saved).unwrap();
                        saved.iter().rev().for_each(|e| waiting.push_front(e.seq()));
                    }
                    drop(spill);
                    spill = open(dir.path(), budget);
                    held.extend(waiting.drain(..));
                    held.sort_unstable();
                    // Those that were done with may come again, for they lie between others.
                    let mut all = Vec::new();
                    while let Some(seq) = next_seq(&mut spill) {
                        prop_assert!(all.last().is_none_or(|before| *before < seq));
                        all.push(seq);
                    }
                    prop_assert!(held.iter().all(|seq| all.contains(seq)), "{:?} of {:?}", all, held);
                    held = all;
                }
            }
            prop_assert_eq!(spill.unread(), waiting.len() as u64);
            prop_assert!(spill.bytes() <= budget + 3 * 1000);
        }
    }
}
