//! Running other programs: with their output shown, or captured.

use std::{
    io::ErrorKind,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::repo;

/// A command that runs in the repository's root.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(repo::root());
    command
}

/// What cargo tells the program that it runs about that program's own package. Build scripts that
/// look at these (ring's does) would run again in every change between `cargo` and `cargo xtask`.
const PACKAGE_VARIABLES: &[&str] = &[
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_BIN_",
    "CARGO_CRATE_",
];

/// The cargo that runs this program, in the environment of a shell.
pub(crate) fn cargo() -> Command {
    let mut cargo = command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if PACKAGE_VARIABLES
            .iter()
            .any(|start| text.starts_with(start))
        {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Runs with the terminal's own input and output; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = describe(command);
    let status = command
        .status()
        .map_err(|error| start_error(&text, error))?;
    if !status.success() {
        bail!("`{text}` failed: {status}");
    }
    Ok(())
}

/// Runs with standard output captured.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let text = describe(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| start_error(&text, error))?;
    if !output.status.success() {
        bail!("`{text}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of `{text}`"))
}

/// Runs with everything captured: whether it succeeded, and what it said last on standard error.
pub(crate) fn quiet(command: &mut Command) -> Result<(), String> {
    let text = describe(command);
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let last = stderr.lines().rev().find(|line| !line.trim().is_empty());
            Err(format!("`{text}`: {}", last.unwrap_or("no message")))
        }
        Err(error) => Err(start_error(&text, error).to_string()),
    }
}

/// Where a program is on the PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

fn start_error(text: &str, error: std::io::Error) -> anyhow::Error {
    if error.kind() == ErrorKind::NotFound {
        let program = text.split(' ').next().unwrap_or(text);
        return anyhow::anyhow!(
            "`{program}` is not installed; `cargo xtask setup` says how to get it"
        );
    }
    anyhow::Error::new(error).context(format!("`{text}` could not be started"))
}
