//! Starts the real program in folders of its own and reads its output.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use crate::eventually;

pub(crate) struct AgentDirs {
    _root: tempfile::TempDir,
    pub(crate) data: PathBuf,
    pub(crate) run: PathBuf,
}

impl AgentDirs {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self {
            data: root.path().join("data"),
            run: root.path().join("run"),
            _root: root,
        }
    }

    pub(crate) fn command(&self, server: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeflow-agent"));
        command
            .env_remove("EDGEFLOW_INSTANCE")
            .env("EDGEFLOW_LOG", "info,edgeflow_agent=debug")
            .arg("--data-dir")
            .arg(&self.data)
            .arg("--run-dir")
            .arg(&self.run)
            .args(["--http", "127.0.0.1:0", "--server", server])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, server: &str, token: &str) -> Agent {
        self.start_with(server, token, &[])
    }

    pub(crate) fn start_with(&self, server: &str, token: &str, more: &[&str]) -> Agent {
        let mut command = self.command(server);
        command.args(["--join", token]).args(more);
        if more.contains(&"--exit-with-stdin") {
            command.stdin(Stdio::piped());
        }
        Agent::spawn(command)
    }

    /// Runs a start that has to fail.
    pub(crate) async fn fails(&self, server: &str, more: &[&str]) -> Output {
        let mut command = self.command(server);
        command.args(more);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    /// Processes with an instance file of this agent.
    pub(crate) fn node_pids(&self) -> Vec<u32> {
        let wanted = format!("EDGEFLOW_INSTANCE={}", self.run.display());
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &u32| {
                std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
                    environ
                        .split(|byte| *byte == 0)
                        .any(|entry| entry.starts_with(wanted.as_bytes()))
                })
            })
            .collect()
    }
}

impl Drop for AgentDirs {
    fn drop(&mut self) {
        for pid in self.node_pids() {
            signal(pid, rustix::process::Signal::KILL);
        }
    }
}

pub(crate) struct Agent(Child);

impl Agent {
    /// Starts it; it is killed when dropped.
    pub(crate) fn spawn(mut command: Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, then its exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        signal(self.pid(), rustix::process::Signal::TERM);
        self.exit_code().await
    }

    /// Closes its standard input, then its exit code.
    pub(crate) async fn close_stdin(mut self) -> Option<i32> {
        drop(self.0.stdin.take());
        self.exit_code().await
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let status = eventually("the agent ends", || self.0.try_wait().unwrap()).await;
        status.code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        if std::thread::panicking()
            && let Some(mut stderr) = self.0.stderr.take()
        {
            let mut text = String::new();
            // Node processes may hold the pipe open no more: only the agent has it.
            let _ = stderr.read_to_string(&mut text);
            eprintln!("--- agent ---\n{text}");
        }
    }
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether a process is there and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat[stat.rfind(')').unwrap()..].starts_with(") Z"))
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).unwrap().mode() & 0o777
}
