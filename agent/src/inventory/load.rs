//! Load samples: the machine every two seconds, and the processes of the instances.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration, time::Instant};

use tokio::sync::watch;

use super::read;
use crate::{clock::unix_ms, supervisor::Board};

/// Time between samples.
const PERIOD: Duration = Duration::from_secs(2);
/// `/proc` counts in these; fixed on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// One sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// When; 0: never.
    pub at_unix_ms: i64,
    /// Share of all cores.
    pub cpu: f64,
    /// Memory in use.
    pub memory_used_bytes: u64,
    /// Memory there is.
    pub memory_total_bytes: u64,
    /// Used on the data disk.
    pub disk_used_bytes: u64,
    /// Size of the data disk.
    pub disk_total_bytes: u64,
    /// Hottest zone.
    pub temperature_celsius: Option<f64>,
    /// Load average of a minute.
    pub load1: f64,
}

/// Samples until it is dropped.
pub async fn sample(data: PathBuf, board: Arc<Board>, out: watch::Sender<Load>) {
    let mut cpu = Cpu::default();
    let mut processes = Processes::default();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (memory_used_bytes, memory_total_bytes) = memory(&read("/proc/meminfo"));
        let (disk_used_bytes, disk_total_bytes) = disk(&data);
        out.send_replace(Load {
            at_unix_ms: unix_ms(),
            cpu: cpu.next(&read("/proc/stat")),
            memory_used_bytes,
            memory_total_bytes,
            disk_used_bytes,
            disk_total_bytes,
            temperature_celsius: temperature(),
            load1: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|first| first.parse().ok())
                .unwrap_or_default(),
        });
        processes.sample(&board);
    }
}

/// Used and total bytes of `/proc/meminfo`.
pub(super) fn memory(text: &str) -> (u64, u64) {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next())
            .and_then(|value| value.parse::<u64>().ok())
            .unwrap_or_default()
            .saturating_mul(1024)
    };
    let total = field("MemTotal:");
    (total.saturating_sub(field("MemAvailable:")), total)
}

fn disk(path: &std::path::Path) -> (u64, u64) {
    rustix::fs::statvfs(path).map_or((0, 0), |stat| {
        let total = stat.f_blocks.saturating_mul(stat.f_frsize);
        let free = stat.f_bfree.saturating_mul(stat.f_frsize);
        (total.saturating_sub(free), total)
    })
}

fn temperature() -> Option<f64> {
    let zones = std::fs::read_dir("/sys/class/thermal").ok()?;
    zones
        .flatten()
        .filter(|zone| zone.file_name().as_encoded_bytes().starts_with(b"thermal_"))
        .filter_map(|zone| read(zone.path().join("temp")).parse::<f64>().ok())
        .map(|milli| milli / 1000.0)
        // Zones that are switched off show nonsense.
        .filter(|celsius| (-40.0..=150.0).contains(celsius) && *celsius != 0.0)
        .max_by(f64::total_cmp)
}

#[derive(Default)]
struct Cpu {
    busy: u64,
    total: u64,
}

impl Cpu {
    /// The share since the last call.
    fn next(&mut self, text: &str) -> f64 {
        let Some(line) = text.lines().next() else {
            return 0.0;
        };
        let fields: Vec<u64> = line
            .split_ascii_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        let total: u64 = fields.iter().sum();
        // idle and iowait
        let idle: u64 = fields.iter().skip(3).take(2).sum();
        let busy = total.saturating_sub(idle);
        let (busy_before, total_before) = (self.busy, self.total);
        (self.busy, self.total) = (busy, total);
        let passed = total.saturating_sub(total_before);
        if passed == 0 || total_before == 0 {
            return 0.0;
        }
        busy.saturating_sub(busy_before) as f64 / passed as f64
    }
}

#[derive(Default)]
struct Processes {
    before: BTreeMap<u32, (Instant, u64)>,
}

impl Processes {
    fn sample(&mut self, board: &Board) {
        let running = board.running();
        self.before
            .retain(|pid, _| running.iter().any(|(_, running)| running == pid));
        for (id, pid) in running {
            let now = Instant::now();
            let ticks = cpu_ticks(&read(format!("/proc/{pid}/stat")));
            let before = self.before.insert(pid, (now, ticks));
            let cpu = before.map_or(0.0, |(then, ticks_then)| {
                let seconds = now.duration_since(then).as_secs_f64().max(0.001);
                ticks.saturating_sub(ticks_then) as f64 / TICKS_PER_SECOND / seconds
            });
            let rss_bytes = rss(&read(format!("/proc/{pid}/status")));
            board.update(&id, |view| {
                if view.pid == pid {
                    view.cpu = cpu;
                    view.rss_bytes = rss_bytes;
                }
            });
        }
    }
}

/// User and system time of `/proc/PID/stat`.
fn cpu_ticks(text: &str) -> u64 {
    let Some(end) = text.rfind(')') else {
        return 0;
    };
    text[end + 1..]
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

fn rss(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_ascii_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or_default()
        .saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_share_is_that_of_the_time_since_the_last_sample() {
        let mut cpu = Cpu::default();
        assert_eq!(cpu.next("cpu 10 0 10 80 0 0 0 0 0 0"), 0.0);
        assert_eq!(cpu.next("cpu 60 0 10 130 0 0 0 0 0 0"), 0.5);
    }

    #[test]
    fn memory_counts_what_is_not_available() {
        let text = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\n";
        assert_eq!(memory(text), (750 * 1024, 1000 * 1024));
    }

    #[test]
    fn times_and_memory_of_a_process_are_read() {
        let text = "42 (a b) S 1 77 77 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0 1 0 0";
        assert_eq!(cpu_ticks(text), 42);
        assert_eq!(rss("Name:\tx\nVmRSS:\t     100 kB\n"), 102_400);
        assert!(rss(&read("/proc/self/status")) > 0);
    }
}
