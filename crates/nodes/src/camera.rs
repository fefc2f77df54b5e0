//! `camera`: pictures of a camera that speaks Video4Linux. JPEG goes through untouched; raw pictures
//! go out as they are on `raw`, and become JPEG on `out` only while somebody takes it. A camera that
//! is unplugged, busy or stuck shows an error card and is tried again. One that another node of this device
//! has is shared.

mod shared;

use std::collections::BTreeMap;
use std::time::Duration;

use edgeflow::{
    Codec, Condition, Context, Counter, Fact, Frame, Kind, NodeError, Outputs, Source, Step,
    tracing,
};
use edgeflow_capture::camera::{
    Camera, Fault, Options, Picture, PixelFormat, Places, Poll, RawPicture, Selector, Wish,
};
use edgeflow_capture::jpeg;
use serde::Deserialize;

use crate::card::Card;
use crate::pattern::parse_size;
use crate::picture::FULL_RANGE;
use shared::{Followed, Follower, Registry};

/// Longest wait for a picture before the runner gets a look at other things.
const POLL_TIME: Duration = Duration::from_millis(250);
/// A camera that is faster than asked for by more than this leaves pictures out.
const MUCH_FASTER: f64 = 1.1;
const AUTO: &str = "auto";
const OUT: &str = "out";
const RAW: &str = "raw";

/// Parameters of `camera`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(default = "auto")]
    device: String,
    #[serde(default)]
    size: Option<String>,
    #[serde(default)]
    fps: Option<f64>,
    #[serde(default = "auto")]
    format: String,
    #[serde(default = "default_quality")]
    quality: u8,
    #[serde(default)]
    controls: BTreeMap<String, f64>,
}

fn auto() -> String {
    AUTO.to_owned()
}

fn default_quality() -> u8 {
    80
}

/// The node.
#[derive(Debug)]
pub(crate) struct CameraNode {
    camera: Camera,
    wish: Wish,
    quality: u8,
    condition: Condition,
    counters: Counted,
    card: Card,
    /// Times that the camera was started, as far as it was logged.
    starts: u64,
    /// Leaves pictures out where the camera can't be as slow as asked for.
    thinner: Option<Thinner>,
    instance: String,
    registry: Registry,
    /// Where the pictures come from while another node has the camera.
    follower: Option<Follower>,
    /// The try to start the camera after which nothing came from its owner.
    lost_at: Option<u32>,
    shares: Fact,
}

/// Keeps to a rate by leaving pictures out.
#[derive(Debug)]
struct Thinner {
    interval_ns: u64,
    due_ns: u64,
}

impl Thinner {
    /// `None`: the camera is not faster than asked for.
    fn new(asked: Option<f64>, got: Option<f64>) -> Option<Self> {
        let (asked, got) = (asked?, got?);
        (got > asked * MUCH_FASTER).then_some(Self {
            // At most 10 s.
            interval_ns: (1e9 / asked) as u64,
            due_ns: 0,
        })
    }

    /// Whether a picture of this time is one to keep.
    fn keeps(&mut self, at_ns: u64) -> bool {
        // A camera's times tremble.
        if at_ns + self.interval_ns / 16 < self.due_ns {
            return false;
        }
        let next = self.due_ns + self.interval_ns;
        self.due_ns = if next > at_ns {
            next
        } else {
            at_ns + self.interval_ns
        };
        true
    }
}

/// What became of the pictures that are not frames.
#[derive(Debug)]
struct Counted {
    lost: Counter,
    superseded: Counter,
    damaged: Counter,
    /// JPEG that can't be read.
    broken: Counter,
    /// More than were asked for.
    thinned: Counter,
    starts: Counter,
}

impl Source for CameraNode {
    type Params = Params;

    fn setup(ctx: &mut Context, params: Params) -> Result<Self, NodeError> {
        let device: Selector = params
            .device
            .parse()
            .map_err(|error| NodeError::new(format!("parameter `device`: {error}")))?;
        let wish = wish(&params)?;
        Ok(Self {
            camera: Camera::new(Options {
                device,
                wish: wish.clone(),
                controls: params.controls,
                places: Places::default(),
            }),
            wish,
            quality: params.quality,
            condition: ctx.condition(),
            counters: Counted {
                lost: ctx.counter("lost"),
                superseded: ctx.counter("superseded"),
                damaged: ctx.counter("damaged"),
                broken: ctx.counter("broken_jpeg"),
                thinned: ctx.counter("thinned"),
                starts: ctx.counter("starts"),
            },
            card: Card::default(),
            starts: 0,
            thinner: None,
            instance: ctx.instance().to_owned(),
            registry: Registry::new(ctx, &[OUT, RAW]),
            follower: None,
            lost_at: None,
            shares: ctx.fact("shares"),
        })
    }

    fn produce(&mut self, out: &mut Outputs) -> Result<Step, NodeError> {
        if self.wish.format.is_none() && !self.wish.raw && out.is_wanted(RAW) {
            // A camera gives one format at a time. JPEG for others is made of it.
            self.wish.raw = true;
            self.camera.set_wish(self.wish.clone());
        }
        if self.follower.is_some() {
            return self.follow(out);
        }
        let polled = self.camera.poll(POLL_TIME);
        self.count();
        match polled {
            Poll::Picture(picture) => self.send(picture, out)?,
            Poll::Nothing | Poll::Down => self.show_outage(out)?,
        }
        Ok(Step::Continue)
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        self.camera.set_controls(params.controls)?;
        self.quality = params.quality;
        Ok(())
    }

    fn teardown(&mut self) {
        self.registry.give_up();
        let counters = self.camera.counters();
        tracing::info!(?counters, "camera stopped");
    }
}

impl CameraNode {
    fn send(&mut self, picture: Picture, out: &mut Outputs) -> Result<(), NodeError> {
        if self.starts != self.camera.starts() {
            self.started();
        }
        self.card.clear();
        if let Some(thinner) = &mut self.thinner
            && !thinner.keeps(picture.capture.monotonic_ns)
        {
            self.counters.thinned.add(1);
            return Ok(());
        }
        let (format, full_range) = (picture.format, picture.full_range);
        let mut frame = frame(picture);
        if format == PixelFormat::Mjpg {
            if let Err(error) = jpeg::inspect(&frame.payload) {
                self.counters.broken.add(1);
                tracing::debug!(%error, "picture left out");
                return Ok(());
            }
            return out.send(OUT, frame);
        }
        if out.is_wanted(RAW) {
            if full_range {
                let mut meta = frame.read_meta()?;
                meta.set(FULL_RANGE, &true)?;
                frame.set_meta(&meta);
            }
            out.send(RAW, frame.clone())?;
        }
        if !out.is_wanted(OUT) {
            return Ok(());
        }
        let raw = RawPicture {
            format,
            width: frame.header.width,
            height: frame.header.height,
            full_range,
            bytes: &frame.payload,
        };
        let mut coded = frame.with_payload(Codec::Jpeg, raw.to_jpeg(self.quality)?);
        coded.header.stride = 0;
        out.send(OUT, coded)
    }

    fn started(&mut self) {
        self.starts = self.camera.starts();
        let Some(session) = self.camera.session() else {
            return;
        };
        self.thinner = Thinner::new(self.wish.fps, session.mode.fps);
        let (path, mode) = (session.path.display(), session.mode.words());
        let (card, driver, bus) = (&session.card, &session.driver, &session.bus);
        tracing::info!(%path, card, driver, bus, mode, "camera started");
        if let Err(error) = self.registry.take(&session.path) {
            tracing::warn!(%error, "other nodes can't share the camera");
        }
        match &session.notice {
            Some(notice) => self.condition.set(notice.as_str()),
            None => self.condition.clear(),
        }
    }

    fn show_outage(&mut self, out: &mut Outputs) -> Result<(), NodeError> {
        let Some(outage) = self.camera.outage() else {
            return Ok(());
        };
        self.registry.give_up();
        if let Fault::Busy { path } = &outage.fault
            && self.lost_at != Some(outage.tries)
            && let Some(owner) = self.registry.owner(path)
        {
            match Follower::new(owner, &self.instance, &wanted(out)) {
                Ok(follower) => {
                    self.follower = Some(follower);
                    return Ok(());
                }
                Err(error) => tracing::warn!(%error, "the camera can't be shared"),
            }
        }
        let text = outage.fault.text();
        self.condition.set(text.as_str());
        self.card
            .show(&text, outage.since_unix_ms, outage.next_try_unix_ms, out)
    }

    /// Passes the pictures of the node on that has the camera, until they end.
    fn follow(&mut self, out: &mut Outputs) -> Result<Step, NodeError> {
        let Some(follower) = &mut self.follower else {
            return Ok(Step::Continue);
        };
        let ports = wanted(out);
        if !follower.follows(&ports) {
            let owner = follower.owner.clone();
            *follower = Follower::new(owner, &self.instance, &ports)?;
        }
        match follower.poll(POLL_TIME) {
            Followed::Nothing => {}
            Followed::Lost => {
                tracing::info!(
                    owner = follower.owner.instance,
                    "the camera is shared no more"
                );
                self.follower = None;
                self.lost_at = self.camera.outage().map(|outage| outage.tries);
                self.shares.set("");
            }
            Followed::Frame(port, frame) => self.pass_on(&port, frame, ports.len() == 1, out)?,
        }
        Ok(Step::Continue)
    }

    /// A frame of the node that has the camera. Its cards are ours.
    fn pass_on(
        &mut self,
        port: &str,
        frame: Frame,
        thins: bool,
        out: &mut Outputs,
    ) -> Result<(), NodeError> {
        if self.shares.text().is_empty()
            && let Some(follower) = &self.follower
        {
            let owner = follower.owner.instance.as_str();
            tracing::info!(owner, "another node has the camera: its pictures are taken");
            let text = format!("the pictures of {owner}, as it asks for them");
            self.shares.set(text);
            self.thinner = Thinner::new(self.wish.fps, Some(f64::MAX));
        }
        if frame.header.kind == Kind::Error {
            let error = frame.read_meta()?.error().unwrap_or_default();
            self.condition.set(error);
            return out.send(port, frame);
        }
        self.condition.clear();
        self.card.clear();
        let at = frame.header.capture_mono_ns;
        let keeps = |it: &mut Thinner| it.keeps(at);
        if thins && !self.thinner.as_mut().is_none_or(keeps) {
            self.counters.thinned.add(1);
            return Ok(());
        }
        out.send(port, frame)
    }

    fn count(&self) {
        let counters = self.camera.counters();
        self.counters.lost.raise_to(counters.lost);
        self.counters.superseded.raise_to(counters.superseded);
        self.counters.damaged.raise_to(counters.damaged);
        self.counters.starts.raise_to(self.camera.starts());
    }
}

/// Ports that somebody takes; `out` for the cards if nobody does.
fn wanted(out: &Outputs) -> Vec<&'static str> {
    match (out.is_wanted(OUT), out.is_wanted(RAW)) {
        (true, true) => vec![OUT, RAW],
        (false, true) => vec![RAW],
        (_, false) => vec![OUT],
    }
}

fn wish(params: &Params) -> Result<Wish, NodeError> {
    let size = match &params.size {
        None => None,
        Some(text) => match parse_size(text) {
            Some((width, height)) if width > 0 && height > 0 => Some((width.into(), height.into())),
            _ => {
                return Err(NodeError::new(format!(
                    "parameter `size`: `{text}` is not a picture size like 1280x720"
                )));
            }
        },
    };
    if let Some(fps) = params.fps
        && !(0.1..=240.0).contains(&fps)
    {
        return Err(NodeError::new(format!(
            "parameter `fps`: {fps} is not from 0.1 to 240"
        )));
    }
    let format = match params.format.as_str() {
        AUTO => None,
        name => Some(PixelFormat::from_name(name).ok_or_else(|| {
            let names = PixelFormat::ALL.map(PixelFormat::name).join(", ");
            NodeError::new(format!(
                "parameter `format`: `{name}` is not one of auto, {names}"
            ))
        })?),
    };
    Ok(Wish {
        size,
        fps: params.fps,
        format,
        raw: false,
    })
}

fn codec(format: PixelFormat) -> Codec {
    match format {
        PixelFormat::Mjpg => Codec::Jpeg,
        PixelFormat::Nv12 => Codec::Nv12,
        PixelFormat::Yuyv => Codec::Yuyv,
        PixelFormat::Rgb24 => Codec::Rgb8,
        PixelFormat::Grey => Codec::Grey8,
    }
}

/// A frame of this capture. Rows of raw pixels lie close together.
fn frame(picture: Picture) -> Frame {
    let row = picture.format.row_bytes(picture.width.into());
    let mut frame = Frame::new(codec(picture.format), picture.bytes);
    let header = &mut frame.header;
    (header.width, header.height) = (picture.width, picture.height);
    header.stride = u32::try_from(row).unwrap_or(0);
    header.capture_ns = picture.capture.unix_ns;
    header.capture_mono_ns = picture.capture.monotonic_ns;
    header.clock_error_us = picture.capture.error_us;
    frame
}

#[cfg(test)]
mod tests {
    use edgeflow::testing::{Setup, source};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_camera_that_is_not_there_shows_a_card_with_its_times() {
        let params = json!({"device": "/dev/none/such"});
        let mut fixture = source::<CameraNode>(&Setup::default(), params).unwrap();
        let (step, sent) = fixture.produce().unwrap();
        assert_eq!((step, sent.len()), (Step::Continue, 1));
        let frame = &sent[0].1;
        assert_eq!(frame.header.kind, Kind::Error);
        let meta = frame.read_meta().unwrap();
        let text = meta.error().unwrap();
        assert!(text.starts_with("not found: there is no camera `/dev/none/such`"));
        assert_eq!(fixture.condition(), text);
        let time = |key| meta.get::<i64>(key).unwrap().unwrap();
        assert!(time("error_next_try_ms") > time("error_since_ms"));
        // Not again at once.
        assert!(fixture.produce().unwrap().1.is_empty());
    }

    #[test]
    fn a_camera_that_is_too_fast_is_thinned_to_the_rate() {
        assert!(Thinner::new(Some(30.0), Some(30.3)).is_none());
        assert!(Thinner::new(None, Some(60.0)).is_none());
        assert!(Thinner::new(Some(10.0), None).is_none());
        for (got, asked, wanted) in [(60.0, 10.0, 100), (30.0, 25.0, 250), (30.0, 0.5, 5)] {
            let mut thinner = Thinner::new(Some(asked), Some(got)).unwrap();
            let kept = (0..(got * 10.0) as u64)
                .map(|number| 5_000_000_000 + (number as f64 * 1e9 / got) as u64)
                .filter(|at| thinner.keeps(*at))
                .count();
            assert!(kept.abs_diff(wanted) <= 1, "{asked} of {got}: {kept}");
        }
        // After a pause there is no burst.
        let mut thinner = Thinner::new(Some(10.0), Some(60.0)).unwrap();
        assert!(thinner.keeps(1_000_000_000));
        assert!(thinner.keeps(60_000_000_000));
        assert!(!thinner.keeps(60_016_000_000));
    }

    #[test]
    fn bad_parameters_are_named() {
        for (params, part) in [
            (
                json!({"device": " "}),
                "parameter `device`: `` names no camera",
            ),
            (json!({"size": "large"}), "parameter `size`: `large`"),
            (json!({"size": "0x5"}), "parameter `size`: `0x5`"),
            (json!({"fps": 0}), "parameter `fps`: 0 is not"),
            (
                json!({"format": "h264"}),
                "`h264` is not one of auto, mjpeg",
            ),
        ] {
            let error = source::<CameraNode>(&Setup::default(), params).unwrap_err();
            assert!(error.chain().contains(part), "{}", error.chain());
        }
    }
}
