//! `cargo xtask bench NAME`: one measurement, in a release build. Each ends with one line of JSON,
//! `{"bench": NAME, "rows": [...]}`, that a program can read; docs/performance.md holds the figures.

mod apply;
mod broker;
mod cameras;
mod capture;
mod curves;
mod flow;
mod footprint;
mod hop;
mod inference;
mod peers;
mod pixels;
mod replicas;
mod report;
mod soak;

use anyhow::{Result, bail};

const HELP: &str = "\
Usage: cargo xtask bench NAME

  apply       from `apply` to running, and to the first frame at a browser's socket
  broker      links over redis-server against the raw redis crate, and with the server killed
  cameras     four 720p clips through one detect process
  capture     pictures of a camera against v4l2-ctl (`cargo xtask bench capture` has one in a machine)
  curves      cost and age of a frame by links, size and consumers; `--svg PATH` draws them
  durable     every frame through a consumer that is too slow, and one that is killed
  footprint   memory of an idle agent and control plane, sizes of the programs
  hop         latency and throughput of a link between two processes
  inference   the detect node against the bare runtime on the same model
  peers       the paced part of hop beside iceoryx2, zenoh and dora
  pixels      JPEG to pixels, half the size, pixels to JPEG, beside OpenCV
  realtime    age of frames at a consumer that is ten times too slow, memory meanwhile
  replicas    frames a second through 1, 2 and 4 replicas of a slow node
  soak        memory of every process over half an hour at 4 x 30 frames a second (`--minutes N`)
";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        bail!("{HELP}");
    };
    match name.as_str() {
        "apply" => apply::run(rest),
        "broker" => broker::run(rest),
        "cameras" => cameras::run(rest),
        "capture" => capture::run(rest),
        "curves" => curves::run(rest),
        "durable" => flow::durable(rest),
        "flow-node" => flow::node(rest),
        "footprint" => footprint::run(rest),
        "hop" => hop::run(rest),
        "inference" => inference::run(rest),
        "pixels" => pixels::run(rest),
        "peers" => peers::run(rest),
        "realtime" => flow::realtime(rest),
        "replicas" => replicas::run(rest),
        "soak" => soak::run(rest),
        "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("no benchmark `{other}`\n{HELP}"),
    }
}
