//! Brings a model of the catalogue from where it is published, and checks its digest.

use std::{
    io::{self, Cursor, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use edgeflow_model::{Entry, catalogue::Source};
use edgeflow_runtime::http;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::file::hex;
use crate::{
    failure::{Failure, Outcome},
    output::{self, colour, live::measured},
};

const WHOLE_TIMEOUT: Duration = Duration::from_secs(1800);
const READ_BYTES: usize = 64 * 1024;

/// The file of a model, from the first source that gives it.
pub(super) async fn fetch(entry: &'static Entry) -> Outcome<Vec<u8>> {
    let mut reasons = Vec::new();
    for source in &entry.sources {
        output::note(colour::stderr().dim(&format!(
            "{} ({}) from {}",
            entry.name, entry.licence, source.url
        )));
        let done = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&done);
        let work = spawn_blocking(move || one(entry, source, &count));
        let what = format!("downloading {}", entry.name);
        let outcome = match measured(&what, entry.bytes, done, work).await {
            Ok(outcome) => outcome,
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(bytes) => return Ok(bytes),
            Err(reason) => reasons.push(format!("{}: {reason}", source.url)),
        }
    }
    let by_hand = format!(
        "{}, then: edgeflow model add {}",
        entry.obtain(),
        entry.file
    );
    Err(Failure::failed(format!("can't download {}", entry.name))
        .why(reasons.join("\n"))
        .next(by_hand))
}

fn one(entry: &Entry, source: &Source, done: &AtomicU64) -> Result<Vec<u8>, String> {
    // What wraps the file may be somewhat larger.
    let limit = entry.bytes.saturating_mul(4);
    let whole = get(&source.url, limit, done)?;
    let bytes = match &source.member {
        Some(member) => unpack(whole, member, entry.bytes)?,
        None => whole,
    };
    let have = hex(&Sha256::digest(&bytes));
    if have != entry.sha256 {
        return Err(format!(
            "what is there is another file: SHA-256 {have}, expected {}",
            entry.sha256
        ));
    }
    Ok(bytes)
}

fn get(url: &str, limit: u64, done: &AtomicU64) -> Result<Vec<u8>, String> {
    let response = http::client(WHOLE_TIMEOUT).get(url).call();
    let response = response.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("it answers {}", response.status()));
    }
    let mut body = response.into_body();
    let mut reader = body.as_reader().take(limit + 1);
    let mut bytes = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = reader
            .read(&mut buffer)
            .map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&buffer[..read]);
        done.store(bytes.len() as u64, Ordering::Relaxed);
        if bytes.len() as u64 > limit {
            return Err(format!("it sends over {limit} bytes"));
        }
    }
}

/// A file out of a zip file, of `limit` bytes at most.
fn unpack(zip: Vec<u8>, member: &str, limit: u64) -> Result<Vec<u8>, String> {
    let words = |error: zip::result::ZipError| format!("{member} in it: {error}");
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).map_err(words)?;
    let file = archive.by_name(member).map_err(words)?;
    let mut bytes = Vec::new();
    let read: io::Result<usize> = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("{member} in it: {error}"))?;
    Ok(bytes)
}
