//! `curves`: what a frame costs and how old it is at its consumer as links, size and consumers grow, one
//! of them at a time, all realtime links in shared memory. One process sends; each consumer is a
//! process of its own (`curves/consumer.rs`).

mod chart;
mod consumer;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use edgeflow_spec::qos::LinkQos;
use edgeflow_stream::transport::shm::SharedMemory;
use edgeflow_stream::transport::unix::UnixListen;
use edgeflow_stream::{Codec, Frame, GroupConfig, Limits, Publisher, PublisherConfig};
use serde_json::{Value, json};

use crate::{hop::cpu_us, report};
use consumer::Consumer;

const FPS: u32 = 30;
const MEASURED: Duration = Duration::from_secs(3);
const RUNS: usize = 3;
/// What does not change in the other curves.
const USUAL: Point = Point {
    links: 1,
    bytes: 50_000,
    consumers: 1,
};
const LINKS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const BYTES: [usize; 10] = [
    1_000, 5_000, 10_000, 50_000, 200_000, 500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000,
];
const CONSUMERS: [usize; 5] = [1, 2, 4, 8, 16];

#[derive(Clone, Copy)]
struct Point {
    links: usize,
    bytes: usize,
    consumers: usize,
}

/// One thing that grows.
struct Curve {
    name: &'static str,
    unit: &'static str,
    /// What the chart's axis counts in powers of.
    step: f64,
    points: Vec<(usize, Point)>,
}

/// What was measured at a point; medians of the runs.
struct Figures {
    x: f64,
    /// Both sides together, for one frame at one consumer.
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    /// Time on a processor of all processes in a second.
    load_ms: f64,
    /// Of what was sent.
    arrived: f64,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    match args {
        [] => measure(None),
        [flag, path] if flag == "--svg" => measure(Some(Path::new(path))),
        [role, rest @ ..] if role == "consumer" => consumer::serve(rest),
        _ => bail!("usage: cargo xtask bench curves [--svg PATH]"),
    }
}

fn curves() -> [Curve; 3] {
    let links = LINKS.map(|links| (links, Point { links, ..USUAL }));
    let bytes = BYTES.map(|bytes| (bytes, Point { bytes, ..USUAL }));
    let consumers = CONSUMERS.map(|consumers| (consumers, Point { consumers, ..USUAL }));
    let curve = |name, unit, step, points: &[(usize, Point)]| Curve {
        name,
        unit,
        step,
        points: points.to_vec(),
    };
    [
        curve("links", "links", 2.0, &links),
        curve("size", "bytes", 10.0, &bytes),
        curve("consumers", "consumers", 2.0, &consumers),
    ]
}

fn measure(svg: Option<&Path>) -> Result<()> {
    let mut rows = Vec::new();
    let mut panels = Vec::new();
    for curve in curves() {
        let mut figures = Vec::new();
        for (x, point) in &curve.points {
            figures.push(figures_of(*x, *point)?);
        }
        print_table(&curve, &figures);
        rows.push(row(&curve, &figures));
        panels.extend(panels_of(&curve, &figures));
    }
    if let Some(path) = svg {
        std::fs::write(path, chart::draw(&panels))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    println!("{}", json!({"bench": "curves", "rows": rows}));
    Ok(())
}

fn print_table(curve: &Curve, figures: &[Figures]) {
    println!(
        "{:>10} {:>13} {:>9} {:>9} {:>10} {:>8}",
        curve.unit, "CPU us/frame", "p50 us", "p99 us", "CPU ms/s", "arrived"
    );
    for one in figures {
        println!(
            "{:>10} {:>13.0} {:>9.0} {:>9.0} {:>10.1} {:>7.1}%",
            one.x,
            one.cpu_us,
            one.p50_us,
            one.p99_us,
            one.load_ms,
            one.arrived * 100.0
        );
    }
    let line = linearity(figures);
    println!(
        "CPU ms/s = {:.2} + {:.3e} for each of {}; linearity (R2) {:.4}\n",
        line.base_ms, line.per_unit_ms, curve.unit, line.r_squared
    );
}

fn row(curve: &Curve, figures: &[Figures]) -> Value {
    let list = |pick: fn(&Figures) -> f64| -> Vec<f64> {
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        figures.iter().map(pick).map(round).collect()
    };
    json!({
        "curve": curve.name,
        "unit": curve.unit,
        "x": list(|one| one.x),
        "cpu_us_per_frame": list(|one| one.cpu_us),
        "p50_us": list(|one| one.p50_us),
        "p99_us": list(|one| one.p99_us),
        "cpu_ms_per_s": list(|one| one.load_ms),
        "arrived": list(|one| one.arrived),
        "linearity": (linearity(figures).r_squared * 10_000.0).round() / 10_000.0,
        "fps": FPS,
        "runs": RUNS,
    })
}

fn panels_of(curve: &Curve, figures: &[Figures]) -> [chart::Panel; 2] {
    let line = |pick: fn(&Figures) -> f64| figures.iter().map(|one| (one.x, pick(one))).collect();
    [
        chart::Panel {
            title: format!("CPU for a frame in µs, by {}", curve.name),
            x: curve.unit,
            step: curve.step,
            lines: vec![("CPU", line(|one| one.cpu_us))],
        },
        chart::Panel {
            title: format!("Latency in µs, by {}", curve.name),
            x: curve.unit,
            step: curve.step,
            lines: vec![
                ("p50", line(|one| one.p50_us)),
                ("p99", line(|one| one.p99_us)),
            ],
        },
    ]
}

/// How well a straight line describes the time on a processor in a second.
struct Linearity {
    base_ms: f64,
    per_unit_ms: f64,
    /// The share of the differences that the line explains; 1 is a straight line.
    r_squared: f64,
}

fn linearity(figures: &[Figures]) -> Linearity {
    let sum = |term: &dyn Fn(&Figures) -> f64| figures.iter().map(term).sum::<f64>();
    let count = figures.len().max(1) as f64;
    let (x, y) = (sum(&|one| one.x) / count, sum(&|one| one.load_ms) / count);
    let spread_x = sum(&|one| (one.x - x).powi(2));
    let spread_y = sum(&|one| (one.load_ms - y).powi(2));
    let both = sum(&|one| (one.x - x) * (one.load_ms - y));
    let slope = both / spread_x;
    Linearity {
        base_ms: y - slope * x,
        per_unit_ms: slope,
        r_squared: both.powi(2) / (spread_x * spread_y),
    }
}

/// One run.
struct Once {
    hops_us: Vec<f64>,
    cpu_us: f64,
    expected: usize,
}

fn figures_of(x: usize, point: Point) -> Result<Figures> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(measure_once(point)?);
    }
    let median = |pick: fn(&Once) -> f64| {
        let values: Vec<f64> = runs.iter().map(pick).collect();
        report::median(&values)
    };
    Ok(Figures {
        x: x as f64,
        cpu_us: median(|once| once.cpu_us / once.hops_us.len().max(1) as f64),
        p50_us: median(|once| report::percentile(&once.hops_us, 50.0)),
        p99_us: median(|once| report::percentile(&once.hops_us, 99.0)),
        load_ms: median(|once| once.cpu_us / 1000.0 / MEASURED.as_secs_f64()),
        arrived: median(|once| once.hops_us.len() as f64 / once.expected as f64),
    })
}

fn measure_once(point: Point) -> Result<Once> {
    let dir = tempfile::tempdir()?;
    let publishers: Vec<Publisher> = (0..point.links)
        .map(|link| open(dir.path(), link, point.consumers))
        .collect::<Result<_>>()?;
    let mut consumers: Vec<Consumer> = (0..point.consumers)
        .map(|group| Consumer::start(dir.path(), point.links, group))
        .collect::<Result<_>>()?;
    for consumer in &mut consumers {
        consumer.line()?;
    }
    let frame = Frame::new(Codec::Bytes, vec![7; point.bytes]);
    let each = FPS * u32::try_from(MEASURED.as_secs())?;
    let sends = each * u32::try_from(point.links)?;
    let cpu = cpu_us();
    let start = Instant::now();
    for index in 0..sends {
        // Links in turns, as cameras that know nothing of each other send.
        let due = start + MEASURED.mul_f64(f64::from(index) / f64::from(sends));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        publishers[index as usize % point.links].send(frame.clone())?;
    }
    let mut once = Once {
        cpu_us: cpu_us() - cpu,
        hops_us: Vec::new(),
        expected: sends as usize * point.consumers,
    };
    for consumer in consumers {
        let (hops, cpu) = consumer.finish()?;
        once.hops_us.extend(hops);
        once.cpu_us += cpu;
    }
    Ok(once)
}

fn link_name(link: usize, group: usize) -> String {
    format!("bench{link}->c{group}")
}

fn socket(dir: &Path, link: usize) -> PathBuf {
    dir.join(format!("link{link}"))
}

fn open(dir: &Path, link: usize, consumers: usize) -> Result<Publisher> {
    let group = |group: usize| GroupConfig {
        link: link_name(link, group),
        group: format!("c{group}"),
        qos: LinkQos::realtime(),
    };
    let config = PublisherConfig {
        name: format!("bench{link}/out"),
        groups: (0..consumers).map(group).collect(),
        limits: Limits::default(),
        shared_memory: Some(SharedMemory::default()),
    };
    let listen = UnixListen::bind(&socket(dir, link))?;
    Ok(Publisher::new(config, Box::new(listen))?)
}

#[cfg(test)]
mod tests {
    use super::{Figures, linearity};

    fn at(x: f64, load_ms: f64) -> Figures {
        Figures {
            x,
            load_ms,
            cpu_us: 0.0,
            p50_us: 0.0,
            p99_us: 0.0,
            arrived: 1.0,
        }
    }

    #[test]
    fn a_straight_line_is_linear_and_a_bent_one_less() {
        let straight = linearity(&[at(1.0, 3.0), at(2.0, 5.0), at(4.0, 9.0)]);
        assert!((straight.per_unit_ms - 2.0).abs() < 1e-9);
        assert!((straight.base_ms - 1.0).abs() < 1e-9);
        assert!((straight.r_squared - 1.0).abs() < 1e-9);
        let bent = linearity(&[at(1.0, 1.0), at(2.0, 4.0), at(4.0, 16.0)]);
        assert!(bent.r_squared < 0.99);
    }
}
