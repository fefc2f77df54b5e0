//! Messages that wait for their receiver, one file each, oldest first. They outlive the process. Bounded in
//! number and bytes: the oldest go, and are counted.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
};

/// Messages and bytes that wait.
const MAX_MESSAGES: usize = 500;
const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// A message larger than this was not ours.
const MAX_MESSAGE_BYTES: u64 = 1024 * 1024;
const ENDING: &str = "json";

/// A folder of messages.
#[derive(Debug)]
pub(super) struct Outbox {
    dir: PathBuf,
    /// Number and size, oldest first.
    waiting: VecDeque<(u64, u64)>,
    bytes: u64,
    next: u64,
}

impl Outbox {
    /// Opens or makes the folder, and finds what an earlier process left.
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let mut waiting = Vec::new();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let path = entry.path();
            match number(&path) {
                Some(number) => waiting.push((number, entry.metadata()?.len())),
                // What a crash left of a message that was not written to its end.
                None => fs::remove_file(&path)?,
            }
        }
        waiting.sort_unstable();
        Ok(Self {
            bytes: waiting.iter().map(|(_, bytes)| bytes).sum(),
            next: waiting.last().map_or(1, |(number, _)| number + 1),
            waiting: waiting.into(),
            dir,
        })
    }

    /// Adds a message; how many older ones had to go.
    pub(super) fn push(&mut self, message: &[u8]) -> io::Result<usize> {
        let path = self.path(self.next);
        let part = path.with_extension("part");
        let written = fs::write(&part, message).and_then(|()| fs::rename(&part, &path));
        if let Err(error) = written {
            // It takes up space on a full disk.
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        self.waiting.push_back((self.next, message.len() as u64));
        self.bytes += message.len() as u64;
        self.next += 1;
        let mut gone = 0;
        while self.waiting.len() > MAX_MESSAGES || self.bytes > MAX_BYTES && self.waiting.len() > 1
        {
            self.pop();
            gone += 1;
        }
        Ok(gone)
    }

    /// The oldest message with its number. One that can't be read is dropped.
    pub(super) fn front(&mut self) -> Option<(u64, Vec<u8>)> {
        while let Some((number, bytes)) = self.waiting.front().copied() {
            match fs::read(self.path(number)) {
                Ok(message) if bytes <= MAX_MESSAGE_BYTES => return Some((number, message)),
                _ => self.pop(),
            }
        }
        None
    }

    /// Drops a message that was delivered, unless it went already.
    pub(super) fn delivered(&mut self, number: u64) {
        if self
            .waiting
            .front()
            .is_some_and(|(front, _)| *front == number)
        {
            self.pop();
        }
    }

    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn pop(&mut self) {
        if let Some((number, bytes)) = self.waiting.pop_front() {
            self.bytes -= bytes;
            // Delivered twice after a restart otherwise: the receiver has the event's id.
            let _ = fs::remove_file(self.path(number));
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}.{ENDING}"))
    }
}

fn number(path: &Path) -> Option<u64> {
    let is_ours = path.extension().is_some_and(|it| it == ENDING);
    path.file_stem().filter(|_| is_ours)?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_outlive_the_process_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(dir.path().join("box")).unwrap();
        for text in ["a", "b", "c"] {
            assert_eq!(outbox.push(text.as_bytes()).unwrap(), 0);
        }
        let (first, _) = outbox.front().unwrap();
        outbox.delivered(first);
        outbox.delivered(first);
        fs::write(dir.path().join("box/x.part"), "half").unwrap();
        drop(outbox);
        let mut outbox = Outbox::open(dir.path().join("box")).unwrap();
        assert_eq!(outbox.len(), 2);
        outbox.push(b"d").unwrap();
        let mut all = Vec::new();
        while let Some((number, message)) = outbox.front() {
            all.push(String::from_utf8(message).unwrap());
            outbox.delivered(number);
        }
        assert_eq!(all, ["b", "c", "d"]);
        assert_eq!(fs::read_dir(dir.path().join("box")).unwrap().count(), 0);
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(dir.path().to_owned()).unwrap();
        for _ in 0..MAX_MESSAGES {
            assert_eq!(outbox.push(b"x").unwrap(), 0);
        }
        assert_eq!(outbox.push(b"x").unwrap(), 1);
        assert_eq!((outbox.len(), outbox.front().unwrap().0), (MAX_MESSAGES, 2));
    }
}
