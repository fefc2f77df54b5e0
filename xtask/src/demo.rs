//! `cargo xtask demo`: release binaries, model and clip, then `edgeflow local` on the quick start.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{assets, process, repo, setup};

/// The packages of the programs that users run.
pub(crate) const BINARIES: &[&str] = &[
    "edgeflow-control-plane",
    "edgeflow-agent",
    "edgeflow-cli",
    "edgeflow-nodes",
];

/// What `camera.yaml` says; another camera is written over it.
const DEFAULT_CAMERA: &str = "device: auto";

#[derive(Debug, Default, PartialEq)]
struct Options {
    camera: Option<String>,
    rest: Vec<String>,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    if let Err(error) = setup::for_demo() {
        println!("note: {error:#}");
    }
    println!("building release binaries (minutes the first time, a second later on)");
    build_release(BINARIES)?;
    let release = repo::target_dir()?.join("release");
    let system = system(&options, &release.join("edgeflow-nodes"))?;
    let mut command = process::command(&release.join("edgeflow").to_string_lossy());
    command.arg("local").arg(&system);
    command
        .arg("--data-dir")
        .arg(repo::target_dir()?.join("demo/data"));
    command.arg("--assets").arg(assets::dir()?);
    command.args(&options.rest);
    // The terminal's Ctrl-C goes to `edgeflow local` and nothing stands between.
    Err(command.exec()).context("starting edgeflow local")
}

/// Builds packages as they are released.
pub(crate) fn build_release(packages: &[&str]) -> Result<()> {
    let mut command = process::cargo();
    command.args(["build", "--release", "--locked"]);
    for package in packages {
        command.args(["--package", package]);
    }
    process::run(&mut command)
}

fn system(options: &Options, nodes: &Path) -> Result<PathBuf> {
    let examples = repo::root().join("examples/quickstart");
    if let Err(error) = assets::download().and_then(|()| assets::clip(nodes)) {
        println!("note: the model and the picture can't be had: {error:#}");
        println!("note: running the pattern with the motion detector, which need neither");
        return Ok(examples.join("pattern.yaml"));
    }
    match options.camera.as_deref() {
        None => Ok(examples.join("system.yaml")),
        Some("auto") => Ok(examples.join("camera.yaml")),
        Some(device) => {
            let template = examples.join("camera.yaml");
            let text = fs::read_to_string(&template)
                .with_context(|| format!("reading {}", template.display()))?;
            let path = repo::target_dir()?.join("demo/camera.yaml");
            fs::write(
                &path,
                text.replace(DEFAULT_CAMERA, &format!("device: {device:?}")),
            )
            .with_context(|| format!("writing {}", path.display()))?;
            Ok(path)
        }
    }
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--camera" => {
                let device = args
                    .next()
                    .context("--camera needs a device, as /dev/video0, or `auto`")?;
                options.camera = Some(device.clone());
            }
            "--" => {
                options.rest = args.cloned().collect();
                break;
            }
            other => {
                bail!("`{other}` is not understood; arguments of `edgeflow local` go after --")
            }
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::{Options, parse};

    fn args(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments_after_two_dashes_are_passed_on() {
        let options = parse(&args("--camera /dev/video2 -- --http 0")).unwrap();
        let expected = Options {
            camera: Some("/dev/video2".to_owned()),
            rest: args("--http 0"),
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn an_unknown_flag_is_refused() {
        assert!(parse(&args("--http 0")).is_err());
        assert!(parse(&args("--camera")).is_err());
    }
}
