//! Processes that a test did not start itself: nodes, and whatever else a daemon left.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};

/// Whether a process runs; a zombie does not.
pub fn alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // `pid (name) state …`; the name may hold anything, so look behind its last parenthesis.
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = raw.context("not a process id")?;
    rustix::process::kill_process(pid, signal).context("sending a signal")
}

/// `kill -9`.
pub fn kill(pid: u32) -> Result<()> {
    signal(pid, Signal::KILL)
}

/// Running processes that name a path in their command line or environment: everything that was
/// started for a test's own folder, whoever its parent is. Pid and command line.
pub fn mentioning(path: &Path) -> Vec<(u32, String)> {
    let needle = path.to_string_lossy().into_owned().into_bytes();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let this = std::process::id();
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let command = read("cmdline");
        let named = contains(&command, &needle) || contains(&read("environ"), &needle);
        if named && pid != this && alive(pid) {
            let words: Vec<_> = command
                .split(|byte| *byte == 0)
                .map(String::from_utf8_lossy)
                .collect();
            found.push((pid, words.join(" ")));
        }
    }
    found
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}
