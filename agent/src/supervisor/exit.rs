//! Why a process ended, in words. An out-of-memory kill looks like any other `SIGKILL`; it is told
//! apart by the kernel's counters: `oom_kill` of the process's cgroup, or of the whole machine where
//! the cgroup has none. Best effort: with several kills at one moment it may blame a neighbour.

use std::{fs, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use crate::clock::unix_ms;

const SIGKILL: i32 = 9;
/// Characters of the last log line that a reason quotes.
const MAX_QUOTE_CHARS: usize = 240;

/// The end of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Signal, if it was killed.
    pub signal: Option<i32>,
    /// The kernel killed it for memory.
    pub out_of_memory: bool,
    /// One sentence.
    pub message: String,
    /// The last lines that it printed.
    pub log_tail: Vec<String>,
    /// When.
    pub at_unix_ms: i64,
}

impl Exit {
    pub(super) fn new(
        status: ExitStatus,
        uptime: Duration,
        out_of_memory: bool,
        log_tail: Vec<String>,
    ) -> Self {
        let after = words(uptime);
        let message = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with code {code} after {after}"),
            (None, Some(SIGKILL)) if out_of_memory => {
                format!("killed by the kernel for lack of memory after {after}")
            }
            (None, Some(signal)) => {
                format!("killed by signal {signal}{} after {after}", name(signal))
            }
            (None, None) => format!("ended after {after}"),
        };
        Self {
            code: status.code(),
            signal: status.signal(),
            out_of_memory,
            message,
            log_tail,
            at_unix_ms: unix_ms(),
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// The message and, after a failure of the process's own, the last line that it printed: most
    /// often its error. A killed process said nothing about its end.
    pub(super) fn reason(&self) -> String {
        let failed = self.code.is_some_and(|code| code != 0);
        let last = self.log_tail.iter().rev().map(|line| line.trim());
        match last.into_iter().find(|line| !line.is_empty()) {
            Some(line) if failed => {
                let line: String = line.chars().take(MAX_QUOTE_CHARS).collect();
                format!("{}: {line}", self.message)
            }
            _ => self.message.clone(),
        }
    }
}

fn words(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        secs @ 60..3600 => format!("{} min {} s", secs / 60, secs % 60),
        secs => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

/// The kernel's count of out-of-memory kills, as it was when the process started.
#[derive(Debug)]
pub(super) struct OomWatch {
    file: String,
    before: u64,
}

impl OomWatch {
    pub(super) fn new(pid: u32) -> Option<Self> {
        let file = cgroup_file(pid)
            .filter(|file| count(file).is_some())
            .unwrap_or_else(|| "/proc/vmstat".to_owned());
        let before = count(&file)?;
        Some(Self { file, before })
    }

    pub(super) fn has_struck(&self, status: ExitStatus) -> bool {
        status.signal() == Some(SIGKILL) && count(&self.file).is_some_and(|now| now > self.before)
    }
}

fn cgroup_file(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(format!("/sys/fs/cgroup{path}/memory.events"))
}

fn count(file: &str) -> Option<u64> {
    fs::read_to_string(file)
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(raw: i32, millis: u64, oom: bool) -> String {
        let status = ExitStatus::from_raw(raw);
        Exit::new(status, Duration::from_millis(millis), oom, Vec::new()).message
    }

    #[test]
    fn the_message_says_how_it_ended_and_when() {
        assert_eq!(
            message(3 << 8, 1200, false),
            "exited with code 3 after 1.2 s"
        );
        assert_eq!(message(0, 42, false), "exited with code 0 after 42 ms");
        assert_eq!(
            message(11, 61_000, false),
            "killed by signal 11 (SIGSEGV) after 1 min 1 s"
        );
        assert_eq!(
            message(9, 7_260_000, true),
            "killed by the kernel for lack of memory after 2 h 1 min"
        );
    }

    #[test]
    fn the_reason_quotes_the_last_line_of_a_failure_only() {
        let tail = vec!["error: no model".to_owned(), " ".to_owned()];
        let ended = |raw| {
            let status = ExitStatus::from_raw(raw);
            Exit::new(status, Duration::from_millis(42), false, tail.clone()).reason()
        };
        assert_eq!(
            ended(1 << 8),
            "exited with code 1 after 42 ms: error: no model"
        );
        assert_eq!(ended(0), "exited with code 0 after 42 ms");
        assert_eq!(ended(9), "killed by signal 9 (SIGKILL) after 42 ms");
    }

    #[test]
    fn the_kernel_counts_kills_somewhere() {
        let watch = OomWatch::new(std::process::id()).expect("a counter");
        assert!(!watch.has_struck(ExitStatus::from_raw(9)));
    }
}
