//! `edgeflow doctor`: looks at everything that usually goes wrong, and says what to do about it.

mod machine;
mod server;

use clap::Args;
use serde::Serialize;

use crate::{
    args::Globals,
    failure::{Failure, Outcome},
    output::{self, Format, Row, colour, colour::Style, table::Cell},
};

const EXAMPLES: &str = "\
Examples:
  edgeflow doctor              the control plane and this machine
  edgeflow doctor -o json      for a program; exit code 1 if a check failed";

/// Check the control plane, the devices and this machine
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Ok,
    /// Works, but something is missing that some set-ups need.
    Warning,
    Failed,
    /// Could not be looked at because of an earlier failure.
    Skipped,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) state: State,
    /// What was found.
    pub(crate) detail: String,
    /// What to do about it; empty when nothing has to be done.
    pub(crate) fix: String,
}

impl Check {
    fn new(name: &'static str, state: State, detail: impl Into<String>) -> Self {
        Self {
            name,
            state,
            detail: detail.into(),
            fix: String::new(),
        }
    }

    pub(crate) fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, State::Ok, detail)
    }

    pub(crate) fn warning(
        name: &'static str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            fix: fix.into(),
            ..Self::new(name, State::Warning, detail)
        }
    }

    pub(crate) fn failed(
        name: &'static str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            fix: fix.into(),
            ..Self::new(name, State::Failed, detail)
        }
    }

    pub(crate) fn skipped(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, State::Skipped, detail)
    }
}

impl Row for Check {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["CHECK", "STATE", "DETAIL"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let (word, style) = match self.state {
            State::Ok => ("ok", Style::Good),
            State::Warning => ("warning", Style::Warn),
            State::Failed => ("failed", Style::Bad),
            State::Skipped => ("skipped", Style::Dim),
        };
        vec![
            Cell::from(self.name),
            Cell::styled(word, style),
            self.detail.as_str().into(),
        ]
    }
}

impl Doctor {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let (mut checks, target) = server::checks(globals).await;
        checks.extend(machine::checks(target.as_ref()));
        output::rows(self.output, &checks, "")?;
        let table = matches!(self.output, Format::Table | Format::Wide);
        if table {
            advise(&checks);
        }
        let failed = checks
            .iter()
            .filter(|check| check.state == State::Failed)
            .count();
        match failed {
            0 => Ok(()),
            1 => Err(Failure::failed("one check failed")),
            many => Err(Failure::failed(format!("{many} checks failed"))),
        }
    }
}

fn advise(checks: &[Check]) {
    let paint = colour::stdout();
    for check in checks.iter().filter(|check| !check.fix.is_empty()) {
        output::line(format!(
            "{} {}",
            paint.bold(&format!("{}:", check.name)),
            check.fix
        ));
    }
}
