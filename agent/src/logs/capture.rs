//! Reads a process's output as lines. Never blocks the process for longer than the log queue does,
//! and never holds more than one line of it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};

use super::{Line, Logs, MAX_LINE_BYTES, Source};
use crate::clock::unix_ms;

/// Lines that an exit carries along.
const TAIL_LINES: usize = 20;
const TAIL_LINE_BYTES: usize = 500;
const READ_BYTES: usize = 4 * 1024;

/// The last lines of one run of a process, to explain its exit.
#[derive(Clone, Debug, Default)]
pub struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, text: &str) {
        let mut lines = self.lock();
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(text.chars().take(TAIL_LINE_BYTES).collect());
    }

    /// Oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Reads until the end of `output`, that is until every process that holds its other end is gone.
pub async fn capture(
    output: impl AsyncRead + Unpin,
    source: Source,
    instance: Arc<str>,
    logs: Logs,
    tail: Tail,
) {
    let mut reader = BufReader::with_capacity(READ_BYTES, output);
    while let Some(text) = next_line(&mut reader).await {
        tail.push(&text);
        let line = Line {
            at_unix_ms: unix_ms(),
            instance: Arc::clone(&instance),
            source,
            text,
        };
        logs.write(line).await;
    }
}

async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    let mut cut = false;
    loop {
        let chunk = match reader.fill_buf().await {
            Ok(chunk) if !chunk.is_empty() => chunk,
            _ if line.is_empty() => return None,
            _ => break,
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let text = &chunk[..end.unwrap_or(chunk.len())];
        let room = MAX_LINE_BYTES - line.len();
        cut |= text.len() > room;
        line.extend_from_slice(&text[..text.len().min(room)]);
        let used = end.map_or(chunk.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    let mut text = String::from_utf8_lossy(&line).into_owned();
    if cut {
        text.push_str(" … (line cut)");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8]) -> Vec<String> {
        let mut reader = BufReader::with_capacity(7, input);
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader).await {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_split_and_a_last_one_without_an_end_counts() {
        assert_eq!(
            lines(b"one\ntwo\r\n\nlast").await,
            ["one", "two", "", "last"]
        );
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let mut input = vec![b'x'; MAX_LINE_BYTES * 3];
        input.extend_from_slice(b"\nnext\n");
        let lines = lines(&input).await;
        assert_eq!(lines.len(), 2);
        assert!(lines[0].len() < MAX_LINE_BYTES + 40);
        assert!(lines[0].ends_with("(line cut)"));
        assert_eq!(lines[1], "next");
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_do_not_end_the_capture() {
        assert_eq!(lines(b"\xff\xfe\nok\n").await.len(), 2);
    }
}
