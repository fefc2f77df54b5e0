//! Steps with a name, a time and an outcome, and the table of them at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The steps of one command.
pub(crate) struct Steps {
    started: Instant,
    done: Vec<Step>,
}

struct Step {
    name: String,
    took: Duration,
    failed: bool,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            done: Vec::new(),
        }
    }

    /// Runs a step; its error ends the command.
    pub(crate) fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("==> {name}");
        let started = Instant::now();
        let result = step();
        let took = started.elapsed();
        let word = if result.is_ok() { "done" } else { "failed" };
        eprintln!("    {name}: {word} in {:.1} s", took.as_secs_f64());
        self.done.push(Step {
            name: name.to_owned(),
            took,
            failed: result.is_err(),
        });
        result
    }

    /// Runs a step; its error is printed and ends the command only in [`Steps::finish`].
    pub(crate) fn check(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        if let Err(error) = self.run(name, step) {
            eprintln!("error: {name}: {error:#}");
        }
    }

    /// Prints the table. An error when a step failed.
    pub(crate) fn finish(self) -> Result<()> {
        eprint!("\n{}", self.table());
        let failed: Vec<&str> = self
            .done
            .iter()
            .filter(|step| step.failed)
            .map(|step| step.name.as_str())
            .collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }

    fn table(&self) -> String {
        let width = self.done.iter().map(|step| step.name.len()).max();
        let width = width.unwrap_or(0).max("total".len());
        let mut text = String::new();
        for step in &self.done {
            let mark = if step.failed { "  FAILED" } else { "" };
            let line = format!(
                "{:width$}  {:>8.1} s{mark}\n",
                step.name,
                step.took.as_secs_f64()
            );
            text.push_str(&line);
        }
        let total = self.started.elapsed().as_secs_f64();
        text.push_str(&format!("{:width$}  {total:>8.1} s\n", "total"));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Steps;

    #[test]
    fn a_failed_check_lets_the_next_step_run_and_fails_at_the_end() {
        let mut steps = Steps::new();
        let mut second_ran = false;
        steps.check("first", || anyhow::bail!("no"));
        steps.check("second", || {
            second_ran = true;
            Ok(())
        });
        assert!(second_ran);
        assert!(steps.table().contains("FAILED"));
        let error = steps.finish().expect_err("a step failed");
        assert_eq!(error.to_string(), "failed: first");
    }
}
