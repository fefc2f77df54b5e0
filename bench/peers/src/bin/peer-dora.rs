//! The work over dora: a dataflow of two nodes, both this program again, run by `dora run` of the
//! command-line tool that the variable DORA names. The time of the process that runs the dataflow on
//! a processor counts too.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, anyhow, bail};
use dora_node_api::{DoraNode, Event, MetadataParameters, dora_core::config::DataId};
use edgeflow_bench_peers::{Work, age_us, cpu_us, stamp};
use rustix::process::getppid;
use serde_json::{Value, json};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [role, dir, work @ ..] if role == "source" => source(Path::new(dir), &Work::parse(work)?),
        [role, dir, work @ ..] if role == "sink" => sink(Path::new(dir), &Work::parse(work)?),
        work => run(&Work::parse(work)?),
    }
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("dora: {error}")
}

fn run(work: &Work) -> Result<()> {
    let dora = std::env::var("DORA").context("DORA names no tool")?;
    let dir = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let (program, folder) = (program.display(), dir.path().display());
    let args = work.args().join(" ");
    let dataflow = format!(
        "nodes:
  - id: source
    path: {program}
    args: source {folder} {args}
    outputs: [frames]
  - id: sink
    path: {program}
    args: sink {folder} {args}
    inputs:
      frames: {{source: source/frames, queue_size: 16}}
"
    );
    let path = dir.path().join("dataflow.yml");
    fs::write(&path, dataflow)?;
    let output = Command::new(dora)
        .current_dir(dir.path())
        .args(["run", "--stop-after", "60"])
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .context("running dora")?;
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
    let (Some(source), Some(sink)) = (read("source.json"), read("sink.json")) else {
        bail!(
            "dora: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let (source, mut sink): (Value, Value) =
        (serde_json::from_str(&source)?, serde_json::from_str(&sink)?);
    let cpu = |side: &Value| side["cpu_us"].as_f64().context("no figures");
    sink["cpu_us"] = json!(cpu(&source)? + cpu(&sink)?);
    println!("{sink}");
    Ok(())
}

fn source(dir: &Path, work: &Work) -> Result<()> {
    let (mut node, _events) = DoraNode::init_from_env().map_err(failed)?;
    let output = DataId::from("frames".to_owned());
    let mut payload = vec![7; work.bytes];
    let mut send = || {
        stamp(&mut payload);
        let parameters = MetadataParameters::default();
        node.send_output_raw(output.clone(), parameters, work.bytes, |sample| {
            sample.copy_from_slice(&payload);
            if work.in_place {
                stamp(sample);
            }
        })
        .map_err(failed)
    };
    let cpu = cpu_us();
    work.pace(&mut send)?;
    let cpu = cpu_us() - cpu;
    fs::write(dir.join("source.json"), json!({"cpu_us": cpu}).to_string())?;
    // In place of those that were lost.
    let spare = Work {
        frames: work.frames / 4,
        ..work.clone()
    };
    spare.pace(&mut send)
}

fn sink(dir: &Path, work: &Work) -> Result<()> {
    let (_node, mut events) = DoraNode::init_from_env().map_err(failed)?;
    let (cpu, daemon) = (cpu_us(), parent_cpu_us()?);
    let mut hops = Vec::with_capacity(work.frames as usize);
    while hops.len() < work.frames as usize {
        match events.recv().context("dora: the stream has ended")? {
            Event::Input { data, .. } => {
                let payload: &[u8] = (&data).try_into().map_err(failed)?;
                hops.push(age_us(payload).context("an empty payload")?);
            }
            Event::Stop(_) | Event::InputClosed { .. } => {
                bail!("dora: {} of {} frames arrived", hops.len(), work.frames)
            }
            _ => {}
        }
    }
    let cpu = cpu_us() - cpu + parent_cpu_us()? - daemon;
    let result = json!({"hops_us": hops, "cpu_us": cpu});
    fs::write(dir.join("sink.json"), result.to_string())?;
    Ok(())
}

/// Time on a processor of the process that runs the dataflow, in ticks of 10 ms.
fn parent_cpu_us() -> Result<f64> {
    let parent = getppid().context("no parent")?.as_raw_nonzero();
    let stat = fs::read_to_string(format!("/proc/{parent}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks * 10_000.0)
}
