//! `edgeflow local`: everything on one machine, and nothing left of it afterwards.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use edgeflow_testkit::{Process, assets, cli_in, mentioning, until, until_within};
use tempfile::TempDir;

use crate::manifests::pipeline;

/// What Ctrl-C may take.
const STOP_LIMIT: Duration = Duration::from_secs(5);

#[test]
fn ctrl_c_stops_everything_in_five_seconds() -> Result<()> {
    let home = home()?;
    let mut local = start(home.path())?;
    wait_running(home.path(), &mut local)?;
    let status = local.interrupt(STOP_LIMIT)?;
    let left = mentioning(home.path());
    ensure!(left.is_empty(), "left over: {left:?}\n{}", local.output());
    ensure!(
        matches!(status.code(), Some(0 | 130)),
        "{status}\n{}",
        local.output()
    );
    Ok(())
}

#[test]
fn a_killed_local_leaves_no_process() -> Result<()> {
    let home = home()?;
    let mut local = start(home.path())?;
    wait_running(home.path(), &mut local)?;
    local.kill9()?;
    until_within(Duration::from_secs(15), "every process to end", || {
        let left = mentioning(home.path());
        ensure!(left.is_empty(), "left over: {left:?}");
        Ok(Some(()))
    })
}

#[test]
fn a_second_run_takes_the_same_folder_again() -> Result<()> {
    let home = home()?;
    for _ in 0..2 {
        let mut local = start(home.path())?;
        wait_running(home.path(), &mut local)?;
        local.interrupt(STOP_LIMIT)?;
    }
    Ok(())
}

fn home() -> Result<TempDir> {
    let home = tempfile::Builder::new().prefix("ef-local-").tempdir();
    let home = home.context("creating a folder")?;
    std::fs::write(home.path().join("system.yaml"), pipeline(10, 0.05))?;
    Ok(home)
}

fn start(home: &Path) -> Result<Process> {
    let mut command = cli_in(home)?;
    command
        .args(["local", "system.yaml", "--http", "0", "--data-dir"])
        .arg(home.join("data"));
    for folder in assets() {
        command.arg("--assets").arg(folder);
    }
    Process::start(&mut command, &home.join("local.log"))
}

/// Until the dashboard's address is printed and all three nodes run.
fn wait_running(home: &Path, local: &mut Process) -> Result<()> {
    until("edgeflow local to run its nodes", || {
        if let Some(status) = local.ended() {
            anyhow::bail!("it ended with {status}:\n{}", local.output());
        }
        let nodes = mentioning(home)
            .iter()
            .filter(|(_, command)| command.contains("edgeflow-nodes run"))
            .count();
        let output = local.output();
        ensure!(nodes == 3, "{nodes} nodes run:\n{output}");
        ensure!(output.contains("http://127.0.0.1:"), "{output}");
        Ok(Some(()))
    })
}
