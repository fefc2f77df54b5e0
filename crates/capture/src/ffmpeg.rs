//! Everything that needs a decoder goes through an `ffmpeg` child process, which delivers JPEGs on
//! its standard output: cameras, RTSP and HTTP streams, other video files. Started anew with a
//! growing pause when it ends or stalls; ends with this process.
//!
//! Credentials in a source are masked in everything that leaves this module. They are visible in
//! the child's command line to other processes of the same machine, as ffmpeg takes them no other way.

mod arguments;
mod child;

use std::time::{Duration, Instant};

pub use arguments::Options;
use child::Child;

use crate::url::mask_credentials;

/// A child that delivers nothing for this long is started anew.
pub const STALL_LIMIT: Duration = Duration::from_secs(10);
/// Time that a child has for its first picture: streams are probed, cameras wake up.
pub const START_LIMIT: Duration = Duration::from_secs(20);
/// First pause before a new start; doubled until [`MAX_PAUSE`].
pub const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause before a new start.
pub const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Why a source can't be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum FfmpegError {
    /// Not installed.
    #[error(
        "`{source_text}` needs ffmpeg, which is not installed: install the package `ffmpeg` (MJPEG .avi and .mjpeg files are read without it)"
    )]
    Missing {
        /// The source, masked.
        source_text: String,
    },
    /// It can't be started.
    #[error("ffmpeg can't be started")]
    Start(#[source] std::io::Error),
    /// A file or device that is not there.
    #[error("`{0}` does not exist")]
    NoSuchSource(String),
}

/// What [`FfmpegSource::poll`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Poll {
    /// A picture.
    Picture(Vec<u8>),
    /// Nothing within the time.
    Nothing,
    /// There is no signal: the child ended or stalled, and is started anew later.
    Down {
        /// In words, without credentials.
        reason: String,
    },
    /// A file that is not repeated has ended.
    End,
}

/// A supervised child.
#[derive(Debug)]
pub struct FfmpegSource {
    options: Options,
    child: Option<Child>,
    delivered: bool,
    pause: Duration,
    next_start: Instant,
    damaged: u64,
    restarts: u64,
}

impl FfmpegSource {
    /// Checks that ffmpeg is there and starts it.
    pub fn open(options: Options) -> Result<Self, FfmpegError> {
        options.check()?;
        let child = Child::start(&options)?;
        Ok(Self {
            options,
            child: Some(child),
            delivered: false,
            pause: MIN_PAUSE,
            next_start: Instant::now(),
            damaged: 0,
            restarts: 0,
        })
    }

    /// Waits up to `time` for a picture. Never blocks for longer.
    pub fn poll(&mut self, time: Duration) -> Poll {
        let Some(child) = &mut self.child else {
            return self.start_again(time);
        };
        match child.read(time) {
            Ok(Some(picture)) => {
                self.delivered = true;
                self.pause = MIN_PAUSE;
                Poll::Picture(picture)
            }
            Ok(None) => {
                let limit = if self.delivered {
                    STALL_LIMIT
                } else {
                    START_LIMIT
                };
                if child.silent_for() < limit {
                    return Poll::Nothing;
                }
                self.down(&format!("no picture for {} s", limit.as_secs()))
            }
            Err(child::Ended { success, reason }) => {
                if success && self.options.is_finite() && self.delivered {
                    self.drop_child();
                    return Poll::End;
                }
                self.down(&reason)
            }
        }
    }

    /// Broken pictures skipped so far.
    pub fn damaged(&self) -> u64 {
        self.damaged + self.child.as_ref().map_or(0, Child::damaged)
    }

    /// How often the child was started anew.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// The source, masked.
    pub fn name(&self) -> String {
        mask_credentials(&self.options.source)
    }

    /// Process id of the child, while there is one.
    pub fn child_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn start_again(&mut self, time: Duration) -> Poll {
        let wait = self.next_start.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait.min(time));
            return Poll::Nothing;
        }
        self.restarts += 1;
        self.delivered = false;
        match Child::start(&self.options) {
            Ok(child) => {
                self.child = Some(child);
                Poll::Nothing
            }
            Err(error) => self.down(&error.to_string()),
        }
    }

    fn down(&mut self, reason: &str) -> Poll {
        self.drop_child();
        self.next_start = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        Poll::Down {
            reason: mask_credentials(reason),
        }
    }

    fn drop_child(&mut self) {
        self.damaged = self.damaged();
        self.child = None;
    }
}
