//! Starts one process: its instance file, its environment, its program. Decides nothing.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
};

use edgeflow_spec::{
    assignment::{Instance, Program},
    broker::Broker,
    instance_config::{INSTANCE_ENV, InputSocket, InstanceConfig, ModelFile, OutputSocket},
};
use thiserror::Error;
use tokio::process::{Child, Command};

use super::Shared;
use crate::{files, paths::SocketPathError};

/// What a node inherits of the agent's environment; everything else is cleared.
const INHERITED: [&str; 7] = [
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "EDGEFLOW_LOG",
    "EDGEFLOW_LOG_FORMAT",
];
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
/// Before the name of a model, in capitals: where its file is, for programs without our SDK.
const MODEL_ENV: &str = "EDGEFLOW_MODEL_";
/// Makes the kernel prefer nodes to the agent when memory runs out.
const OOM_SCORE: &str = "300";

/// Why a process could not be started. The text reaches the user as the instance's reason.
#[derive(Debug, Error)]
pub(super) enum LaunchError {
    #[error(transparent)]
    Socket(#[from] SocketPathError),
    #[error("can't prepare {path}: {source}; is the disk full or read-only?")]
    Prepare {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the built-in nodes are missing: {0} is not there; install edgeflow-nodes next to edgeflow-agent or start the agent with --nodes-bin"
    )]
    NodesBin(PathBuf),
    #[error("the node has an empty command: give `run` a program")]
    EmptyCommand,
    #[error(
        "the program `{0}` is not on this device: install it there, or give the full path of one that is"
    )]
    NotFound(String),
    #[error("the program {0} is not executable; run `chmod +x` on it")]
    NotExecutable(PathBuf),
    #[error("the program {program} can't be started: {source}")]
    Spawn {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A process that has just started.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) child: Child,
    pub(super) pid: u32,
    pub(super) socket: PathBuf,
}

/// Starts the process of an instance in a group of its own.
pub(super) fn launch(
    shared: &Shared,
    instance: &Instance,
    own_broker: Option<Broker>,
    models: BTreeMap<String, ModelFile>,
) -> Result<Launched, LaunchError> {
    let config = InstanceConfig {
        own_broker,
        models,
        ..instance_config(shared, instance)?
    };
    let environment = environment(&config, &shared.paths.instance_config(&instance.id));
    let (program, arguments) = command_line(shared, instance, &environment)?;
    prepare(shared, &config)?;
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .env_clear()
        .envs(&environment)
        .current_dir(&config.state_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command
        .spawn()
        .map_err(|source| LaunchError::Spawn { program, source })?;
    let pid = child.id().unwrap_or_default();
    // Not allowed in some containers; then the kernel chooses by size alone.
    let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE);
    Ok(Launched {
        child,
        pid,
        socket: config.control_socket,
    })
}

/// Removes sockets and instance file of an instance that has ended.
pub(super) fn clean_up(shared: &Shared, instance: &Instance) {
    let mut paths = vec![shared.paths.instance_config(&instance.id)];
    paths.extend(shared.paths.control_socket(&instance.id));
    for output in &instance.outputs {
        paths.extend(shared.paths.output_socket(&instance.id, &output.port));
    }
    for path in paths {
        // Left over in a folder that is empty after a reboot at the latest.
        let _ = files::remove_if_there(&path);
    }
}

fn instance_config(shared: &Shared, instance: &Instance) -> Result<InstanceConfig, LaunchError> {
    let paths = &shared.paths;
    let mut output_sockets = Vec::new();
    for output in &instance.outputs {
        output_sockets.push(OutputSocket {
            port: output.port.clone(),
            path: paths.output_socket(&instance.id, &output.port)?,
        });
    }
    let mut input_sockets = Vec::new();
    for input in &instance.inputs {
        for from in &input.from {
            let remote = input.remote.get(from);
            let path = match remote {
                Some(_) => paths.relay_socket(from, &input.from_port)?,
                None => paths.output_socket(from, &input.from_port)?,
            };
            input_sockets.push(InputSocket {
                port: input.port.clone(),
                link: input.link.clone(),
                group: input.group.clone(),
                qos: input.qos.clone(),
                from: from.clone(),
                path,
                device: remote.map(|remote| remote.name.clone()),
            });
        }
    }
    Ok(InstanceConfig {
        instance: instance.clone(),
        device: shared.device.borrow().clone(),
        control_socket: paths.control_socket(&instance.id)?,
        output_sockets,
        input_sockets,
        own_broker: None,
        state_dir: paths.state(&instance.id),
        models: BTreeMap::new(),
        asset_dirs: shared.assets.clone(),
    })
}

fn prepare(shared: &Shared, config: &InstanceConfig) -> Result<(), LaunchError> {
    let failed = |path: &Path, source| LaunchError::Prepare {
        path: path.to_owned(),
        source,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.state_dir)
        .map_err(|error| failed(&config.state_dir, error))?;
    // A socket of an earlier process would take connections that nobody answers.
    clean_up(shared, &config.instance);
    let file = shared.paths.instance_config(&config.instance.id);
    let bytes = serde_json::to_vec(config).map_err(|error| failed(&file, error.into()))?;
    files::write_durable(&file, 0o600, &[&bytes]).map_err(|error| failed(&file, error))
}

fn environment(config: &InstanceConfig, file: &Path) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<OsString, OsString> = INHERITED
        .iter()
        .filter_map(|name| Some((OsString::from(name), env::var_os(name)?)))
        .collect();
    environment
        .entry("PATH".into())
        .or_insert_with(|| DEFAULT_PATH.into());
    for (name, model) in &config.models {
        let name = name.to_ascii_uppercase().replace('-', "_");
        environment.insert(format!("{MODEL_ENV}{name}").into(), (&model.path).into());
    }
    for (name, value) in &config.instance.env {
        environment.insert(name.into(), value.into());
    }
    environment.insert(INSTANCE_ENV.into(), file.into());
    environment
}

fn command_line(
    shared: &Shared,
    instance: &Instance,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<(PathBuf, Vec<String>), LaunchError> {
    match &instance.program {
        Program::Builtin(name) => {
            if !shared.nodes_bin.is_file() {
                return Err(LaunchError::NodesBin(shared.nodes_bin.clone()));
            }
            Ok((
                shared.nodes_bin.clone(),
                vec!["run".to_owned(), name.clone()],
            ))
        }
        Program::Command(words) => {
            let (program, arguments) = words.split_first().ok_or(LaunchError::EmptyCommand)?;
            let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
            let program = find(program, path.unwrap_or_default())?;
            Ok((program, arguments.to_vec()))
        }
    }
}

/// Looks a program up as a shell does, but says what is wrong with it.
fn find(program: &str, path: &OsStr) -> Result<PathBuf, LaunchError> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![PathBuf::from(program)]
    } else {
        env::split_paths(path)
            .map(|dir| dir.join(program))
            .collect()
    };
    let mut not_executable = None;
    for candidate in candidates {
        match fs::metadata(&candidate) {
            Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => {
                return Ok(candidate);
            }
            Ok(metadata) if metadata.is_file() => {
                not_executable.get_or_insert(candidate);
            }
            _ => {}
        }
    }
    match not_executable {
        Some(path) => Err(LaunchError::NotExecutable(path)),
        None => Err(LaunchError::NotFound(program.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        let error = find("no-such-program", OsStr::new("/bin:/usr/bin")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`no-such-program`"), "{text}");
    }

    #[test]
    fn a_file_that_is_not_executable_is_told_apart_from_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tool"), b"#!/bin/sh\n").unwrap();
        let error = find("tool", dir.path().as_os_str()).unwrap_err();
        assert!(matches!(error, LaunchError::NotExecutable(_)));
    }

    #[test]
    fn a_program_on_the_path_is_found() {
        let found = find("sh", OsStr::new("/nowhere:/usr/bin:/bin")).unwrap();
        assert!(found.is_absolute());
    }
}
