//! Processes of a local run, found by their environment: the last line of defence against a node
//! that outlives the agent that was to stop it.

use std::{fs, io::Read, path::Path};

use rustix::process::{Pid, Signal, kill_process};

/// Set for the daemons, with the folder as its value; nodes inherit it.
pub(crate) const MARK: &str = "EDGEFLOW_LOCAL_HOME";
/// Variable of every node process, with a path in the agent's folders.
const INSTANCE: &str = "EDGEFLOW_INSTANCE";
/// More than any environment of ours.
const MAX_ENVIRONMENT: u64 = 256 * 1024;

/// The processes that belong to the run in `dir`, this one not among them.
pub(crate) fn find(dir: &Path, run_dir: &Path) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own && belongs(*pid, dir, run_dir))
        .collect()
}

/// Kills them.
pub(crate) fn kill(dir: &Path, run_dir: &Path) {
    for pid in find(dir, run_dir) {
        if let Some(pid) = Pid::from_raw(pid) {
            // Gone in the meantime is fine.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn belongs(pid: i32, dir: &Path, run_dir: &Path) -> bool {
    let mut environment = Vec::new();
    // Fails for processes of other users, which are not ours.
    let read = fs::File::open(format!("/proc/{pid}/environ"))
        .and_then(|file| file.take(MAX_ENVIRONMENT).read_to_end(&mut environment));
    read.is_ok() && !is_zombie(pid) && mentions(&environment, dir, run_dir)
}

fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}

fn mentions(environment: &[u8], dir: &Path, run_dir: &Path) -> bool {
    environment.split(|byte| *byte == 0).any(|variable| {
        let Some(at) = variable.iter().position(|byte| *byte == b'=') else {
            return false;
        };
        let (name, value) = (&variable[..at], &variable[at + 1..]);
        let Ok(value) = std::str::from_utf8(value) else {
            return false;
        };
        let value = Path::new(value);
        (name == MARK.as_bytes() && value == dir)
            || (name == INSTANCE.as_bytes()
                && (value.starts_with(dir) || value.starts_with(run_dir)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_of_this_folder_belong_to_it() {
        let (dir, run) = (Path::new("/data/a"), Path::new("/run/a"));
        for (environment, ours) in [
            (&b"A=1\0EDGEFLOW_LOCAL_HOME=/data/a\0"[..], true),
            (b"EDGEFLOW_LOCAL_HOME=/data/ab\0", false),
            (b"EDGEFLOW_INSTANCE=/run/a/x.json\0", true),
            (b"EDGEFLOW_INSTANCE=/run/ab/x.json\0", false),
            (b"PATH=/data/a\0", false),
            (b"", false),
        ] {
            assert_eq!(mentions(environment, dir, run), ours, "{environment:?}");
        }
    }
}
