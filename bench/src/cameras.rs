//! `cameras`: four 720p clips at 15 frames a second through one detect process, all real processes
//! under a control plane and an agent. Frames a second that the model sees, from which camera, how old they
//! are when it takes them, and the memory of the process, which must not grow: nothing may queue.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use edgeflow_proto::v1::NodeStats;
use edgeflow_testkit::{Fleet, asset};
use serde_json::{Value, json};

use crate::{report, soak::rss_mib};

const CAMERAS: usize = 4;
const STEP: Duration = Duration::from_secs(1);
/// Looks before the measurement, and in it.
const WARM_UP: usize = 10;
const LOOKS: usize = 40;
const RUNS: usize = 3;
/// The model, its file, its name in a manifest.
const MODELS: [(&str, &str); 2] = [
    ("yolox-nano", "yolox_nano.onnx"),
    ("centerface", "centerface.onnx"),
];

/// What a run gave.
struct Run {
    fps: f64,
    ages_ms: Vec<f64>,
    least_of_most: f64,
    growth_mib: f64,
    cpu: f64,
    runtime: String,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    if !args.is_empty() {
        bail!("usage: cargo xtask bench cameras");
    }
    let there = MODELS.iter().filter(|(_, file)| asset(file).is_some());
    let mut rows: Vec<Value> = Vec::new();
    for (model, _) in there {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            runs.push(one(model)?);
        }
        let of = |get: fn(&Run) -> f64| report::median(&runs.iter().map(get).collect::<Vec<_>>());
        let ages: Vec<f64> = runs.iter().flat_map(|run| run.ages_ms.clone()).collect();
        rows.push(json!({
            "model": model,
            "runtime": runs[0].runtime,
            "cameras": CAMERAS,
            "frames_per_s": round(of(|run| run.fps)),
            "age_p99_ms": round(report::median(&ages)),
            "age_p99_worst_ms": round(report::percentile(&ages, 100.0)),
            "least_share_of_most": round(of(|run| run.least_of_most)),
            "rss_growth_mib": round(of(|run| run.growth_mib)),
            "cpu_of_detect": round(of(|run| run.cpu)),
        }));
    }
    ensure!(
        !rows.is_empty(),
        "no model at hand: run `cargo xtask demo` first"
    );
    report::print("cameras", &rows);
    Ok(())
}

fn one(model: &str) -> Result<Run> {
    let fleet = Fleet::with_device()?;
    fleet.apply_ready(&manifest(model))?;
    for _ in 0..WARM_UP {
        std::thread::sleep(STEP);
    }
    let before = stats(&fleet)?;
    let (mut rss, mut ages, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..LOOKS {
        std::thread::sleep(STEP);
        let instance = fleet.instance("cameras", "detect")?;
        rss.push(rss_mib(instance.pid)?);
        cpu.push(instance.cpu);
        let inputs = instance.stats.unwrap_or_default().inputs;
        let ages_now = inputs.iter().filter_map(|input| input.age);
        ages.extend(ages_now.map(|age| f64::from(age.p99_us) / 1000.0));
    }
    let after = stats(&fleet)?;
    let by_link = |stats: &NodeStats| -> BTreeMap<String, u64> {
        let inputs = stats.inputs.iter();
        inputs.map(|it| (it.link.clone(), it.frames)).collect()
    };
    let (first, last) = (by_link(&before), by_link(&after));
    ensure!(last.len() == CAMERAS, "{} inputs", last.len());
    let counts: Vec<f64> = last
        .iter()
        .map(|(link, count)| (count - first.get(link).copied().unwrap_or(0)) as f64)
        .collect();
    let most = counts.iter().copied().fold(0.0, f64::max);
    let least = counts.iter().copied().fold(f64::MAX, f64::min);
    let half = rss.len() / 2;
    Ok(Run {
        fps: (after.frames - before.frames) as f64 / (LOOKS as f64 * STEP.as_secs_f64()),
        ages_ms: ages,
        least_of_most: least / most,
        growth_mib: report::median(&rss[half..]) - report::median(&rss[..half]),
        cpu: report::median(&cpu),
        runtime: after.facts.get("runtime").cloned().unwrap_or_default(),
    })
}

fn stats(fleet: &Fleet) -> Result<NodeStats> {
    let instance = fleet.instance("cameras", "detect")?;
    instance.stats.context("no statistics")
}

fn manifest(model: &str) -> String {
    let (mut nodes, mut links) = (String::new(), String::new());
    for n in 1..=CAMERAS {
        nodes.push_str(&format!(
            "    camera-{n}: {{use: video, with: {{source: quickstart.avi}}}}\n"
        ));
        links.push_str(&format!("    - camera-{n} -> detect\n"));
    }
    format!(
        "apiVersion: edgeflow.dev/v1\nkind: System\nmetadata: {{name: cameras}}\nspec:\n  nodes:\n{nodes}    \
         detect: {{use: detect, with: {{model: {model}}}}}\n    log: {{use: log}}\n  links:\n{links}    - detect -> log\n"
    )
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
