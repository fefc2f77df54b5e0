//! `video`: frames of an MJPEG clip, of anything that ffmpeg reads, or of a command that writes JPEGs.
//! A damaged picture is left out and counted; a source that goes away shows a card with the reason
//! and is tried again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgeflow::{Condition, Context, Counter, Frame, NodeError, Outputs, Source, Step, tracing};
use edgeflow_capture::avi::{AviError, AviReader};
use edgeflow_capture::jpeg;
use edgeflow_capture::mjpeg::MjpegReader;
use edgeflow_capture::program::{self, Decoder, Options, Poll, ProgramSource, RtspTransport};
use edgeflow_capture::url::with_password;
use serde::Deserialize;

use crate::card::Card;

/// Rate of a clip that does not say one.
const DEFAULT_FPS: f64 = 25.0;
/// Longest wait for a picture before the runner gets a look at other things.
const POLL_TIME: Duration = Duration::from_millis(250);
/// Good pictures in a row after which damaged ones are forgotten.
const GOOD_AGAIN: u32 = 100;

/// Parameters of `video`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    command: Option<Vec<String>>,
    #[serde(default)]
    password_file: Option<PathBuf>,
    #[serde(default = "yes", rename = "loop")]
    repeat: bool,
    #[serde(default)]
    fps: Option<f64>,
    #[serde(default = "software")]
    decoder: String,
    #[serde(default = "yes")]
    low_latency: bool,
    #[serde(default = "tcp")]
    rtsp_transport: String,
}

fn tcp() -> String {
    RtspTransport::default().name().to_owned()
}

fn software() -> String {
    Decoder::default().name().to_owned()
}

fn yes() -> bool {
    true
}

/// The node.
#[derive(Debug)]
pub(crate) struct Video {
    input: Input,
    fps: Option<f64>,
    repeat: bool,
    condition: Condition,
    restarts: Counter,
    card: Card,
    health: Health,
}

#[derive(Debug)]
enum Input {
    Clip(Clip),
    Program(Box<ProgramSource>),
}

#[derive(Debug)]
enum Clip {
    Avi(AviReader<File>),
    Mjpeg(MjpegReader<File>),
}

/// What was wrong lately.
#[derive(Debug, Default)]
struct Health {
    damaged: u64,
    good: u32,
    sent_since_rewind: bool,
}

impl Source for Video {
    type Params = Params;

    fn setup(ctx: &mut Context, params: Params) -> Result<Self, NodeError> {
        if let Some(fps) = params.fps
            && !(0.1..=240.0).contains(&fps)
        {
            return Err(NodeError::new(format!(
                "parameter `fps`: {fps} is not from 0.1 to 240"
            )));
        }
        let input = open(ctx, &params)?;
        let fps = match &input {
            Input::Clip(clip) => Some(params.fps.or(clip.fps()).unwrap_or(DEFAULT_FPS)),
            // The program sets the pace.
            Input::Program(_) => None,
        };
        Ok(Self {
            input,
            fps,
            repeat: params.repeat,
            condition: ctx.condition(),
            restarts: ctx.counter("restarts"),
            card: Card::default(),
            health: Health::default(),
        })
    }

    fn fps(&self) -> Option<f64> {
        self.fps
    }

    fn produce(&mut self, out: &mut Outputs) -> Result<Step, NodeError> {
        match &mut self.input {
            Input::Clip(clip) => match clip.next_picture()? {
                Some(picture) => self.send(picture, out),
                None => self.at_end(),
            },
            Input::Program(source) => {
                let polled = source.poll(POLL_TIME);
                self.restarts.raise_to(source.restarts());
                match polled {
                    Poll::Picture(picture) => self.send(picture, out),
                    Poll::End => Ok(Step::End),
                    Poll::Nothing | Poll::Down { .. } => self.show_outage(out),
                }
            }
        }
    }

    fn teardown(&mut self) {
        let skipped = match &self.input {
            Input::Clip(Clip::Mjpeg(reader)) => reader.damaged(),
            Input::Clip(Clip::Avi(_)) => 0,
            Input::Program(source) => source.damaged(),
        };
        let damaged = self.health.damaged + skipped;
        if damaged > 0 {
            tracing::info!(damaged, "damaged pictures were left out");
        }
    }
}

impl Video {
    fn show_outage(&mut self, out: &mut Outputs) -> Result<Step, NodeError> {
        let outage = match &self.input {
            Input::Program(source) => source.outage(),
            Input::Clip(_) => None,
        };
        if let Some(outage) = outage {
            let text = format!("no signal: {}", outage.reason);
            self.condition.set(text.as_str());
            self.health.good = 0;
            self.card
                .show(&text, outage.since_unix_ms, outage.next_try_unix_ms, out)?;
        }
        Ok(Step::Continue)
    }

    fn send(&mut self, picture: Vec<u8>, out: &mut Outputs) -> Result<Step, NodeError> {
        let size = match jpeg::inspect(&picture) {
            Ok(size) => size,
            Err(error) => {
                self.health.damaged += 1;
                self.health.good = 0;
                tracing::debug!(%error, damaged = self.health.damaged, "picture left out");
                self.condition.set("damaged pictures are left out");
                return Ok(Step::Continue);
            }
        };
        self.health.sent_since_rewind = true;
        self.health.good = self.health.good.saturating_add(1);
        self.card.clear();
        let is_back = matches!(self.input, Input::Program(_)) && self.health.good == 1;
        if (is_back && self.health.damaged == 0) || self.health.good == GOOD_AGAIN {
            self.condition.clear();
        }
        out.send("out", Frame::jpeg(size.width, size.height, picture))?;
        Ok(Step::Continue)
    }

    fn at_end(&mut self) -> Result<Step, NodeError> {
        if !std::mem::take(&mut self.health.sent_since_rewind) {
            return Err(NodeError::new("the clip has no whole picture").fatal());
        }
        if !self.repeat {
            return Ok(Step::End);
        }
        if let Input::Clip(clip) = &mut self.input {
            clip.rewind()?;
        }
        Ok(Step::Wait(Duration::ZERO))
    }
}

impl Clip {
    fn fps(&self) -> Option<f64> {
        match self {
            Self::Avi(reader) => reader.fps(),
            Self::Mjpeg(_) => None,
        }
    }

    fn next_picture(&mut self) -> Result<Option<Vec<u8>>, NodeError> {
        Ok(match self {
            Self::Avi(reader) => reader.next_picture()?,
            Self::Mjpeg(reader) => reader.next_picture()?,
        })
    }

    fn rewind(&mut self) -> Result<(), NodeError> {
        match self {
            Self::Avi(reader) => reader.rewind()?,
            Self::Mjpeg(reader) => reader.rewind()?,
        }
        Ok(())
    }
}

fn open(ctx: &Context, params: &Params) -> Result<Input, NodeError> {
    let decoder = Decoder::from_name(&params.decoder).ok_or_else(|| {
        let names = Decoder::ALL.map(Decoder::name).join(", ");
        NodeError::new(format!(
            "parameter `decoder`: `{}` is not one of {names}",
            params.decoder
        ))
    })?;
    let input = match (&params.source, &params.command) {
        (Some(source), None) => source,
        (None, Some(command)) => {
            return start(params, decoder, program::Input::Command(command.clone()));
        }
        _ => {
            return Err(NodeError::new(
                "either parameter `source` or parameter `command` is required",
            ));
        }
    };
    if input.contains("://") {
        let url = match &params.password_file {
            None => input.clone(),
            Some(path) => url_with_password(input, path)?,
        };
        return start(params, decoder, program::Input::Source(url));
    }
    let path = ctx.asset(input)?;
    if let Some(clip) = open_clip(&path)? {
        return Ok(Input::Clip(clip));
    }
    let source = program::Input::Source(path.display().to_string());
    start(params, decoder, source)
}

fn start(params: &Params, decoder: Decoder, input: program::Input) -> Result<Input, NodeError> {
    let rtsp_transport = RtspTransport::from_name(&params.rtsp_transport).ok_or_else(|| {
        let names = RtspTransport::ALL.map(RtspTransport::name).join(" or ");
        NodeError::new(format!("parameter `rtsp_transport` is {names}"))
    })?;
    let source = ProgramSource::open(Options {
        input,
        fps: params.fps,
        repeat: params.repeat,
        decoder,
        low_latency: params.low_latency,
        rtsp_transport,
    })?;
    Ok(Input::Program(Box::new(source)))
}

/// The password is the first line of a file on the device.
fn url_with_password(url: &str, path: &Path) -> Result<String, NodeError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        NodeError::from(error).context(format!(
            "parameter `password_file`: {} can't be read",
            path.display()
        ))
    })?;
    let password = text.lines().next().unwrap_or_default().trim_end();
    with_password(url, password).ok_or_else(|| {
        NodeError::new(
            "parameter `password_file`: `source` has to name a user and no password, like rtsp://admin@camera/stream",
        )
    })
}

/// A clip that is read without ffmpeg; `None`: another kind of source.
fn open_clip(path: &Path) -> Result<Option<Clip>, NodeError> {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let open = || {
        File::open(path).map_err(|error| {
            NodeError::from(error).context(format!("{} can't be opened", path.display()))
        })
    };
    match extension.to_ascii_lowercase().as_str() {
        "mjpeg" | "mjpg" => Ok(Some(Clip::Mjpeg(MjpegReader::new(open()?)))),
        "avi" => match AviReader::new(open()?) {
            Ok(reader) => Ok(Some(Clip::Avi(reader))),
            Err(AviError::Codec(codec)) => {
                tracing::info!(codec, "the clip is not MJPEG and is read through ffmpeg");
                Ok(None)
            }
            Err(error) => Err(NodeError::from(error).context(path.display().to_string())),
        },
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use edgeflow::testing::{Setup, source};
    use edgeflow_capture::avi::AviWriter;
    use edgeflow_capture::pattern::TestCard;
    use serde_json::json;

    use super::*;

    fn setup(dir: &Path) -> Setup {
        Setup {
            asset_dirs: vec![dir.to_owned()],
            ..Setup::default()
        }
    }

    fn pictures(count: u64) -> Vec<Vec<u8>> {
        let mut card = TestCard::new(64, 48, 80).unwrap();
        (0..count)
            .map(|number| card.jpeg(number, 0).unwrap())
            .collect()
    }

    fn write_avi(dir: &Path, pictures: &[Vec<u8>]) {
        let file = File::create(dir.join("clip.avi")).unwrap();
        let mut writer = AviWriter::new(file, 64, 48, 12).unwrap();
        pictures
            .iter()
            .for_each(|picture| writer.write(picture).unwrap());
        writer.finish().unwrap();
    }

    #[test]
    fn a_clip_runs_at_its_own_rate_and_again_from_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let pictures = pictures(2);
        write_avi(dir.path(), &pictures);
        let mut fixture =
            source::<Video>(&setup(dir.path()), json!({"source": "clip.avi"})).unwrap();
        assert_eq!(fixture.node.fps(), Some(12.0));
        let mut sent = Vec::new();
        for _ in 0..5 {
            sent.extend(
                fixture
                    .produce()
                    .unwrap()
                    .1
                    .into_iter()
                    .map(|(_, f)| f.payload.to_vec()),
            );
        }
        // One turn goes into the rewind.
        assert_eq!(sent, [&pictures[..], &pictures[..]].concat());
    }

    #[test]
    fn a_clip_that_is_not_repeated_ends() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.mjpeg"), pictures(1).concat()).unwrap();
        let params = json!({"source": "a.mjpeg", "loop": false, "fps": 5});
        let mut fixture = source::<Video>(&setup(dir.path()), params).unwrap();
        assert_eq!(fixture.node.fps(), Some(5.0));
        assert_eq!(fixture.produce().unwrap().1.len(), 1);
        assert_eq!(fixture.produce().unwrap().0, Step::End);
    }

    #[test]
    fn a_damaged_picture_is_left_out_and_shown() {
        let dir = tempfile::tempdir().unwrap();
        let mut pictures = pictures(3);
        pictures[1].truncate(200);
        write_avi(dir.path(), &pictures);
        let mut fixture =
            source::<Video>(&setup(dir.path()), json!({"source": "clip.avi"})).unwrap();
        let sent: usize = (0..3).map(|_| fixture.produce().unwrap().1.len()).sum();
        assert_eq!(sent, 2);
        assert_eq!(fixture.condition(), "damaged pictures are left out");
        for _ in 0..400 {
            fixture.produce().unwrap();
        }
        assert_eq!(fixture.node.health.damaged, 101);
    }

    #[test]
    fn sources_that_can_not_work_say_why() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("text.avi"), "not a clip at all").unwrap();
        for (params, part) in [
            (json!({"source": "none.avi"}), "asset `none.avi` not found"),
            (json!({"source": "text.avi"}), "not an AVI file"),
            (json!({"source": "/dev/none"}), "/dev/none does not exist"),
            (json!({"source": "text.avi", "fps": 0}), "`fps`: 0 is not"),
            (
                json!({}),
                "either parameter `source` or parameter `command` is required",
            ),
            (
                json!({"source": "rtsp://h/1", "decoder": "magic"}),
                "`magic` is not one of software, cuda",
            ),
            (
                json!({"source": "rtsp://u@h/1", "password_file": "/none/such"}),
                "`password_file`: /none/such can't be read",
            ),
            (
                json!({"source": "rtsp://h/1", "password_file": "/dev/null"}),
                "`source` has to name a user",
            ),
            (
                json!({"command": ["/none/such"]}),
                "the program `/none/such` is not installed",
            ),
            (json!({"command": []}), "the command is empty"),
        ] {
            let error = source::<Video>(&setup(dir.path()), params).unwrap_err();
            assert!(error.chain().contains(part), "{}", error.chain());
        }
    }

    #[test]
    fn a_clip_without_a_whole_picture_is_fatal() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.mjpg"), "noise").unwrap();
        let mut fixture = source::<Video>(&setup(dir.path()), json!({"source": "a.mjpg"})).unwrap();
        assert!(fixture.produce().unwrap_err().is_fatal());
    }
}
