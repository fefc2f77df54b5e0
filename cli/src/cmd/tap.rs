//! `edgeflow tap`: frames of a running node, as lines, JSON or picture files.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use edgeflow_proto::v1::{self, tap_frames_response::Event};

use crate::{
    args::Globals,
    client::{Client, is_connection_loss},
    failure::{Failure, Outcome},
    output::{self, colour},
    view::frame::{FrameView, Rate},
};

/// Pictures written without `--count`.
const DEFAULT_PICTURES: u64 = 10;
/// Most pictures of one call: a folder stays usable.
const MAX_PICTURES: u64 = 100_000;
const RECONNECT_EVERY: Duration = Duration::from_secs(1);
/// How long a lost connection is dialled again.
const RECONNECT_FOR: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  edgeflow tap entrance detect                     one line a frame, until Ctrl-C
  edgeflow tap entrance/camera --jpg pictures      ten pictures into a folder
  edgeflow tap entrance detect --json | jq .meta.detections
  edgeflow tap entrance detect --json --count 1 --device pi-7

A tap is one more realtime consumer: it sees the newest frame whenever it has room for one, costs
nothing while nobody looks, and works for every output of every node.";

/// Look at the frames of a node
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tap {
    /// System, or SYSTEM/NODE
    #[arg(value_name = "SYSTEM")]
    system: String,
    /// Node
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// On this device [default: one that runs the node]
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "",
        hide_default_value = true
    )]
    device: String,
    /// Output port of the node [default: its first]
    #[arg(
        long,
        value_name = "PORT",
        default_value = "",
        hide_default_value = true
    )]
    port: String,
    /// Write JPEG pictures into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "json")]
    jpg: Option<PathBuf>,
    /// Print one JSON object a frame: header fields and metadata
    #[arg(long)]
    json: bool,
    /// End after so many frames [default: 10 with --jpg, else none]
    #[arg(short = 'n', long, value_name = "FRAMES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

impl Tap {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let (system, node) = self.target()?;
        let mut look = Look::new(&self)?;
        let client = Client::connect(globals).await?;
        let request = v1::TapFramesRequest {
            system: system.to_owned(),
            node: node.to_owned(),
            device: self.device.clone(),
            port: self.port.clone(),
            payload: self.jpg.is_some(),
        };
        let mut lost: Option<Instant> = None;
        loop {
            let status = match once(&client, &request, &mut look, &mut lost).await? {
                Ok(()) => return Ok(()),
                Err(status) => status,
            };
            let since = *lost.get_or_insert_with(Instant::now);
            let dialled = look.seen > 0 && is_connection_loss(&status);
            if !dialled || since.elapsed() > RECONNECT_FOR {
                return Err(client.failure(&format!("tap {system}/{node}"), &status));
            }
            if since.elapsed() < RECONNECT_EVERY {
                output::note(colour::stderr().warn("connection lost; dialling again …"));
            }
            tokio::time::sleep(RECONNECT_EVERY).await;
        }
    }

    fn target(&self) -> Outcome<(&str, &str)> {
        match (self.system.split_once('/'), &self.node) {
            (Some((system, node)), None) => Ok((system, node)),
            (None, Some(node)) => Ok((&self.system, node)),
            (Some(_), Some(_)) => Err(Failure::usage("the node is there twice")
                .next("write edgeflow tap SYSTEM NODE or edgeflow tap SYSTEM/NODE")),
            (None, None) => Err(Failure::usage("no node to look at")
                .next(format!(
                    "name one of the system's nodes: edgeflow tap {} NODE",
                    self.system
                ))
                .next(format!(
                    "see which there are: edgeflow describe system {}",
                    self.system
                ))),
        }
    }
}

/// Until the wanted number of frames; an inner error is the stream's.
async fn once(
    client: &Client,
    request: &v1::TapFramesRequest,
    look: &mut Look,
    lost: &mut Option<Instant>,
) -> Outcome<Result<(), tonic::Status>> {
    let mut stream = match client.api().tap_frames(request.clone()).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Ok(Err(status)),
    };
    loop {
        let event = match stream.message().await {
            Ok(Some(message)) => message.event,
            Ok(None) => return Ok(Err(tonic::Status::unavailable("the stream ended"))),
            Err(status) => return Ok(Err(status)),
        };
        *lost = None;
        match event {
            Some(Event::Opened(opened)) => look.opened(&opened),
            Some(Event::Problem(problem)) => {
                output::note(colour::stderr().warn(&problem.message));
            }
            Some(Event::Frame(frame)) => {
                look.frame(frame)?;
                if look.is_done() {
                    return Ok(Ok(()));
                }
            }
            // A newer server says something that this version has no words for.
            None => {}
        }
    }
}

/// What is done with frames.
struct Look {
    pictures: Option<PathBuf>,
    json: bool,
    limit: Option<u64>,
    seen: u64,
    written: u64,
    told: bool,
    rate: Rate,
}

impl Look {
    fn new(tap: &Tap) -> Outcome<Self> {
        let mut limit = tap.count;
        if let Some(folder) = &tap.jpg {
            let count = *limit.get_or_insert(DEFAULT_PICTURES);
            if count > MAX_PICTURES {
                return Err(Failure::usage(format!(
                    "one call writes {MAX_PICTURES} pictures at most"
                ))
                .next("record the frames instead: the node `record`"));
            }
            std::fs::create_dir_all(folder).map_err(|error| {
                Failure::failed(format!("can't make the folder {}", folder.display())).why(error)
            })?;
        }
        Ok(Self {
            pictures: tap.jpg.clone(),
            json: tap.json,
            limit,
            seen: 0,
            written: 0,
            told: false,
            rate: Rate::default(),
        })
    }

    fn opened(&mut self, opened: &v1::TapOpened) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let text = format!(
            "{} on {}, output {}",
            opened.instance, opened.device_name, opened.port
        );
        output::note(colour::stderr().dim(&text));
    }

    fn frame(&mut self, frame: v1::TappedFrame) -> Outcome {
        self.seen += 1;
        let fps = self.rate.count(frame.epoch, frame.seq, Instant::now());
        if let Some(folder) = &self.pictures {
            if frame.codec != "jpeg" {
                return Err(Failure::failed("the frames are no JPEG pictures")
                    .why(format!("their codec is {}", frame.codec))
                    .next("look at them without --jpg"));
            }
            let path = write_picture(folder, &frame)?;
            self.written += 1;
            output::line(path.display().to_string());
            return Ok(());
        }
        let view = FrameView::new(frame, fps);
        if self.json {
            return output::json_line(&view);
        }
        output::line(view.line(colour::stdout()));
        Ok(())
    }

    fn is_done(&self) -> bool {
        let done = self.limit.is_some_and(|limit| self.seen >= limit);
        if let Some(folder) = self.pictures.as_ref().filter(|_| done) {
            let text = format!("{} pictures in {}", self.written, folder.display());
            output::note(colour::stderr().dim(&text));
        }
        done
    }
}

/// `EPOCH-SEQ.jpg`, whole or not at all.
fn write_picture(folder: &Path, frame: &v1::TappedFrame) -> Outcome<PathBuf> {
    let path = folder.join(format!("{:08x}-{:08}.jpg", frame.epoch, frame.seq));
    let partial = path.with_extension("jpg.partial");
    let write = || {
        let mut file = std::fs::File::create(&partial)?;
        file.write_all(&frame.payload)?;
        std::fs::rename(&partial, &path)
    };
    write().map_err(|error| {
        // What is left of it is of no use.
        let _ = std::fs::remove_file(&partial);
        Failure::failed(format!("can't write {}", path.display())).why(error)
    })?;
    Ok(path)
}
