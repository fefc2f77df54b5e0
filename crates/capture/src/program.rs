//! Pictures that another program delivers: ffmpeg for everything that needs a decoder (RTSP, HTTP and
//! UDP streams, video files), or a command of the user's own, such as GStreamer's or libcamera's, that
//! writes JPEGs to its standard output. Started anew with a growing pause when it ends or stalls;
//! ends with this process.
//!
//! Credentials in a source are masked in everything that leaves this module, and reach ffmpeg through
//! a pipe, where no other user of the machine can see them.

mod arguments;
mod child;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use arguments::{Decoder, Input, Options, RtspTransport};
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
pub enum ProgramError {
    /// Not installed.
    #[error(
        "`{source_text}` needs ffmpeg, which is not installed: install the package `ffmpeg` (MJPEG .avi and .mjpeg files are read without it)"
    )]
    Missing {
        /// The source, masked.
        source_text: String,
    },
    /// A command that is not there.
    #[error("the program `{0}` is not installed on this device")]
    NoProgram(String),
    /// No command at all.
    #[error("the command is empty")]
    NoCommand,
    /// It can't be started.
    #[error("{0} can't be started")]
    Start(String, #[source] std::io::Error),
    /// A file or device that is not there.
    #[error("`{0}` does not exist")]
    NoSuchSource(String),
}

/// What [`ProgramSource::poll`] found.
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

impl Options {
    fn missing(&self, program: &str) -> ProgramError {
        match &self.input {
            Input::Source(_) => ProgramError::Missing {
                source_text: self.name(),
            },
            Input::Command(_) => ProgramError::NoProgram(program.to_owned()),
        }
    }
}

/// A time without pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// In words, without credentials.
    pub reason: String,
    /// When the last picture was lost.
    pub since_unix_ms: i64,
    /// When it is tried again.
    pub next_try_unix_ms: i64,
}

/// A supervised child.
#[derive(Debug)]
pub struct ProgramSource {
    options: Options,
    child: Option<Child>,
    delivered: bool,
    pause: Duration,
    next_start: Instant,
    damaged: u64,
    restarts: u64,
    outage: Option<Outage>,
}

impl ProgramSource {
    /// Checks that ffmpeg is there and starts it.
    pub fn open(options: Options) -> Result<Self, ProgramError> {
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
            outage: None,
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
                self.outage = None;
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
        self.options.name()
    }

    /// The time without pictures that lasts, if one does.
    pub fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
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
        let now = unix_ms();
        let pause = i64::try_from(self.pause.as_millis()).unwrap_or(0);
        let reason = mask_credentials(reason);
        let since = self.outage.as_ref().map(|outage| outage.since_unix_ms);
        self.outage = Some(Outage {
            reason: reason.clone(),
            since_unix_ms: since.unwrap_or(now),
            next_try_unix_ms: now + pause,
        });
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        Poll::Down { reason }
    }

    fn drop_child(&mut self) {
        self.damaged = self.damaged();
        self.child = None;
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| {
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    })
}
