//! Log files on disk: a folder an instance, a current file and older ones, each bounded. A line is
//! `<unix ms> <o|e|a> <text>`. Used by the log thread only.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{Line, MAX_LINE_BYTES, MAX_READ_LINES, Query, Source};
use crate::conditions::{self, Conditions};

/// Files kept for an instance.
pub const FILES_PER_INSTANCE: usize = 4;
/// Largest file.
pub const FILE_BYTES: u64 = 1024 * 1024;
/// Log folders kept for instances that are gone.
const ORPHANS_KEPT: usize = 32;

pub(super) struct Store {
    root: PathBuf,
    open: BTreeMap<Arc<str>, Current>,
    conditions: Arc<Conditions>,
}

struct Current {
    file: File,
    bytes: u64,
}

impl Store {
    pub(super) fn new(root: PathBuf, conditions: Arc<Conditions>) -> Self {
        Self {
            root,
            open: BTreeMap::new(),
            conditions,
        }
    }

    /// Whether the line is on disk.
    pub(super) fn append(&mut self, line: &Line) -> bool {
        match self.try_append(line) {
            Ok(()) => {
                // Whoever has raised it: logs, events and records share a disk.
                self.conditions.clear(conditions::DISK);
                true
            }
            Err(error) => {
                self.open.remove(&line.instance);
                self.conditions.set(
                    conditions::DISK,
                    format!("log lines are lost: {error}; free some space on the data disk"),
                );
                false
            }
        }
    }

    fn try_append(&mut self, line: &Line) -> io::Result<()> {
        let mark = match line.source {
            Source::Stdout => 'o',
            Source::Stderr => 'e',
            Source::Agent => 'a',
        };
        let record = format!("{} {mark} {}\n", line.at_unix_ms, line.text);
        let length = record.len() as u64;
        let dir = self.root.join(&*line.instance);
        if let Some(current) = self.open.get(&line.instance)
            && current.bytes + length > FILE_BYTES
        {
            self.open.remove(&line.instance);
            rotate(&dir)?;
        }
        if !self.open.contains_key(&line.instance) {
            let current = open_current(&dir)?;
            self.open.insert(Arc::clone(&line.instance), current);
        }
        if let Some(current) = self.open.get_mut(&line.instance) {
            current.file.write_all(record.as_bytes())?;
            current.bytes += length;
        }
        Ok(())
    }

    pub(super) fn read(&self, query: &Query) -> Vec<Line> {
        let tail = query.tail.min(MAX_READ_LINES);
        let mut lines = Vec::new();
        for instance in &query.instances {
            let name: Arc<str> = Arc::from(instance.as_str());
            let dir = self.root.join(instance);
            let mut kept = VecDeque::new();
            for number in (0..FILES_PER_INSTANCE).rev() {
                // Missing files are the normal case of a young log.
                if let Ok(file) = File::open(file_path(&dir, number)) {
                    read_file(file, &name, tail, query.since_unix_ms, &mut kept);
                }
            }
            lines.extend(kept);
        }
        lines.sort_by_key(|line: &Line| line.at_unix_ms);
        lines
    }

    pub(super) fn prune(&mut self, keep: &[String]) {
        self.open
            .retain(|name, _| keep.iter().any(|id| **id == **name));
        let Ok(entries) = fs::read_dir(&self.root) else {
            return;
        };
        let mut orphans: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                !keep.iter().any(|id| name == id.as_str())
            })
            .map(|entry| {
                let modified = fs::metadata(file_path(&entry.path(), 0))
                    .and_then(|metadata| metadata.modified())
                    .unwrap_or(SystemTime::UNIX_EPOCH);
                (modified, entry.path())
            })
            .collect();
        orphans.sort();
        let surplus = orphans.len().saturating_sub(ORPHANS_KEPT);
        for (_, path) in orphans.drain(..surplus) {
            // Tried again at the next change.
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn file_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{number}.log"))
}

fn open_current(dir: &Path) -> io::Result<Current> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let path = file_path(dir, 0);
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)?;
    let mut bytes = file.metadata()?.len();
    if bytes > FILE_BYTES {
        drop(file);
        rotate(dir)?;
        return open_current(dir);
    }
    // The end of a line is missing after a crash or a full disk.
    if bytes > 0 {
        file.write_all(b"\n")?;
        bytes += 1;
    }
    Ok(Current { file, bytes })
}

fn rotate(dir: &Path) -> io::Result<()> {
    for number in (0..FILES_PER_INSTANCE - 1).rev() {
        match fs::rename(file_path(dir, number), file_path(dir, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn read_file(
    file: File,
    instance: &Arc<str>,
    tail: usize,
    since_unix_ms: i64,
    kept: &mut VecDeque<Line>,
) {
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::with_capacity(256);
    loop {
        bytes.clear();
        match reader.read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) if bytes.len() > 2 * MAX_LINE_BYTES => continue,
            Ok(_) => {}
        }
        let Some(line) = parse(&bytes, instance) else {
            continue;
        };
        if line.at_unix_ms < since_unix_ms {
            continue;
        }
        kept.push_back(line);
        if kept.len() > tail {
            kept.pop_front();
        }
    }
}

fn parse(bytes: &[u8], instance: &Arc<str>) -> Option<Line> {
    let text = String::from_utf8_lossy(bytes.strip_suffix(b"\n").unwrap_or(bytes));
    let mut parts = text.splitn(3, ' ');
    let at_unix_ms = parts.next()?.parse().ok()?;
    let source = match parts.next()? {
        "o" => Source::Stdout,
        "e" => Source::Stderr,
        "a" => Source::Agent,
        _ => return None,
    };
    Some(Line {
        at_unix_ms,
        instance: Arc::clone(instance),
        source,
        text: parts.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: i64, text: &str) -> Line {
        Line {
            at_unix_ms: at,
            instance: Arc::from("s.n.0"),
            source: Source::Stderr,
            text: text.to_owned(),
        }
    }

    fn query(tail: usize, since: i64) -> Query {
        Query {
            instances: vec!["s.n.0".to_owned()],
            tail,
            since_unix_ms: since,
            follow: false,
        }
    }

    #[test]
    fn tail_and_since_pick_the_newest_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::new(dir.path().to_owned(), Arc::default());
        for at in 1..=10 {
            assert!(store.append(&line(at, &format!("line {at}"))));
        }
        let texts = |lines: Vec<Line>| lines.into_iter().map(|l| l.text).collect::<Vec<_>>();
        assert_eq!(texts(store.read(&query(2, 0))), ["line 9", "line 10"]);
        assert_eq!(texts(store.read(&query(100, 10))), ["line 10"]);
    }

    #[test]
    fn files_are_rotated_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::new(dir.path().to_owned(), Arc::default());
        let text = "x".repeat(10_000);
        for at in 0..1000 {
            assert!(store.append(&line(at, &text)));
        }
        let sizes: Vec<u64> = fs::read_dir(dir.path().join("s.n.0"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), FILES_PER_INSTANCE);
        assert!(sizes.iter().all(|size| *size <= FILE_BYTES));
        assert_eq!(store.read(&query(1, 0))[0].at_unix_ms, 999);
    }

    #[test]
    fn a_line_that_can_not_be_written_raises_a_condition_until_one_can() {
        let dir = tempfile::tempdir().unwrap();
        let conditions = Arc::new(Conditions::default());
        let root = dir.path().join("logs");
        fs::write(&root, b"in the way").unwrap();
        let mut store = Store::new(root.clone(), Arc::clone(&conditions));
        assert!(!store.append(&line(1, "lost")));
        assert_eq!(conditions.snapshot().len(), 1);
        fs::remove_file(&root).unwrap();
        assert!(store.append(&line(2, "kept")));
        assert!(conditions.snapshot().is_empty());
    }

    #[test]
    fn logs_of_instances_that_are_gone_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::new(dir.path().to_owned(), Arc::default());
        for number in 0..ORPHANS_KEPT + 5 {
            let mut line = line(1, "x");
            line.instance = Arc::from(format!("gone.n.{number}"));
            assert!(store.append(&line));
        }
        assert!(store.append(&line(1, "x")));
        store.prune(&["s.n.0".to_owned()]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), ORPHANS_KEPT + 1);
        assert_eq!(store.read(&query(1, 0)).len(), 1);
    }
}
