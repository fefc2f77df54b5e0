//! `cargo xtask bench NAME`: a benchmark of `bench/`, in a release build. The last line that it
//! prints is one JSON object.

use anyhow::Result;

use crate::{assets, demo, peers, process, repo, vm};

pub(crate) fn run(args: &[String]) -> Result<()> {
    // The programs that are measured, as the demo and a release build them; then the measuring one.
    demo::build_release(demo::BINARIES)?;
    demo::build_release(&["edgeflow-bench"])?;
    let assets = assets::dir()?;
    let binary = repo::target_dir()?.join("release/edgeflow-bench");
    if let [name, rest @ ..] = args
        && name == "capture"
        && rest.is_empty()
    {
        return vm::bench_capture(binary);
    }
    let mut command = process::command(&binary.to_string_lossy());
    if assets.is_dir() {
        command.env("EDGEFLOW_TEST_ASSETS", &assets);
    }
    command.args(args);
    if args == ["peers"] {
        peers::prepare(&mut command)?;
    }
    if args == ["cameras"] || args == ["inference"] {
        assets::download_onnxruntime()?;
        let library = assets::onnxruntime_dir()?;
        command.env("EDGEFLOW_TEST_ONNXRUNTIME", &library);
        // Where the nodes that are measured look for it.
        let both = std::env::join_paths([assets, library])?;
        command.env("EDGEFLOW_TEST_ASSETS", both);
    }
    if args == ["pixels"] || args == ["inference"] {
        peers::python(&mut command);
    }
    process::run(&mut command)
}
