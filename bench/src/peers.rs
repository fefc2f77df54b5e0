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
    hop::{CASES, Case, Run, Samples, paced_link},
    report,
};

const PAIRS: usize = 3;

/// Name, program and what it is told beside the work.
const PEERS: [(&str, &str, &[&str]); 4] = [
    ("iceoryx2", "peer-iceoryx2", &[]),
    ("zenoh_shm", "peer-zenoh", &["shm"]),
    ("zenoh_tcp", "peer-zenoh", &["tcp"]),
    ("dora", "peer-dora", &[]),
];

/// `args` is the folder of their programs.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let [folder] = args else {
        bail!("run `cargo xtask bench peers`: it builds their programs first");
    };
    let folder = PathBuf::from(folder);
    let mut rows = Vec::new();
    for case in &CASES {
        for (name, program, options) in PEERS {
            if name == "dora" && std::env::var_os("DORA").is_none() {
                eprintln!("note: without dora: there is no tool of it, and DORA names none");
                continue;
            }
            let program = folder.join(program);
            rows.push(compare(case, name, &program, options)?);
        }
    }
    report::print("peers", &rows);
    Ok(())
}

fn compare(case: &Case, name: &str, program: &Path, options: &[&str]) -> Result<Value> {
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let mut failed = 0;
    for _ in 0..PAIRS {
        ours.add(&paced_link(case, Some(SharedMemory::default()))?);
        match measure(case, program, options) {
            Ok(run) => theirs.add(&run),
            // Theirs may lose frames; that is a figure too.
            Err(error) => {
                eprintln!("note: {name}, {}: {error:#}", case.name);
                failed += 1;
            }
        }
    }
    let mut row = Map::new();
    row.insert("payload".to_owned(), case.name.into());
    row.insert("peer".to_owned(), name.into());
    ours.write("our_", "", &mut row);
    theirs.write("their_", "", &mut row);
    ours.compare(&theirs, "theirs", &mut row);
    row.insert("pairs".to_owned(), PAIRS.into());
    row.insert("failed".to_owned(), failed.into());
    Ok(Value::Object(row))
}

fn measure(case: &Case, program: &Path, options: &[&str]) -> Result<Run> {
    let output = Command::new(program)
        .args(options)
        .args(case.work())
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
