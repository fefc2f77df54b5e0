//! A problem in a manifest and its rendering as text, with the source line and a hint. Knows
//! nothing about what can be wrong.

use std::{fmt, str::FromStr};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One problem found in a manifest. Lines and columns count from 1, columns in characters; line 0
/// means that the problem has no place in a file (a system made by a builder).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable word for programs: `unknown-field`, `cycle` …
    pub code: String,
    /// Whether it stops an apply.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// File name as given by the caller.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Length of the marked text in characters, at least 1.
    pub length: u32,
    /// The line itself; empty if it is not available.
    pub source_line: String,
}

/// Whether a problem stops an apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is applied.
    Error,
    /// Applied, but worth a look.
    Warning,
}

/// A word that is neither `error` nor `warning`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a severity")]
pub struct SeverityError(String);

/// A manifest that can't be applied. Holds at least one error, and the warnings found on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Everything found, in the order of the file.
    pub problems: Vec<Problem>,
}

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.problems.iter().filter(|p| p.is_error()).count();
        match self.problems.iter().find(|p| p.is_error()) {
            Some(first) if errors == 1 => write!(out, "{}", first.message),
            Some(first) => write!(out, "{} (and {} more)", first.message, errors - 1),
            None => write!(out, "the manifest is not valid"),
        }
    }
}

impl Problem {
    /// Whether it stops an apply.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = SeverityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "error" => Ok(Self::Error),
            "warning" => Ok(Self::Warning),
            other => Err(SeverityError(other.chars().take(32).collect())),
        }
    }
}

/// All problems as text for a terminal: code, message, the source line with the place marked, and
/// the hint. Ends with a newline unless there is nothing to show.
pub fn render(problems: &[Problem], color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut text = String::new();
    for problem in problems {
        text.push_str(&render_one(problem, &renderer));
        text.push_str("\n\n");
    }
    text.truncate(text.trim_end().len());
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn render_one(problem: &Problem, renderer: &Renderer) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(printable(&problem.message))
        .id(printable(&problem.code));
    let line = printable(&problem.source_line);
    let mut group = annotate_snippets::Group::with_title(title);
    if problem.line > 0 {
        let span = byte_span(&line, problem.column, problem.length);
        group = group.element(
            Snippet::source(line)
                .path(printable(&problem.file))
                .line_start(problem.line as usize)
                .annotation(AnnotationKind::Primary.span(span)),
        );
    }
    if !problem.hint.is_empty() {
        group = group.element(Level::HELP.message(printable(&problem.hint)));
    }
    renderer.render(&[group])
}

/// The bytes of `length` characters from character `column`, kept inside the line.
fn byte_span(line: &str, column: u32, length: u32) -> std::ops::Range<usize> {
    let start_char = column.saturating_sub(1) as usize;
    let at = |index: usize| {
        line.char_indices()
            .nth(index)
            .map_or(line.len(), |(byte, _)| byte)
    };
    at(start_char)..at(start_char.saturating_add(length.max(1) as usize))
}

/// Control characters replaced one for one, so that foreign text can't drive the terminal and
/// columns stay where they are.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            '\n' => '\n',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}
