//! Runs the command-line tool as a person would.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::binary;

/// What a run of `edgeflow` left.
#[derive(Clone, Debug)]
pub struct CliOutput {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl CliOutput {
    /// Itself when the exit code is 0.
    pub fn ok(self) -> Result<Self> {
        if self.code != 0 {
            bail!("exit code {}:\n{}{}", self.code, self.stdout, self.stderr);
        }
        Ok(self)
    }

    /// Both outputs.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// The tool with a home folder of its own and no environment that leads to another control plane.
pub fn cli_in(home: &Path) -> Result<Command> {
    let mut command = Command::new(binary("edgeflow")?);
    for name in [
        "EDGEFLOW_SERVER",
        "EDGEFLOW_TOKEN",
        "EDGEFLOW_CONTEXT",
        "EDGEFLOW_CA",
    ] {
        command.env_remove(name);
    }
    command
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_DATA_HOME", home.join("share"))
        .env("NO_COLOR", "1")
        .current_dir(home)
        .stdin(Stdio::null());
    Ok(command)
}

pub(crate) fn run(command: &mut Command) -> Result<CliOutput> {
    let output = command.output().context("running edgeflow")?;
    Ok(CliOutput {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
