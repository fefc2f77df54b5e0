//! When to stop: SIGINT, SIGTERM, or the end of standard input for processes whose life is tied
//! to their parent's.

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Why the process has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// SIGINT or SIGTERM.
    Signal,
    /// Standard input was closed, with [`Watch::stdin`].
    StdinClosed,
}

/// What to watch besides signals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// Stop when standard input ends. A parent that keeps the other end of a pipe takes this
    /// process with it, even when the parent is killed with -9.
    pub stdin: bool,
}

/// Waits for a reason to stop and then cancels `token`. Must be called within a Tokio runtime.
pub async fn wait(watch: Watch, token: &CancellationToken) -> std::io::Result<Reason> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let reason = tokio::select! {
        _ = interrupt.recv() => Reason::Signal,
        _ = terminate.recv() => Reason::Signal,
        () = stdin_closed(), if watch.stdin => Reason::StdinClosed,
        () = token.cancelled() => Reason::Signal,
    };
    token.cancel();
    Ok(reason)
}

async fn stdin_closed() {
    // A pipe read as a file would park a blocking thread that shutdown has to wait for.
    let stdin = match tokio::net::unix::pipe::Receiver::from_owned_fd(stdin_fd()) {
        Ok(stdin) => stdin,
        Err(_) => return std::future::pending().await,
    };
    let mut stdin = stdin;
    let mut buffer = [0_u8; 64];
    while !matches!(stdin.read(&mut buffer).await, Ok(0) | Err(_)) {}
}

fn stdin_fd() -> std::os::fd::OwnedFd {
    use std::os::fd::AsFd;
    match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => fd,
        Err(error) => {
            // Out of file descriptors at start: nothing else would work either.
            tracing::error!(%error, "standard input can't be watched");
            std::process::exit(1)
        }
    }
}
