//! Why there is no picture: closed list, each with the words that a person is shown. Makes faults of
//! system errors; never decides what comes of them.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// Why a camera delivers nothing.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nothing that fits what was asked for.
    #[error("not found: there is no camera `{wanted}`; {there}")]
    NotFound {
        /// As in system.yaml.
        wanted: String,
        /// What there is instead, in words.
        there: String,
    },
    /// It was there and is gone.
    #[error("unplugged: {name} is gone")]
    Unplugged {
        /// The camera's name and place.
        name: String,
    },
    /// Another program has it.
    #[error("busy: another program uses {}", path.display())]
    Busy {
        /// The device file.
        path: PathBuf,
    },
    /// The agent's user may not open it.
    #[error(
        "permission denied: {} can't be opened; the user of the agent has to be in the group `video`",
        path.display()
    )]
    Denied {
        /// The device file.
        path: PathBuf,
    },
    /// No picture comes.
    #[error("stalled: no picture for {:.1} s", *for_ms as f64 / 1000.0)]
    Stalled {
        /// How long.
        for_ms: u64,
    },
    /// It has no format that can be read.
    #[error("wrong format: {asked}; {} offers {offered}", path.display())]
    Format {
        /// The device file.
        path: PathBuf,
        /// What was needed, in words.
        asked: String,
        /// What there is, in words.
        offered: String,
    },
    /// The file is something else.
    #[error("not a camera: {} {what}", path.display())]
    NotCamera {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The driver reports something else.
    #[error("failed: the driver of {} can't {step}", path.display())]
    Driver {
        /// The device file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// What the driver says.
        #[source]
        source: io::Error,
    },
}

impl Fault {
    /// A stable word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Unplugged { .. } => "unplugged",
            Self::Busy { .. } => "busy",
            Self::Denied { .. } => "permission_denied",
            Self::Stalled { .. } => "stalled",
            Self::Format { .. } => "wrong_format",
            Self::NotCamera { .. } => "not_a_camera",
            Self::Driver { .. } => "failed",
        }
    }

    /// Whether a plug may end it.
    pub(super) fn waits_for_plug(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Unplugged { .. })
    }

    /// The words with what the driver says.
    pub fn text(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }

    /// What an error of a system call on the device means.
    pub(super) fn from_io(place: &Place, step: &'static str, error: io::Error) -> Self {
        let path = place.path.clone();
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NODEV | Errno::NXIO | Errno::NOENT) => Self::Unplugged {
                name: place.words(),
            },
            Some(Errno::BUSY) => Self::Busy { path },
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied { path },
            Some(Errno::NOTTY) => Self::NotCamera {
                path,
                what: "is no video device",
            },
            _ => Self::Driver {
                path,
                step,
                source: error,
            },
        }
    }
}

/// The device that a fault is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Its name, where it is known.
    pub(super) name: String,
}

impl Place {
    /// `Logitech C920 (/dev/video0)`.
    pub(super) fn words(&self) -> String {
        if self.name.is_empty() {
            return self.path.display().to_string();
        }
        format!("{} ({})", self.name, self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_become_conditions_of_their_own() {
        let place = Place {
            path: "/dev/video0".into(),
            name: "Cam".to_owned(),
        };
        for (errno, word) in [
            (Errno::NODEV, "unplugged"),
            (Errno::BUSY, "busy"),
            (Errno::ACCESS, "permission_denied"),
            (Errno::NOTTY, "not_a_camera"),
            (Errno::IO, "failed"),
        ] {
            let error = io::Error::from(errno);
            assert_eq!(Fault::from_io(&place, "start", error).word(), word);
        }
        let fault = Fault::from_io(&place, "start", io::Error::from(Errno::IO));
        let text = fault.text();
        assert!(
            text.starts_with("failed: the driver of /dev/video0 can't start: Input/output"),
            "{text}"
        );
        let gone = Fault::from_io(&place, "start", io::Error::from(Errno::NODEV));
        assert_eq!(gone.text(), "unplugged: Cam (/dev/video0) is gone");
    }
}
