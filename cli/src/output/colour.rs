//! Colour: whether there is any, and which one means what. Never used in JSON, YAML or names.

use std::{io::IsTerminal, sync::OnceLock};

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

static WHEN: OnceLock<When> = OnceLock::new();

/// Sets what `--color` says; once, before anything is printed.
pub(crate) fn init(when: When) {
    let _ = WHEN.set(when);
}

/// Paints for standard output.
pub(crate) fn stdout() -> Paint {
    Paint(enabled(std::io::stdout().is_terminal()))
}

/// Paints for standard error.
pub(crate) fn stderr() -> Paint {
    Paint(enabled(std::io::stderr().is_terminal()))
}

fn enabled(terminal: bool) -> bool {
    match WHEN.get().copied().unwrap_or_default() {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            terminal
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
    Dim,
    Bold,
    Accent,
}

/// Paints text, or leaves it alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    pub(crate) fn style(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Good => "32",
            Style::Warn => "33",
            Style::Bad => "1;31",
            Style::Dim => "2",
            Style::Bold => "1",
            Style::Accent => "36",
        };
        if self.0 && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.style(Style::Good, text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.style(Style::Warn, text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.style(Style::Bad, text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.style(Style::Dim, text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.style(Style::Bold, text)
    }

    pub(crate) fn accent(self, text: &str) -> String {
        self.style(Style::Accent, text)
    }
}
