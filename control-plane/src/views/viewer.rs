//! One pair of eyes on a view.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{Entry, FRESH, Picture, Problem, Slot, Views};

/// Without a frame for this long there is no signal.
const NO_SIGNAL_AFTER: Duration = Duration::from_secs(2);

/// What a viewer sees next.
#[derive(Clone, Debug)]
pub enum Update {
    /// A frame.
    Picture(Picture),
    /// Why there is none; told once.
    Problem(Problem),
}

/// A viewer; leaves the view when dropped.
#[derive(Debug)]
pub struct Viewer {
    views: Arc<Views>,
    entry: Arc<Entry>,
    slot: watch::Receiver<Slot>,
    told: Option<Problem>,
    waiting_since: Option<Instant>,
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.views.leave(&self.entry);
    }
}

impl Viewer {
    pub(super) fn new(views: Arc<Views>, entry: Arc<Entry>) -> Self {
        let mut slot = entry.slot.subscribe();
        slot.mark_changed();
        Self {
            slot,
            views,
            entry,
            told: None,
            waiting_since: None,
        }
    }

    /// Asks for a frame and waits for it, or for a new reason why there is none. May be dropped
    /// and called again: nothing is lost.
    pub async fn next(&mut self) -> Update {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        loop {
            if self.slot.has_changed().unwrap_or(false) {
                let slot = self.slot.borrow_and_update().clone();
                match slot {
                    Slot::Picture(picture, at) if at >= since || at.elapsed() < FRESH => {
                        self.told = None;
                        self.waiting_since = None;
                        return Update::Picture(picture);
                    }
                    Slot::Problem(problem) if self.told.as_ref() != Some(&problem) => {
                        return self.tell(problem);
                    }
                    _ => {}
                }
            }
            self.entry.ask();
            let deadline = since + NO_SIGNAL_AFTER;
            tokio::select! {
                changed = self.slot.changed() => {
                    match changed {
                        // The next turn of the loop reads it.
                        Ok(()) => self.slot.mark_changed(),
                        Err(_) => std::future::pending().await,
                    }
                }
                () = tokio::time::sleep_until(deadline), if self.told.is_none() => {
                    return self.tell(Problem::new(
                        "no_signal",
                        "no frame for two seconds: the node runs, but sends nothing",
                    ));
                }
            }
        }
    }

    fn tell(&mut self, problem: Problem) -> Update {
        self.told = Some(problem.clone());
        Update::Problem(problem)
    }
}
