//! Pictures of events that the control plane has not acknowledged: a file each, named by the event's
//! number. The newest [`MAX_PICTURES`] are kept; an event whose picture has gone is told without it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::files;

/// Pictures that are kept.
const MAX_PICTURES: usize = 128;
/// Biggest picture.
const MAX_PICTURE_BYTES: usize = 64 * 1024;

/// The folder.
#[derive(Debug)]
pub(super) struct Pictures {
    dir: PathBuf,
    kept: BTreeSet<u64>,
}

impl Pictures {
    /// Keeps what belongs to events after `acked`; the rest goes.
    pub(super) fn open(dir: PathBuf, acked: u64) -> Self {
        let mut pictures = Self {
            kept: there(&dir),
            dir,
        };
        pictures.acknowledge(acked);
        pictures
    }

    pub(super) fn add(&mut self, sequence: u64, jpeg: &[u8]) -> io::Result<()> {
        if jpeg.len() > MAX_PICTURE_BYTES {
            return Ok(());
        }
        files::private_dir(&self.dir).map_err(io::Error::other)?;
        files::write_durable(&self.path(sequence), 0o600, &[jpeg])?;
        self.kept.insert(sequence);
        while self.kept.len() > MAX_PICTURES
            && let Some(oldest) = self.kept.pop_first()
        {
            self.remove(oldest);
        }
        Ok(())
    }

    /// The picture of an event; empty: none.
    pub(super) fn get(&self, sequence: u64) -> Vec<u8> {
        if !self.kept.contains(&sequence) {
            return Vec::new();
        }
        files::read_bounded(&self.path(sequence), MAX_PICTURE_BYTES as u64).unwrap_or_default()
    }

    /// Drops the pictures of events up to `sequence`.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        while let Some(oldest) = self.kept.first().copied().filter(|it| *it <= sequence) {
            self.kept.pop_first();
            self.remove(oldest);
        }
    }

    fn remove(&self, sequence: u64) {
        // Left over until the next start otherwise.
        let _ = files::remove_if_there(&self.path(sequence));
    }

    fn path(&self, sequence: u64) -> PathBuf {
        self.dir.join(format!("{sequence}.jpg"))
    }
}

fn there(dir: &Path) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(dir) else {
        return BTreeSet::new();
    };
    let number = |entry: io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name();
        name.to_str()?.strip_suffix(".jpg")?.parse().ok()
    };
    entries.filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_kept_until_their_event_is_acknowledged_and_no_more_than_some() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pictures");
        let mut pictures = Pictures::open(path.clone(), 0);
        for number in 1..=MAX_PICTURES as u64 + 2 {
            pictures.add(number, &number.to_le_bytes()).unwrap();
        }
        assert_eq!(pictures.get(2), b"");
        assert_eq!(pictures.get(3), 3_u64.to_le_bytes());
        let mut again = Pictures::open(path.clone(), 100);
        assert_eq!(again.get(100), b"");
        assert_eq!(again.get(101), 101_u64.to_le_bytes());
        again.acknowledge(u64::MAX);
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
        again.add(500, &vec![0; MAX_PICTURE_BYTES + 1]).unwrap();
        assert_eq!(again.get(500), b"");
    }
}
