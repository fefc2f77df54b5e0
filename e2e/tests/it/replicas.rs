//! Replicas come and go, and are killed, while durable frames run through them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use edgeflow_testkit::{Fleet, binary, kill, until};

const FRAMES: u32 = 700;
/// Frames of a window: what may come twice when a process is replaced.
const WINDOW: usize = 64;

/// A source that counts, replicas that take 20 ms for a frame, and one process that writes the
/// numbers down.
fn counted(program: &Path, written: &Path, replicas: u32) -> String {
    let (program, written) = (program.display(), written.display());
    format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata:
  name: demo
spec:
  nodes:
    numbers: {{run: [\"{program}\", numbers], with: {{fps: 60, count: {FRAMES}}}}}
    work: {{run: [\"{program}\", relay], with: {{sleep_ms: 20}}, replicas: {replicas}}}
    collect: {{run: [\"{program}\", collect], outputs: [], with: {{write_to: \"{written}\"}}}}
  links:
    - numbers -> work [durable]
    - work -> collect [durable, ordered]
"
    )
}

/// The numbers that were written down, in the order of their first time, and how many came again.
fn read(written: &Path) -> (Vec<u32>, usize) {
    let text = std::fs::read_to_string(written).unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut first = Vec::new();
    let mut repeated = 0;
    for number in text.lines().filter_map(|line| line.parse().ok()) {
        if seen.insert(number) {
            first.push(number);
        } else {
            repeated += 1;
        }
    }
    (first, repeated)
}

fn wait_for(written: &Path, count: u32) -> Result<()> {
    until(&format!("{count} numbers"), || {
        let have = read(written).0.len();
        ensure!(have >= count as usize, "{have} of them");
        Ok(Some(()))
    })
}

/// Process ids by instance.
fn pids(fleet: &Fleet) -> Result<BTreeMap<String, u32>> {
    let system = fleet.api.system("demo")?;
    let status = system.status.context("a system without a status")?;
    let pairs = status.instances.into_iter().map(|it| (it.id, it.pid));
    Ok(pairs.collect())
}

#[test]
fn replicas_come_go_and_die_without_the_loss_of_a_durable_frame() -> Result<()> {
    let mut fleet = Fleet::with_device()?;
    for expected in ["exited", "signal 9", "condition"] {
        fleet.expect_log(expected);
    }
    let program = binary("examples/test_node")?;
    let written = fleet.home().join("numbers");
    let manifest = |replicas| counted(&program, &written, replicas);
    fleet.apply_ready(&manifest(2))?;
    wait_for(&written, 100)?;
    let before = pids(&fleet)?;
    let (first, repeated) = read(&written);
    ensure!(first.is_sorted() && repeated == 0, "{first:?}");

    fleet.apply_ready(&manifest(3))?;
    let after = pids(&fleet)?;
    for kept in ["demo.numbers.0", "demo.work.0", "demo.work.1"] {
        ensure!(before[kept] == after[kept], "{kept} was restarted");
    }
    // It has one more producer to connect to.
    ensure!(before["demo.collect.0"] != after["demo.collect.0"]);
    wait_for(&written, 250)?;

    kill(after["demo.work.1"])?;
    wait_for(&written, 400)?;
    fleet.wait_ready("demo", 2)?;

    fleet.apply_ready(&manifest(1))?;
    let last = pids(&fleet)?;
    ensure!(before["demo.numbers.0"] == last["demo.numbers.0"]);
    ensure!(before["demo.work.0"] == last["demo.work.0"]);
    wait_for(&written, FRAMES)?;
    let (first, repeated) = read(&written);
    let all: BTreeSet<u32> = first.iter().copied().collect();
    ensure!(all.into_iter().eq(1..=FRAMES), "numbers are missing");
    // Two changes and one kill.
    ensure!(repeated <= 3 * WINDOW, "{repeated} came again");
    let turned = first.windows(2).filter(|pair| pair[0] > pair[1]).count();
    println!("{repeated} numbers came again, {turned} out of turn");
    fleet.finish()
}
