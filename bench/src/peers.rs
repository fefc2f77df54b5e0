//! `peers`: the paced part of `hop` with other libraries, by the programs of `bench/peers`, each run of
//! theirs after one of ours, so that both meet the same machine.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use edgeflow_stream::transport::shm::SharedMemory;
use serde_json::{Map, Value};

use crate::{
    hop::{CASES, Case, Payload, Run, Samples, paced_link},
    report,
};

const PAIRS: usize = 3;

/// One of the others.
struct Peer {
    name: &'static str,
    program: &'static str,
    /// What it is told before the work.
    options: &'static [&'static str],
    payload: Payload,
}

impl Peer {
    const fn new(
        name: &'static str,
        program: &'static str,
        options: &'static [&'static str],
        payload: Payload,
    ) -> Self {
        Self {
            name,
            program,
            options,
            payload,
        }
    }
}

const PEERS: [Peer; 6] = [
    Peer::new("iceoryx2", "peer-iceoryx2", &[], Payload::Copied),
    Peer::new("iceoryx2", "peer-iceoryx2", &[], Payload::InPlace),
    Peer::new("zenoh_shm", "peer-zenoh", &["shm"], Payload::Copied),
    Peer::new("zenoh_tcp", "peer-zenoh", &["tcp"], Payload::Copied),
    Peer::new("dora", "peer-dora", &[], Payload::Copied),
    Peer::new("dora", "peer-dora", &[], Payload::InPlace),
];

/// `args` is the folder of their programs.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let [folder] = args else {
        bail!("run `cargo xtask bench peers`: it builds their programs first");
    };
    let folder = PathBuf::from(folder);
    let mut rows = Vec::new();
    for case in &CASES {
        for peer in &PEERS {
            if peer.name == "dora" && std::env::var_os("DORA").is_none() {
                eprintln!("note: without dora: there is no tool of it, and DORA names none");
                continue;
            }
            rows.push(compare(case, peer, &folder.join(peer.program))?);
        }
    }
    report::print("peers", &rows);
    Ok(())
}

fn compare(case: &Case, peer: &Peer, program: &Path) -> Result<Value> {
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let mut failed = 0;
    for _ in 0..PAIRS {
        ours.add(&paced_link(
            case,
            Some(SharedMemory::default()),
            peer.payload,
        )?);
        match measure(case, peer, program) {
            Ok(run) => theirs.add(&run),
            // Theirs may lose frames; that is a figure too.
            Err(error) => {
                eprintln!("note: {}, {}: {error:#}", peer.name, case.name);
                failed += 1;
            }
        }
    }
    let mut row = Map::new();
    row.insert("payload".to_owned(), case.name.into());
    row.insert("peer".to_owned(), peer.name.into());
    let in_place = peer.payload == Payload::InPlace;
    row.insert("in_place".to_owned(), in_place.into());
    ours.write("our_", "", &mut row);
    theirs.write("their_", "", &mut row);
    ours.compare(&theirs, "theirs", &mut row);
    row.insert("pairs".to_owned(), PAIRS.into());
    row.insert("failed".to_owned(), failed.into());
    Ok(Value::Object(row))
}

fn measure(case: &Case, peer: &Peer, program: &Path) -> Result<Run> {
    let output = Command::new(program)
        .args(peer.options)
        .args(case.work(peer.payload))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {}", program.display()))?;
    if !output.status.success() {
        bail!("{}: {}", program.display(), output.status);
    }
    let text = String::from_utf8(output.stdout)?;
    Run::parse(text.lines().last().context("no figures")?)
}
