//! Processes as the kernel shows them: identity that survives the reuse of process ids, groups,
//! signals.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

const POLL: Duration = Duration::from_millis(20);
const MAX_STAT_BYTES: u64 = 4096;

/// The facts of `/proc/PID/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) zombie: bool,
    pub(crate) group: u32,
    /// Clock ticks between boot and start: with the id it names one process of this boot.
    pub(crate) start_ticks: u64,
}

/// `None` when there is no such process.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    let path = format!("/proc/{pid}/stat");
    let bytes = crate::files::read_bounded(path.as_ref(), MAX_STAT_BYTES).ok()?;
    parse_stat(&String::from_utf8_lossy(&bytes))
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name in parentheses may hold spaces and parentheses itself.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(16)?.parse().ok()?;
    Some(Stat {
        zombie: matches!(state, "Z" | "X"),
        group,
        start_ticks,
    })
}

/// Ids of all processes.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Sends a signal to a process group; one that is gone is fine. Never to our own group, nor to
/// "every process".
pub(crate) fn signal_group(group: u32, signal: Signal) {
    let Some(pid) = i32::try_from(group).ok().and_then(Pid::from_raw) else {
        return;
    };
    // As /proc says: an agent that init has started itself is in group 0, which rustix refuses to read.
    let ours = stat(std::process::id()).map(|stat| stat.group);
    if group <= 1 || ours == Some(group) {
        tracing::error!(group, "refusing to signal this process group");
        return;
    }
    match kill_process_group(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => tracing::warn!(group, %error, "a process group can't be signalled"),
    }
}

/// Whether a process of the group lives; those that only wait to be reaped do not count.
pub(crate) fn group_lives(group: u32) -> bool {
    all()
        .into_iter()
        .filter_map(stat)
        .any(|stat| stat.group == group && !stat.zombie)
}

/// Waits until the group is gone. `false` when `limit` passes first.
pub(crate) async fn group_gone(group: u32, limit: Duration) -> bool {
    let start = Instant::now();
    while group_lives(group) {
        if start.elapsed() >= limit {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_parser() {
        let text = "42 (a) b (c) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 0 0";
        assert_eq!(
            parse_stat(text),
            Some(Stat {
                zombie: false,
                group: 77,
                start_ticks: 123_456
            })
        );
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn this_process_is_seen_and_its_own_group_is_never_signalled() {
        let stat = stat(std::process::id()).unwrap();
        assert!(group_lives(stat.group));
        signal_group(stat.group, Signal::KILL);
        assert!(group_lives(stat.group));
    }
}
