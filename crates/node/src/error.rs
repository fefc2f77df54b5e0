//! The error of a node's own code: any error or message, optionally fatal.

use std::error::Error;
use std::fmt;

/// What a node's setup or loop returns when it fails. Any error converts with `?`.
///
/// An error from the loop is counted, logged and passed on as an error frame, and the node runs
/// on; a [fatal](Self::fatal) one ends the process with exit code 1.
pub struct NodeError {
    source: Box<dyn Error + Send + Sync>,
    fatal: bool,
    stopping: bool,
}

impl NodeError {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            source: message.into().into(),
            fatal: false,
            stopping: false,
        }
    }

    /// The same error with a sentence in front that says what was being done.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        Self {
            source: Box::new(Contextual {
                message: message.into(),
                source: self.source,
            }),
            fatal: self.fatal,
            stopping: self.stopping,
        }
    }

    /// Marks the error as one that the node can't live with.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.fatal = true;
        self
    }

    /// Whether the node ends because of it.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// Not a failure: the node is told to stop, and the frame in its loop was not dealt with. On a
    /// durable link it comes again.
    pub fn stopping() -> Self {
        let mut error = Self::new("the node is stopping");
        error.stopping = true;
        error
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The error with all its causes on one line.
    pub fn chain(&self) -> String {
        edgeflow_runtime::logging::chain(self.source.as_ref())
    }
}

impl<E> From<E> for NodeError
where
    E: Error + Send + Sync + 'static,
{
    fn from(error: E) -> Self {
        Self {
            source: Box::new(error),
            fatal: false,
            stopping: false,
        }
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl fmt::Debug for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain())
    }
}

#[derive(Debug)]
struct Contextual {
    message: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Contextual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Contextual {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_cause_once() {
        let error = NodeError::from(std::io::Error::other("disk gone")).context("reading the clip");
        assert_eq!(error.chain(), "reading the clip: disk gone");
        assert_eq!(error.to_string(), "reading the clip");
        assert!(!error.is_fatal());
    }
}
