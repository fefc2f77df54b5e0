//! A daemon as a child process: its life ends with its standard input, which is a pipe that closes
//! when this process ends, however it ends.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::{Child, ChildStdin, Command};

use super::{home::Home, leftovers};
use crate::{
    failure::{Failure, Outcome},
    output::colour::Paint,
    view::event::structured,
};

/// Time for the agent to stop its nodes and itself.
const AGENT_GRACE: Duration = Duration::from_millis(3_800);
/// Time for the control plane to close its sessions.
const CONTROL_PLANE_GRACE: Duration = Duration::from_millis(900);
/// A log file is moved away when it gets larger; one old file is kept.
const MAX_LOG_BYTES: u64 = 8 * 1024 * 1024;
/// Log lines shown when a daemon dies.
const TAIL_LINES: usize = 12;
/// Where they are looked for.
const TAIL_BYTES: u64 = 16 * 1024;

/// One running daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: &'static str,
    child: Child,
    /// Apart from the child, whose `wait` would close it.
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program in a process group of its own, so that Ctrl-C reaches only this process.
    pub(crate) fn start(
        home: &Home,
        name: &'static str,
        program: &Path,
        arguments: &[OsString],
        environment: &[(&str, &str)],
    ) -> Outcome<Self> {
        let log = home.log(name);
        let what = || format!("can't start the {name}");
        let _ = fs::rename(&log, old(&log));
        let open = || OpenOptions::new().create(true).append(true).open(&log);
        let out = open().map_err(|error| Failure::failed(what()).why(error))?;
        let err = open().map_err(|error| Failure::failed(what()).why(error))?;
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .env(leftovers::MARK, home.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::from(out))
            .stderr(Stdio::from(err))
            .process_group(0)
            .spawn()
            .map_err(|error| {
                Failure::failed(what()).why(format!("{}: {error}", program.display()))
            })?;
        let stdin = child.stdin.take();
        Ok(Self {
            name,
            child,
            stdin,
            log,
        })
    }

    /// A failure if the daemon has ended.
    pub(crate) fn died(&mut self) -> Option<Failure> {
        let status = self.child.try_wait().ok().flatten()?;
        let how = match status.code() {
            Some(code) => format!("ended with exit code {code}"),
            None => format!("was ended by {status}"),
        };
        Some(self.failure(format!("the {} {how}", self.name)))
    }

    /// A failure with the last lines of the log.
    pub(crate) fn failure(&self, what: String) -> Failure {
        Failure::failed(what)
            .why(tail(&self.log))
            .next(format!("read the whole log: {}", self.log.display()))
    }

    /// Asks it to stop and waits; kills it after `grace`, or once `hurry` is done.
    async fn stop(&mut self, grace: Duration, hurry: impl Future<Output = ()>) {
        drop(self.stdin.take());
        let ended = tokio::select! {
            _ = self.child.wait() => true,
            () = tokio::time::sleep(grace) => false,
            () = hurry => false,
        };
        if !ended {
            // Fails only if it has just ended.
            let _ = self.child.kill().await;
        }
    }

    /// Keeps the log file small: its content moves to the old file, the daemon writes on.
    fn rotate(&self) {
        let large = fs::metadata(&self.log).is_ok_and(|metadata| metadata.len() > MAX_LOG_BYTES);
        if large && fs::copy(&self.log, old(&self.log)).is_ok() {
            let _ = OpenOptions::new()
                .write(true)
                .open(&self.log)
                .and_then(|file| file.set_len(0));
        }
    }
}

fn old(log: &Path) -> PathBuf {
    log.with_extension("log.1")
}

/// The last lines of a file; structured lines as text.
fn tail(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        file.take(TAIL_BYTES).read_to_end(&mut bytes)
    });
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(TAIL_LINES))
        .map(|line| structured(line, Paint(false)).unwrap_or_else(|| (*line).to_owned()))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Both of them.
#[derive(Debug, Default)]
pub(crate) struct Daemons {
    pub(crate) control_plane: Option<Daemon>,
    pub(crate) agent: Option<Daemon>,
}

impl Daemons {
    /// A failure if one of them has ended.
    pub(crate) fn died(&mut self) -> Option<Failure> {
        [&mut self.agent, &mut self.control_plane]
            .into_iter()
            .flatten()
            .find_map(Daemon::died)
    }

    /// Whether there is anything to stop.
    pub(crate) fn is_empty(&self) -> bool {
        self.agent.is_none() && self.control_plane.is_none()
    }

    pub(crate) fn rotate_logs(&self) {
        [&self.agent, &self.control_plane]
            .into_iter()
            .flatten()
            .for_each(Daemon::rotate);
    }

    /// Stops the agent with its nodes, then the control plane, then whatever is left.
    pub(crate) async fn stop(mut self, home: &Home, hurry: impl Future<Output = ()>) {
        tokio::pin!(hurry);
        let mut hurried = false;
        let graces = [
            (self.agent.take(), AGENT_GRACE),
            (self.control_plane.take(), CONTROL_PLANE_GRACE),
        ];
        for (daemon, grace) in graces {
            let Some(mut daemon) = daemon else { continue };
            let hurry = async {
                if !hurried {
                    hurry.as_mut().await;
                    hurried = true;
                }
            };
            daemon.stop(grace, hurry).await;
        }
        leftovers::kill(home.dir(), home.run_dir());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_as_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut text: String = (0..50).map(|n| format!("line {n}\n")).collect();
        text.push_str("{\"level\":\"ERROR\",\"message\":\"boom\",\"port\":1}\n");
        fs::write(&path, text).unwrap();
        let tail = tail(&path);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 49\nerror boom port=1"), "{tail}");
    }
}
