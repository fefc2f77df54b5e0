//! Problems in a manifest, shown by the same renderer that every other tool of ours uses.

use edgeflow_spec::problem::{Problem, Severity, render};

use super::colour;
use crate::view::plan::ProblemView;

/// Prints problems to standard error.
pub(crate) fn show(problems: &[ProblemView]) {
    if problems.is_empty() {
        return;
    }
    let problems: Vec<Problem> = problems.iter().map(to_spec).collect();
    super::note(render(&problems, colour::stderr().0).trim_end());
}

fn to_spec(problem: &ProblemView) -> Problem {
    Problem {
        code: problem.code.clone(),
        // A severity of a newer control plane is worth reading, so it counts as an error.
        severity: problem.severity.parse().unwrap_or(Severity::Error),
        message: problem.message.clone(),
        hint: problem.hint.clone(),
        file: problem.file.clone(),
        line: problem.line,
        column: problem.column,
        length: problem.length,
        source_line: problem.source_line.clone(),
    }
}
