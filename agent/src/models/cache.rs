//! The folder with models: `<digest>.<ending>`, and `<digest>.part` for what is on its way. Kept
//! within a budget: what no node needs goes first, the longest unused of it before others.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use edgeflow_spec::{assignment::Model, quantity::rounded_bytes};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Ending of what is not whole.
const PART: &str = "part";
/// Ending of a model without one.
const PLAIN: &str = "model";
const READ_BYTES: usize = 1024 * 1024;

/// Why a model can't be kept. The text goes into an instance's reason.
#[derive(Debug, Error)]
pub enum CacheError {
    /// It does not fit.
    #[error(
        "it needs {needs} and the models of this device may have {budget}; {used} are in use: start the agent with a larger --model-cache"
    )]
    Budget {
        /// Its size.
        needs: String,
        /// All may have.
        budget: String,
        /// What other models need.
        used: String,
    },
    /// What arrived is something else.
    #[error("what arrived has SHA-256 {0}, not the one that was announced")]
    Different(String),
    /// More arrived than there should be.
    #[error("more than its {0} bytes arrived")]
    TooMuch(u64),
    /// The disk.
    #[error("{}", disk_words(.0))]
    Disk(#[from] io::Error),
}

fn disk_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full; free some space".to_owned()
        }
        _ => format!("the disk: {error}"),
    }
}

/// The folder.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    budget: u64,
}

/// A model on its way in. What has arrived stays when it is dropped.
#[derive(Debug)]
pub struct Incoming {
    part: PathBuf,
    whole: PathBuf,
    file: File,
    hash: Sha256,
    model: Model,
    arrived: u64,
}

/// How a piece leaves a model.
#[derive(Debug)]
pub enum Arrived {
    /// There is more to come.
    Part(Box<Incoming>),
    /// It is whole.
    Whole(PathBuf),
}

/// A file in the folder.
struct Kept {
    path: PathBuf,
    digest: String,
    is_part: bool,
    bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// Nothing is read or made yet. `budget` is for all files together.
    pub fn new(dir: PathBuf, budget: u64) -> Self {
        Self { dir, budget }
    }

    /// The file of a model if it is here and is what it has to be. One that is not goes.
    pub fn check(&self, model: &Model) -> Option<PathBuf> {
        let path = self.whole(model);
        let meta = fs::metadata(&path).ok()?;
        let read = |path: &Path| {
            let mut hash = Sha256::new();
            read_into(&mut File::open(path)?, &mut hash)?;
            Ok::<_, io::Error>(hex(&hash.finalize()))
        };
        match read(&path) {
            Ok(digest) if meta.len() == model.bytes && digest == model.sha256 => {
                touch(&path);
                Some(path)
            }
            outcome => {
                tracing::warn!(file = %path.display(), ?outcome, "a damaged model is removed and fetched again");
                remove(&path);
                None
            }
        }
    }

    /// Opens what is on its way of a model, and makes room for the rest of it.
    pub fn receive(
        &self,
        model: &Model,
        wanted: &BTreeSet<String>,
    ) -> Result<Box<Incoming>, CacheError> {
        self.make_room(model, wanted)?;
        let part = self.dir.join(format!("{}.{PART}", model.sha256));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&part)?;
        if file.metadata()?.len() >= model.bytes {
            // Whole and not taken: something is wrong with it.
            file.set_len(0)?;
        }
        let mut hash = Sha256::new();
        let arrived = read_into(&mut file, &mut hash)?;
        Ok(Box::new(Incoming {
            part,
            whole: self.whole(model),
            file,
            hash,
            model: model.clone(),
            arrived,
        }))
    }

    /// Removes what nobody needs, as far as the budget asks for, and what is not whole of it.
    pub fn trim(&self, wanted: &BTreeSet<String>) {
        let mut total: u64 = 0;
        let mut unused = Vec::new();
        for kept in self.kept() {
            let is_wanted = wanted.contains(&kept.digest);
            if kept.is_part && !is_wanted {
                remove(&kept.path);
                continue;
            }
            total += kept.bytes;
            if !is_wanted {
                unused.push(kept);
            }
        }
        self.evict(unused, total, self.budget);
    }

    fn make_room(&self, model: &Model, wanted: &BTreeSet<String>) -> Result<(), CacheError> {
        let kept = self.kept().into_iter();
        // What is here of it is part of what it needs.
        let others = kept.filter(|it| it.digest != model.sha256);
        let (used, unused): (Vec<Kept>, Vec<Kept>) =
            others.partition(|it| wanted.contains(&it.digest));
        let used: u64 = used.iter().map(|it| it.bytes).sum();
        if used.saturating_add(model.bytes) > self.budget {
            return Err(CacheError::Budget {
                needs: rounded_bytes(model.bytes),
                budget: rounded_bytes(self.budget),
                used: rounded_bytes(used),
            });
        }
        let total = used + unused.iter().map(|it| it.bytes).sum::<u64>();
        self.evict(unused, total, self.budget - model.bytes);
        Ok(())
    }

    /// Removes the longest unused until `total` is `limit` at most.
    fn evict(&self, mut unused: Vec<Kept>, mut total: u64, limit: u64) {
        unused.sort_by_key(|kept| kept.used);
        for kept in unused {
            if total <= limit {
                return;
            }
            total = total.saturating_sub(kept.bytes);
            tracing::info!(file = %kept.path.display(), "an unused model makes room");
            remove(&kept.path);
        }
    }

    fn kept(&self) -> Vec<Kept> {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        let kept = |entry: io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
            Some(Kept {
                digest: path.file_stem()?.to_str()?.to_owned(),
                is_part: path.extension().is_some_and(|it| it == PART),
                bytes: meta.len(),
                used: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                path,
            })
        };
        entries.filter_map(kept).collect()
    }

    fn whole(&self, model: &Model) -> PathBuf {
        let plain = |it: &&str| {
            !it.is_empty() && *it != PART && it.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let ending = Some(model.extension.as_str()).filter(plain);
        let (digest, ending) = (&model.sha256, ending.unwrap_or(PLAIN));
        self.dir.join(format!("{digest}.{ending}"))
    }
}

impl Incoming {
    /// Bytes that are here.
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Takes a piece; the last one makes it whole. Blocks on the disk.
    pub fn take(mut self: Box<Self>, piece: &[u8]) -> Result<Arrived, CacheError> {
        let arrived = self.arrived + piece.len() as u64;
        if arrived > self.model.bytes {
            remove(&self.part);
            return Err(CacheError::TooMuch(self.model.bytes));
        }
        self.file.write_all(piece)?;
        self.hash.update(piece);
        self.arrived = arrived;
        if arrived < self.model.bytes {
            return Ok(Arrived::Part(self));
        }
        let digest = hex(&self.hash.finalize());
        if digest != self.model.sha256 {
            remove(&self.part);
            return Err(CacheError::Different(digest));
        }
        self.file.sync_all()?;
        fs::rename(&self.part, &self.whole)?;
        if let Some(dir) = self.whole.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(Arrived::Whole(self.whole))
    }
}

fn read_into(file: &mut File, hash: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(total),
            read => {
                hash.update(&buffer[..read]);
                total += read as u64;
            }
        }
    }
}

/// Used now; a file system that can't note it makes it go earlier than others.
fn touch(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(file = %path.display(), %error, "a model's file can't be removed");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(content: &[u8]) -> Model {
        Model {
            sha256: hex(&Sha256::digest(content)),
            bytes: content.len() as u64,
            extension: "onnx".to_owned(),
            description: String::new(),
        }
    }

    fn bring(cache: &Cache, content: &[u8], wanted: &BTreeSet<String>) -> PathBuf {
        let incoming = cache.receive(&model(content), wanted).unwrap();
        match incoming.take(content).unwrap() {
            Arrived::Whole(path) => path,
            Arrived::Part(_) => panic!("not whole"),
        }
    }

    #[test]
    fn a_model_that_was_cut_off_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().to_owned(), 100);
        let bolts = model(b"bolts and nuts");
        let wanted = BTreeSet::from([bolts.sha256.clone()]);
        assert_eq!(cache.check(&bolts), None);
        let incoming = cache.receive(&bolts, &wanted).unwrap();
        drop(incoming.take(b"bolts and").unwrap());
        cache.trim(&wanted);
        let incoming = cache.receive(&bolts, &wanted).unwrap();
        assert_eq!(incoming.arrived(), 9);
        let Arrived::Whole(path) = incoming.take(b" nuts").unwrap() else {
            panic!("not whole");
        };
        assert_eq!(fs::read(&path).unwrap(), b"bolts and nuts");
        assert_eq!(cache.check(&bolts), Some(path.clone()));
        assert_eq!(path.extension().unwrap(), "onnx");
        // Damaged on the disk.
        fs::write(&path, b"bolts and nutz").unwrap();
        assert_eq!(cache.check(&bolts), None);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_the_model_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().to_owned(), 100);
        let bolts = model(b"bolts");
        for wrong in [&b"nutsy"[..], b"bolts!"] {
            let incoming = cache.receive(&bolts, &BTreeSet::new()).unwrap();
            let error = incoming.take(wrong).unwrap_err().to_string();
            assert!(error.contains("arrived"), "{error}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn the_longest_unused_makes_room_and_what_is_needed_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().to_owned(), 30);
        let needed = bring(&cache, b"needed 123", &BTreeSet::new());
        let wanted = BTreeSet::from([model(b"needed 123").sha256]);
        let old = bring(&cache, b"older 1234", &wanted);
        let new = bring(&cache, b"newer 1234", &wanted);
        let long_ago = SystemTime::now() - std::time::Duration::from_secs(60);
        for (path, ago) in [(&needed, 3), (&old, 2), (&new, 1)] {
            let file = File::open(path).unwrap();
            file.set_modified(long_ago - std::time::Duration::from_secs(ago))
                .unwrap();
        }
        let next = bring(&cache, b"next 12345", &wanted);
        assert!(needed.exists() && !old.exists() && new.exists() && next.exists());
        let error = cache
            .receive(&model(b"much too large for it"), &wanted)
            .unwrap_err();
        let error = error.to_string();
        assert!(error.contains("--model-cache"), "{error}");
        assert!(
            error.contains("needs 21 B") && error.contains("30 B"),
            "{error}"
        );
        // Nothing was removed for nothing, and a part that nobody needs goes.
        assert!(new.exists() && next.exists());
        drop(cache.receive(&model(b"part"), &wanted).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        cache.trim(&wanted);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        // A smaller budget at the next start.
        Cache::new(dir.path().to_owned(), 15).trim(&wanted);
        assert!(needed.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
