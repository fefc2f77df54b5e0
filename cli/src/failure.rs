//! What a command reports when it can't do its job: what failed, why, what to do next, and the exit
//! code. Printing happens once, in `main`.

use std::fmt;

/// Exit codes, documented in `docs/cli.md`. Append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something failed that has no code of its own.
    Failed = 1,
    /// The command line is wrong. `plan --detailed-exitcode` uses the same number for "changes".
    Usage = 2,
    /// The control plane can't be reached.
    Unreachable = 3,
    /// The manifest was rejected; nothing was changed.
    Rejected = 4,
    /// No such system, device, node, token, revision or context.
    NotFound = 5,
    /// The wait ran out of time; what was started goes on.
    Timeout = 6,
    /// Somebody else changed the thing meanwhile, or it exists already.
    Conflict = 7,
    /// The token is missing, wrong or not allowed to do this.
    Denied = 8,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    what: String,
    why: Option<String>,
    next: Vec<String>,
}

/// What every command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            why: None,
            next: Vec::new(),
        }
    }

    /// [`Exit::Failed`].
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    /// [`Exit::Usage`].
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// The cause, in words.
    pub(crate) fn why(mut self, why: impl fmt::Display) -> Self {
        let why = why.to_string();
        if !why.is_empty() {
            self.why = Some(why);
        }
        self
    }

    /// One thing a person can do about it.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }

    /// What to do next, on one line.
    pub(crate) fn advice(&self) -> String {
        self.why
            .iter()
            .chain(&self.next)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// The text for a terminal, several lines.
    pub(crate) fn render(&self, paint: crate::output::colour::Paint) -> String {
        let mut text = format!("{} {}", paint.bad("error:"), self.what);
        if let Some(why) = &self.why {
            text.push_str(&format!(
                "\n  {} {}",
                paint.dim("why: "),
                why.replace('\n', "\n        ")
            ));
        }
        for next in &self.next {
            text.push_str(&format!("\n  {} {next}", paint.dim("next:")));
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)
    }
}

/// The innermost source of an error, which is where the real reason of transport errors is.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !text.is_empty() {
            deepest = text;
        }
        source = error.source();
    }
    deepest
}
