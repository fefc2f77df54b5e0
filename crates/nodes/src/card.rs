//! The error card of a source: tells consumers and viewers why there is no picture, since when, and
//! when it is tried again; again every second, for those who come later. Decides nothing.

use std::time::{Duration, Instant};

use edgeflow::{Frame, NodeError, Outputs};

/// Between two cards with the same text.
const REPEAT: Duration = Duration::from_secs(1);

/// What is shown at present.
#[derive(Debug, Default)]
pub(crate) struct Card {
    shown: Option<(Instant, String)>,
}

impl Card {
    /// Shows `text` on every output. Times are milliseconds since 1970.
    pub(crate) fn show(
        &mut self,
        text: &str,
        since_unix_ms: i64,
        next_try_unix_ms: i64,
        out: &mut Outputs,
    ) -> Result<(), NodeError> {
        let now = Instant::now();
        if let Some((at, shown)) = &self.shown
            && shown == text
            && now - *at < REPEAT
        {
            return Ok(());
        }
        self.shown = Some((now, text.to_owned()));
        let mut frame = Frame::error(text);
        let mut meta = frame.read_meta()?;
        meta.set_error_times(since_unix_ms, next_try_unix_ms);
        frame.set_meta(&meta);
        out.send_to_all(&frame)
    }

    /// There are pictures again.
    pub(crate) fn clear(&mut self) {
        self.shown = None;
    }
}
