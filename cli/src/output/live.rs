//! A block of lines on standard error that is redrawn in place on a terminal. Without a terminal
//! nothing is redrawn: callers print changed lines instead.

use std::{
    future::Future,
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use edgeflow_spec::quantity::rounded_bytes;

use super::colour;

/// Silence after which a person wants to know what takes so long.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a measure is drawn.
const REDRAW: Duration = Duration::from_millis(200);
const DEFAULT_COLUMNS: usize = 80;
const DEFAULT_ROWS: usize = 24;

/// The block.
#[derive(Debug)]
pub(crate) struct Live {
    terminal: bool,
    drawn: usize,
}

impl Live {
    pub(crate) fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            terminal: io::stderr().is_terminal() && !dumb,
            drawn: 0,
        }
    }

    /// Whether [`Live::draw`] shows anything.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Replaces the block. Lines are cut to the width, the block to the height.
    pub(crate) fn draw(&mut self, lines: &[String]) {
        if !self.terminal {
            return;
        }
        let (columns, rows) = size();
        let mut text = self.erase();
        let room = rows.saturating_sub(2).max(1);
        let hidden = lines.len().saturating_sub(room);
        let shown = if hidden > 0 { room - 1 } else { lines.len() };
        for line in lines.iter().take(shown) {
            text.push_str(&cut(line, columns));
            text.push('\n');
        }
        self.drawn = shown;
        if shown < lines.len() {
            text.push_str(&format!("… {} more\n", lines.len() - shown));
            self.drawn += 1;
        }
        put(&text);
    }

    /// Removes the block, so that something permanent can be printed in its place.
    pub(crate) fn clear(&mut self) {
        if self.terminal {
            let text = self.erase();
            self.drawn = 0;
            put(&text);
        }
    }

    fn erase(&self) -> String {
        if self.drawn == 0 {
            String::new()
        } else {
            format!("\x1b[{}A\r\x1b[J", self.drawn)
        }
    }
}

/// Runs `future`, and says what it is waiting for once that takes longer than a second.
pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::pin!(future);
    tokio::select! {
        done = &mut future => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    let mut live = Live::new();
    let text = colour::stderr().dim(&format!("{what} …"));
    if live.is_terminal() {
        live.draw(&[text]);
    } else {
        super::note(text);
    }
    let done = future.await;
    live.clear();
    done
}

/// The same for something whose size is known: how much of `total` is done.
pub(crate) async fn measured<T>(
    what: &str,
    total: u64,
    done: Arc<AtomicU64>,
    future: impl Future<Output = T>,
) -> T {
    tokio::pin!(future);
    tokio::select! {
        done = &mut future => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    let mut live = Live::new();
    if !live.is_terminal() {
        super::note(format!("{what} ({}) …", rounded_bytes(total)));
        return future.await;
    }
    let ended = loop {
        let now = rounded_bytes(done.load(Ordering::Relaxed));
        let text = format!("{what}: {now} of {} …", rounded_bytes(total));
        live.draw(&[colour::stderr().dim(&text)]);
        tokio::select! {
            ended = &mut future => break ended,
            () = tokio::time::sleep(REDRAW) => {}
        }
    };
    live.clear();
    ended
}

fn put(text: &str) {
    let mut out = io::stderr().lock();
    // A terminal that has gone away shows nothing, and that is all right.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => (DEFAULT_COLUMNS, DEFAULT_ROWS),
    }
}

/// Cuts to `columns` visible characters; escape sequences take no room and are kept whole.
pub(crate) fn cut(line: &str, columns: usize) -> String {
    let mut text = String::with_capacity(line.len());
    let mut visible = 0;
    let mut escape = false;
    let total = visible_width(line);
    let room = if total > columns {
        columns.saturating_sub(1)
    } else {
        columns
    };
    for c in line.chars() {
        if escape {
            text.push(c);
            escape = c != 'm';
        } else if c == '\x1b' {
            text.push(c);
            escape = true;
        } else if visible < room {
            text.push(c);
            visible += 1;
        }
    }
    if total > columns {
        text.push('…');
    }
    text
}

fn visible_width(line: &str) -> usize {
    let mut visible = 0;
    let mut escape = false;
    for c in line.chars() {
        match (escape, c) {
            (true, 'm') => escape = false,
            (true, _) => {}
            (false, '\x1b') => escape = true,
            (false, _) => visible += 1,
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_and_keep_their_colour_codes() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("\x1b[32mabcdef\x1b[0m", 4), "\x1b[32mabc\x1b[0m…");
    }
}
