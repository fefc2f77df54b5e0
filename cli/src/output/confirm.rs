//! The question before something is destroyed.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::failure::{Exit, Failure, Outcome};

/// Asks on a terminal; without one, or with anything but yes, fails.
pub(crate) async fn confirm(question: &str, yes: bool) -> Outcome {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage(
            "this needs a confirmation, and there is no terminal to ask on",
        )
        .next("add --yes to go ahead without being asked"));
    }
    let question = question.to_owned();
    let answer = tokio::task::spawn_blocking(move || {
        eprint!("{question} [y/N] ");
        let _ = io::stderr().flush();
        let mut answer = String::new();
        let _ = io::stdin().lock().read_line(&mut answer);
        answer
    })
    .await
    .unwrap_or_default();
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Failed, "nothing was changed").why("the answer was not yes")),
    }
}
