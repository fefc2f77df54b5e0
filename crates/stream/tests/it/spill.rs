//! Durable links that go to disk when their window is full, and come back from there.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgeflow_spec::qos::{LinkQos, OnFull};
use edgeflow_stream::stats::DropReason;

use crate::support::*;

fn spilling(window: u32) -> LinkQos {
    durable(window, OnFull::Spill)
}

/// The files of spilled frames.
fn segments(store: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(store.join("spill")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files.retain(|path| path.extension().is_some_and(|ending| ending == "seg"));
    files.sort();
    files
}

pub(crate) fn what_the_window_has_no_room_for_comes_from_disk_in_order(
    transport: &mut dyn Transport,
) {
    let store = tempfile::tempdir().unwrap();
    let qos = spilling(4);
    let publisher = stored(transport, store.path(), vec![group("c", &qos)]);
    for number in 0..100 {
        publisher.send(sized(number, 2000)).unwrap();
    }
    let stats = stats_of(&publisher, "c");
    assert_eq!((stats.in_flight, stats.spilled), (100, 96));
    assert!(stats.spilled_bytes > 96 * 2000);
    let mut consumer = subscriber(transport, "c.0", "c", &qos);
    let mut got = expect_numbers(&mut consumer, 50);
    for number in 100..150 {
        publisher.send(numbered(number)).unwrap();
    }
    got.extend(expect_numbers(&mut consumer, 100));
    assert_eq!(got, (0..150).collect::<Vec<_>>());
    consumer.ack();
    let stats = wait_for(&publisher, "c", |stats| stats.delivered == 150);
    assert_eq!((stats.spilled, stats.spilled_bytes), (0, 0));
    assert!(stats.dropped.is_empty());
    assert_eq!(segments(store.path()), Vec::<PathBuf>::new());
}

/// A producer that is gone without a word, as after kill -9: nothing of it runs any more, and
/// nothing was closed. Its threads stay until the test ends.
fn vanish(publisher: edgeflow_stream::Publisher) {
    std::mem::forget(publisher);
}

#[test]
fn a_new_life_delivers_what_the_old_one_spilled_before_anything_new() {
    let store = tempfile::tempdir().unwrap();
    let qos = spilling(4);
    let mut first = Unix::new();
    let old = stored(&mut first, store.path(), vec![group("c", &qos)]);
    for number in 0..50 {
        old.send(numbered(number)).unwrap();
    }
    let mut consumer = subscriber(&first, "c.0", "c", &qos);
    let got = expect_numbers(&mut consumer, 11);
    assert_eq!(got, (0..11).collect::<Vec<_>>());
    let epoch = expect(&mut consumer).frame.header.epoch;
    wait_for(&old, "c", |stats| stats.delivered == 11);
    drop(consumer);
    vanish(old);

    let mut second = Unix::new();
    let new = stored(&mut second, store.path(), vec![group("c", &qos)]);
    let stats = stats_of(&new, "c");
    assert_eq!((stats.produced, stats.in_flight), (39, 39));
    for number in 50..60 {
        new.send(numbered(number)).unwrap();
    }
    let mut consumer = subscriber(&second, "c.0", "c", &qos);
    let mut last_seq = 0;
    for expected in 11..60 {
        let received = expect(&mut consumer);
        let header = &received.frame.header;
        assert_eq!(number(&received), expected);
        assert_eq!(header.epoch == epoch, expected < 50, "{expected}");
        assert_eq!(received.redelivered, expected < 50, "{expected}");
        if expected < 50 {
            assert_eq!(header.seq, u64::from(expected) + 1, "as it was sent");
        }
        assert!(header.seq > last_seq);
        last_seq = header.seq;
    }
    consumer.ack();
    wait_for(&new, "c", |stats| stats.delivered == 49);
    assert_eq!(segments(store.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_clean_end_keeps_what_was_only_in_memory() {
    let store = tempfile::tempdir().unwrap();
    let qos = spilling(8);
    let mut first = Unix::new();
    let old = stored(&mut first, store.path(), vec![group("c", &qos)]);
    for number in 0..20 {
        old.send(numbered(number)).unwrap();
    }
    let mut consumer = subscriber(&first, "c.0", "c", &qos);
    assert_eq!(expect_numbers(&mut consumer, 3), [0, 1, 2]);
    consumer.ack();
    wait_for(&old, "c", |stats| stats.delivered == 3);
    let stats = old.close(Duration::ZERO).remove(0);
    assert!(stats.is_conserved(), "{stats:?}");
    assert_eq!((stats.in_flight, stats.spilled), (17, 17));
    assert!(stats.dropped.is_empty());
    drop(consumer);

    let mut second = Unix::new();
    let new = stored(&mut second, store.path(), vec![group("c", &qos)]);
    let mut consumer = subscriber(&second, "c.0", "c", &qos);
    let got = expect_numbers(&mut consumer, 17);
    assert_eq!(got, (3..20).collect::<Vec<_>>());
    consumer.ack();
    wait_for(&new, "c", |stats| stats.delivered == 17);
}

#[test]
fn a_torn_end_is_cut_and_a_damaged_frame_is_counted() {
    let store = tempfile::tempdir().unwrap();
    let qos = spilling(1);
    let mut first = Unix::new();
    let old = stored(&mut first, store.path(), vec![group("c", &qos)]);
    for number in 0..12 {
        old.send(sized(number, 1000)).unwrap();
    }
    vanish(old);
    let [file] = &segments(store.path())[..] else {
        panic!("one segment")
    };
    let len = std::fs::metadata(file).unwrap().len();
    let record = len / 11;
    let file = OpenOptions::new().write(true).open(file).unwrap();
    // The payload of the third, the header of the sixth, the end of the last.
    file.write_all_at(b"damage", 2 * record + 500).unwrap();
    file.write_all_at(b"damage", 5 * record + 2).unwrap();
    file.set_len(len - 10).unwrap();

    let mut second = Unix::new();
    let new = stored(&mut second, store.path(), vec![group("c", &qos)]);
    let mut consumer = subscriber(&second, "c.0", "c", &qos);
    assert_eq!(expect_numbers(&mut consumer, 8), [1, 2, 4, 5, 7, 8, 9, 10]);
    consumer.ack();
    let stats = wait_for(&new, "c", |stats| stats.delivered == 8);
    assert_eq!(stats.dropped[&DropReason::Corrupt], 2);
    assert_eq!(stats.in_flight, 0);
}

#[test]
fn a_full_budget_blocks_a_producer_that_can_wait() {
    let store = tempfile::tempdir().unwrap();
    let qos = LinkQos {
        spill_bytes: 1 << 20,
        ..spilling(2)
    };
    let mut transport = Unix::new();
    let publisher = stored(&mut transport, store.path(), vec![group("c", &qos)]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..200 {
                publisher.send(sized(number, 20_000)).unwrap();
            }
        });
        let stats = wait_for(&publisher, "c", |stats| stats.trouble.is_some());
        assert!(stats.spilled_bytes <= 1 << 20);
        assert!(stats.produced < 200);
        let mut consumer = subscriber(&transport, "c.0", "c", &qos);
        let got = expect_numbers(&mut consumer, 200);
        assert_eq!(got, (0..200).collect::<Vec<_>>());
        consumer.ack();
    });
    let stats = wait_for(&publisher, "c", |stats| stats.delivered == 200);
    assert_eq!((stats.trouble, stats.spilled_bytes), (None, 0));
}

#[test]
fn a_full_budget_is_counted_for_a_live_source() {
    let store = tempfile::tempdir().unwrap();
    let qos = LinkQos {
        spill_bytes: 1 << 20,
        live_source: true,
        ..spilling(2)
    };
    let mut transport = Unix::new();
    let groups = vec![group("c", &qos), group("view", &LinkQos::realtime())];
    let publisher = stored(&mut transport, store.path(), groups);
    for number in 0..100 {
        publisher.send(sized(number, 20_000)).unwrap();
    }
    let stats = stats_of(&publisher, "c");
    assert!(stats.is_conserved(), "{stats:?}");
    assert!(stats.dropped[&DropReason::Overflow] > 40, "{stats:?}");
    assert!(stats.trouble.unwrap().contains("frames are lost"));
    assert_eq!(stats_of(&publisher, "view").produced, 100, "goes on");
    let kept = u32::try_from(stats.in_flight).unwrap();
    let mut consumer = subscriber(&transport, "c.0", "c", &qos);
    let got = expect_numbers(&mut consumer, kept as usize);
    assert_eq!(got, (0..kept).collect::<Vec<_>>());
    consumer.ack();
    wait_for(&publisher, "c", |stats| stats.delivered == u64::from(kept));
    publisher.send(numbered(100)).unwrap();
    assert_eq!(number(&expect(&mut consumer)), 100);
    assert_eq!(consumer.stats().take()[0].missing, u64::from(100 - kept));
    let stats = wait_for(&publisher, "c", |_| true);
    assert_eq!(stats.trouble, None);
}

/// A file system of one MiB, if this process may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
        // What is left is a small folder.
        drop(unmount);
    }
}

#[test]
fn a_full_disk_loses_nothing_and_is_told() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: a file system can't be mounted here");
        return;
    };
    let qos = spilling(2);
    let mut transport = Unix::new();
    let publisher = stored(&mut transport, disk.0.path(), vec![group("c", &qos)]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..200 {
                publisher.send(sized(number, 20_000)).unwrap();
            }
        });
        let stats = wait_for(&publisher, "c", |stats| stats.trouble.is_some());
        let trouble = stats.trouble.unwrap();
        assert!(trouble.contains("No space left on device"), "{trouble}");
        let mut consumer = subscriber(&transport, "c.0", "c", &qos);
        let got = expect_numbers(&mut consumer, 200);
        assert_eq!(got, (0..200).collect::<Vec<_>>());
        consumer.ack();
    });
    let stats = wait_for(&publisher, "c", |stats| stats.delivered == 200);
    assert!(stats.dropped.is_empty());
    assert_eq!(stats.trouble, None);
}

#[test]
fn a_folder_that_can_not_be_used_blocks_and_is_told() {
    let store = tempfile::tempdir().unwrap();
    std::fs::write(store.path().join("spill"), b"in the way").unwrap();
    let qos = spilling(2);
    let mut transport = Unix::new();
    let publisher = stored(&mut transport, store.path(), vec![group("c", &qos)]);
    let stats = stats_of(&publisher, "c");
    assert!(stats.trouble.unwrap().contains("can't be opened"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..20 {
                publisher.send(numbered(number)).unwrap();
            }
        });
        let mut consumer = subscriber(&transport, "c.0", "c", &qos);
        assert_eq!(expect_numbers(&mut consumer, 20).len(), 20);
        consumer.ack();
    });
    wait_for(&publisher, "c", |stats| stats.delivered == 20);
}
