//! From a manifest's text to a validated system, or to everything that is wrong with it. Never
//! panics, whatever the text.

use std::collections::BTreeSet;

use crate::{
    decode,
    problem::{Invalid, Problem, Severity},
    source::{Mark, Source},
    system::System,
    validate, yaml,
};

/// Largest manifest, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 1024 * 1024;
/// Most problems reported at once.
const MAX_PROBLEMS: usize = 100;
/// The place of problems with the manifest as a whole.
const TOP: Mark = Mark {
    line: 1,
    column: 1,
    length: 1,
};

/// A system that can be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The system.
    pub system: System,
    /// What is allowed but worth a look.
    pub warnings: Vec<Problem>,
}

/// Reads and validates a manifest. `file` is only shown in problems. Whether the models that it names
/// are there is left open.
pub fn parse(file: &str, text: &str) -> Result<Parsed, Invalid> {
    parse_with(file, text, None)
}

/// The same, and every model has to be one of `models`, in the catalogue, or a file of the device.
pub fn parse_with_models(
    file: &str,
    text: &str,
    models: &BTreeSet<&str>,
) -> Result<Parsed, Invalid> {
    parse_with(file, text, Some(models))
}

fn parse_with(file: &str, text: &str, models: Option<&BTreeSet<&str>>) -> Result<Parsed, Invalid> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let masked = if text.len() <= MAX_MANIFEST_BYTES {
        decode::mask_links(text)
    } else {
        "".into()
    };
    let source = Source::new(file, text);
    let error = |code, mark, message: String, hint: String| Invalid {
        problems: vec![source.problem(code, Severity::Error, mark, message, hint)],
    };
    if text.len() > MAX_MANIFEST_BYTES {
        let message = format!(
            "the manifest has {} bytes, more than {MAX_MANIFEST_BYTES}",
            text.len()
        );
        return Err(error("too-large", TOP, message, String::new()));
    }
    let tree = match yaml::read(&masked, &source) {
        Ok(Some(tree)) => tree,
        Ok(None) => {
            return Err(error(
                "empty",
                TOP,
                "the manifest is empty".to_owned(),
                "a system starts with `apiVersion: edgeflow.dev/v1` and `kind: System`".to_owned(),
            ));
        }
        Err(bad) => return Err(error(bad.code, bad.mark, bad.message, bad.hint)),
    };
    let decoded = decode::decode(&tree, &source);
    let mut problems = decoded.problems;
    if let Some(system) = &decoded.system {
        problems.extend(validate::validate(system, &decoded.marks, &source));
        if let Some(models) = models {
            let found = validate::models(system, models, &decoded.marks, &source);
            problems.extend(found);
        }
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    // The middle of a chain is the end of two links.
    problems.dedup();
    match decoded.system {
        Some(system) if !problems.iter().any(Problem::is_error) => Ok(Parsed {
            system,
            warnings: problems,
        }),
        _ => Err(Invalid {
            problems: limited(problems, &source),
        }),
    }
}

/// Keeps the first problems and says how many were left out.
fn limited(mut problems: Vec<Problem>, source: &Source<'_>) -> Vec<Problem> {
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    if more > 0 {
        problems.truncate(MAX_PROBLEMS);
        problems.push(source.problem(
            "more-problems",
            Severity::Error,
            Mark::default(),
            format!("{more} more problems are not shown"),
            "",
        ));
    }
    problems
}
