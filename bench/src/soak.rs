//! `soak`: four sources of pictures at 30 frames a second through motion detection under a control plane
//! and an agent, for half an hour unless `--minutes` says otherwise. Looks at the resident memory of
//! every process; one that grows, or that was started again, fails the run.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use edgeflow_testkit::Fleet;
use serde_json::{Value, json};

use crate::report;

const CAMERAS: usize = 4;
const FPS: u32 = 30;
const DEFAULT_MINUTES: f64 = 30.0;
/// Between two looks.
const STEP: Duration = Duration::from_secs(2);
/// Looks that are left out at the start: buffers and caches fill up.
const WARM_UP_SHARE: f64 = 0.25;
/// Growth from the first to the last fifth of the rest that is within what allocators do.
const MAX_GROWTH_SHARE: f64 = 0.05;
const MAX_GROWTH_MIB: f64 = 1.5;

pub(crate) fn run(args: &[String]) -> Result<()> {
    let minutes = match args {
        [] => DEFAULT_MINUTES,
        [flag, minutes] if flag == "--minutes" => minutes.parse().context("--minutes")?,
        _ => bail!("usage: soak [--minutes N]"),
    };
    let time = Duration::try_from_secs_f64(minutes * 60.0).context("--minutes")?;
    let mut fleet = Fleet::with_device()?;
    fleet.apply_ready(&manifest())?;
    let processes = processes(&mut fleet)?;
    let mut seen: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut rates = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        for (name, pid) in &processes {
            let rss = rss_mib(*pid).with_context(|| format!("{name} is gone"))?;
            seen.entry(name).or_default().push(rss);
        }
        rates.extend(self::rates(&fleet)?);
        std::thread::sleep(STEP);
    }
    ensure!(
        processes == self::processes(&mut fleet)?,
        "a process was started again"
    );
    let rows: Vec<Value> = seen
        .iter()
        .map(|(name, values)| row(name, values))
        .collect();
    let fps = report::median(&rates);
    println!("frames a second at each of {CAMERAS} consumers: {fps:.1} (median)");
    report::print("soak", &rows);
    let growing: Vec<&str> = rows
        .iter()
        .filter(|row| row["flat"] == json!(false))
        .filter_map(|row| row["process"].as_str())
        .collect();
    ensure!(growing.is_empty(), "memory grows: {}", growing.join(", "));
    ensure!(fps > 0.0, "no frames came");
    Ok(())
}

fn manifest() -> String {
    let mut nodes = String::new();
    let mut links = String::new();
    for n in 1..=CAMERAS {
        nodes.push_str(&format!(
            "    camera-{n}: {{use: pattern, with: {{fps: {FPS}}}}}\n    motion-{n}: {{use: motion}}\n"
        ));
        links.push_str(&format!("    - camera-{n} -> motion-{n} -> log\n"));
    }
    format!(
        "apiVersion: edgeflow.dev/v1\nkind: System\nmetadata: {{name: soak}}\nspec:\n  nodes:\n{nodes}    \
         log: {{use: log}}\n  links:\n{links}"
    )
}

/// Name and pid of every process.
fn processes(fleet: &mut Fleet) -> Result<Vec<(String, u32)>> {
    let system = fleet.api.system("soak")?;
    let instances = system.status.unwrap_or_default().instances;
    let mut all: Vec<(String, u32)> = instances
        .into_iter()
        .map(|one| (one.node, one.pid))
        .collect();
    all.push(("agent".to_owned(), fleet.agent()?.process().pid()));
    all.push(("control-plane".to_owned(), fleet.plane.process().pid()));
    all.sort();
    Ok(all)
}

/// Frames a second at each motion detector.
fn rates(fleet: &Fleet) -> Result<Vec<f64>> {
    (1..=CAMERAS)
        .map(|n| {
            let instance = fleet.instance("soak", &format!("motion-{n}"))?;
            Ok(instance.stats.unwrap_or_default().fps)
        })
        .collect()
}

/// Resident memory of a process.
pub(crate) fn rss_mib(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("reading its status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kib: f64 = kib.context("no VmRSS")?.trim().parse().context("VmRSS")?;
    Ok(kib / 1024.0)
}

fn row(name: &str, values: &[f64]) -> Value {
    let warm_up = (values.len() as f64 * WARM_UP_SHARE) as usize;
    let values = &values[warm_up.min(values.len())..];
    let fifth = (values.len() / 5).max(1).min(values.len());
    let start = report::median(&values[..fifth]);
    let end = report::median(&values[values.len() - fifth..]);
    let most = values.iter().copied().fold(0.0, f64::max);
    json!({
        "process": name,
        "start_mib": round(start),
        "end_mib": round(end),
        "most_mib": round(most),
        "flat": is_flat(start, end),
    })
}

fn is_flat(start: f64, end: f64) -> bool {
    end - start <= (start * MAX_GROWTH_SHARE).max(MAX_GROWTH_MIB)
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_from_noise() {
        let flat: Vec<f64> = (0..100).map(|n| 20.0 + f64::from(n % 3) * 0.2).collect();
        assert_eq!(row("node", &flat)["flat"], json!(true));
        let grows: Vec<f64> = (0..100).map(|n| 20.0 + f64::from(n) * 0.05).collect();
        assert_eq!(row("node", &grows)["flat"], json!(false));
        // Only while it warms up.
        let settles: Vec<f64> = (0..100).map(|n| 20.0 + f64::from(n.min(20))).collect();
        assert_eq!(row("node", &settles)["flat"], json!(true));
    }
}
