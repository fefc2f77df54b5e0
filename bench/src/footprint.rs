//! `footprint`: what an idle agent and an idle control plane keep in memory (PSS: shared pages
//! counted by share), and how large the programs are.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use edgeflow_testkit::{Fleet, binary, until_within};
use serde_json::{Value, json};

use crate::report;

const BINARIES: &[&str] = &[
    "edgeflow-agent",
    "edgeflow-control-plane",
    "edgeflow",
    "edgeflow-nodes",
];

/// Start-up allocations are given back within this time.
const SETTLE: Duration = Duration::from_secs(20);
const RUNS: usize = 3;

pub(crate) fn run(_args: &[String]) -> Result<()> {
    let mut agents = Vec::new();
    let mut planes = Vec::new();
    for _ in 0..RUNS {
        let mut fleet = Fleet::with_device()?;
        let started = std::time::Instant::now();
        until_within(SETTLE * 2, "the daemons to settle", || {
            Ok((started.elapsed() > SETTLE).then_some(()))
        })?;
        agents.push(pss_mib(fleet.agent()?.process().pid())?);
        planes.push(pss_mib(fleet.plane.process().pid())?);
    }
    let mut rows: Vec<Value> = vec![
        json!({"what": "agent idle PSS", "mib": round(report::median(&agents))}),
        json!({"what": "control plane idle PSS", "mib": round(report::median(&planes))}),
    ];
    for name in BINARIES {
        let bytes = fs::metadata(binary(name)?)?.len();
        rows.push(json!({"what": format!("size of {name}"), "mb": round(bytes as f64 / 1e6)}));
    }
    report::print("footprint", &rows);
    Ok(())
}

/// Memory of a process, shared pages counted by share, MiB.
pub(crate) fn pss_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: f64 = line
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .context("no Pss line")?
        .trim()
        .parse()
        .context("reading Pss")?;
    Ok(kib / 1024.0)
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
