//! One child process: its pipes, its last words, its end. Killed when dropped, and by the kernel
//! when the thread that started it ends without dropping it (a crash, `kill -9`).

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

use super::{Options, ProgramError};
use crate::jpeg::Splitter;
use crate::url::mask_credentials;

/// Bytes read from the pipe at a time.
const CHUNK: usize = 64 * 1024;
/// Bytes kept of the last line that it wrote.
const MAX_LINE: u64 = 500;

/// The child has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Exit code 0.
    pub(super) success: bool,
    /// In words.
    pub(super) reason: String,
}

#[derive(Debug)]
pub(super) struct Child {
    program: String,
    process: std::process::Child,
    pictures: ChildStdout,
    splitter: Splitter,
    chunk: Vec<u8>,
    last_picture: Instant,
    last_line: Arc<Mutex<String>>,
    lines: Option<JoinHandle<()>>,
}

impl Child {
    pub(super) fn start(options: &Options) -> Result<Self, ProgramError> {
        let start = options.start();
        let mut command = Command::new(&start.program);
        command
            .args(&start.arguments)
            .stdin(if start.input.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        end_with_parent(&mut command);
        let mut process = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => options.missing(&start.program),
            _ => ProgramError::Start(start.program.clone(), error),
        })?;
        if let Some(mut input) = process.stdin.take() {
            // A few lines: they fit into the pipe. A child that has ended says why by itself.
            let _ = input.write_all(start.input.as_bytes());
        }
        let failed = |error| ProgramError::Start(start.program.clone(), error);
        let pipes = process.stdout.take().zip(process.stderr.take());
        let Some((pictures, errors)) = pipes else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        let last_line = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&last_line);
        let lines = std::thread::Builder::new()
            .name("child-errors".to_owned())
            .spawn(move || keep_last_line(errors, &shared))
            .map_err(failed)?;
        tracing::debug!(pid = process.id(), source = %options.name(), program = start.program, "child started");
        Ok(Self {
            program: name_of(&start.program),
            process,
            pictures,
            splitter: Splitter::default(),
            chunk: vec![0; CHUNK],
            last_picture: Instant::now(),
            last_line,
            lines: Some(lines),
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits up to `time` for a picture.
    pub(super) fn read(&mut self, time: Duration) -> Result<Option<Vec<u8>>, Ended> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(picture) = self.splitter.next_picture() {
                self.last_picture = Instant::now();
                return Ok(Some(picture));
            }
            if !self.wait_readable(deadline) {
                return Ok(None);
            }
            match self.pictures.read(&mut self.chunk) {
                Ok(0) => return Err(self.end()),
                Ok(count) => self.splitter.push(&self.chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Err(self.end()),
            }
        }
    }

    /// Time since the last picture, or since the start.
    pub(super) fn silent_for(&self) -> Duration {
        self.last_picture.elapsed()
    }

    pub(super) fn damaged(&self) -> u64 {
        self.splitter.damaged()
    }

    fn wait_readable(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut pipes = [PollFd::new(&self.pictures, PollFlags::IN)];
        match poll(&mut pipes, timeout.as_ref()) {
            Ok(count) => count > 0,
            // Interrupted: the caller comes again.
            Err(_) => false,
        }
    }

    /// Standard output is closed: reaps the child and collects what it said.
    fn end(&mut self) -> Ended {
        // It may have closed its output without ending.
        let _ = self.process.kill();
        let status = self.process.wait();
        if let Some(lines) = self.lines.take() {
            let _ = lines.join();
        }
        let success = status.as_ref().is_ok_and(std::process::ExitStatus::success);
        let line = lock(&self.last_line).clone();
        let reason = match (line.as_str(), status) {
            ("", Ok(status)) => format!("{} ended: {status}", self.program),
            ("", Err(error)) => format!("{} ended: {error}", self.program),
            (line, _) => format!("{}: {line}", self.program),
        };
        Ended { success, reason }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(lines) = self.lines.take() {
            let _ = lines.join();
        }
    }
}

/// Lets the kernel kill the child when the starting thread ends. The child stays in this process's
/// group, so that whoever kills the group takes it along as well.
#[allow(unsafe_code)]
fn end_with_parent(command: &mut Command) {
    let parent = getpid();
    // SAFETY: the closure runs between fork and exec and makes two system calls; it neither
    // allocates nor takes locks.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() == Some(parent) {
                Ok(())
            } else {
                // The parent ended before the kernel was told.
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
        });
    }
}

/// `ffmpeg` of `/usr/bin/ffmpeg`.
fn name_of(program: &str) -> String {
    program.rsplit('/').next().unwrap_or(program).to_owned()
}

fn keep_last_line(errors: impl Read, last: &Mutex<String>) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    loop {
        line.clear();
        match errors.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = mask_credentials(String::from_utf8_lossy(&line).trim());
                if !text.is_empty() {
                    tracing::debug!(line = %text, "the child says");
                    *lock(last) = text;
                }
            }
        }
    }
}

fn lock(text: &Mutex<String>) -> std::sync::MutexGuard<'_, String> {
    text.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
