//! Cameras of the kernel's Video4Linux interface: finds the one that is meant, sets it to what is
//! nearest to what is wanted, delivers its newest picture, and comes back by itself when it was
//! unplugged, busy or stuck. Talks to the driver with requests of its own (see `sys`); knows nothing
//! of frames or nodes. What the driver says is foreign: it is bounded, and nothing of it can panic.

mod abi;
mod clock;
mod control;
mod device;
mod fault;
mod find;
mod hotplug;
mod inventory;
#[cfg(test)]
mod loopback;
mod mode;
mod pixels;
mod stream;
mod sys;
#[cfg(test)]
mod vivid;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use clock::Capture;
pub use control::{Control, ControlError};
pub use fault::Fault;
pub use find::{Found, Identity, Places, Selector, SelectorError, list};
pub use hotplug::Hotplug;
pub use inventory::{Listed, inventory};
pub use mode::{DEFAULT_RATE, DEFAULT_SIZE, Mode, Offer, SizeOffer, Wish, choose};
pub use pixels::{PixelFormat, RawPicture};
pub use stream::Counters;

use clock::Now;
use device::Device;
use fault::Place;
use stream::{Stream, Taken};

/// First pause before a new try; doubled until the longest.
pub const MIN_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before a new try of a camera that is there.
pub const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause before looking again for a camera that is not there, should its plug go unnoticed.
pub const MAX_PLUG_PAUSE: Duration = Duration::from_secs(2);
/// Time that a camera has for its first picture: many wake up slowly.
pub const START_LIMIT: Duration = Duration::from_secs(5);
/// A camera that delivers nothing for this long is stuck, unless its rate is very low.
pub const STALL_LIMIT: Duration = Duration::from_secs(2);
/// Frames that may be missing in a row before a slow camera counts as stuck.
const STALL_FRAMES: f64 = 5.0;
/// A camera that is gone for this long may be replaced by another that fits what was asked for.
pub const REPLACE_AFTER: Duration = Duration::from_secs(10);

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which camera.
    pub device: Selector,
    /// Size, rate and format.
    pub wish: Wish,
    /// Controls to set, by name.
    pub controls: BTreeMap<String, f64>,
    /// Where devices are.
    pub places: Places,
}

/// A picture of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// How `bytes` are coded.
    pub format: PixelFormat,
    /// Pixels a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// Whether raw brightness goes from 0 to 255.
    pub full_range: bool,
    /// A JPEG, or the planes of a raw picture, rows without gaps.
    pub bytes: Vec<u8>,
    /// When it was captured.
    pub capture: Capture,
    /// The driver's number.
    pub sequence: u32,
}

/// What [`Camera::poll`] found.
#[derive(Debug)]
pub enum Poll {
    /// A picture.
    Picture(Picture),
    /// Nothing within the time.
    Nothing,
    /// There is no picture, since now or for another reason than before: see [`Camera::outage`].
    Down,
}

/// A time without pictures.
#[derive(Debug)]
pub struct Outage {
    /// Why.
    pub fault: Fault,
    /// When the last picture was lost.
    pub since_unix_ms: i64,
    /// When it is tried again.
    pub next_try_unix_ms: i64,
    /// Tries so far.
    pub tries: u32,
    began: Instant,
}

/// What a running camera is.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// The device file.
    pub path: PathBuf,
    /// The camera's name.
    pub card: String,
    /// Its driver.
    pub driver: String,
    /// Where it is plugged in.
    pub bus: String,
    /// What it is set to.
    pub mode: Mode,
    /// Whether pictures come in several planes of memory.
    pub multiplanar: bool,
    /// What is not as asked for, in words.
    pub notice: Option<String>,
}

/// A supervised camera.
#[derive(Debug)]
pub struct Camera {
    options: Options,
    state: State,
    outage: Option<Outage>,
    session: Option<Session>,
    known: Option<Identity>,
    hotplug: Hotplug,
    counters: Counters,
    /// Times that it was started.
    starts: u64,
}

#[derive(Debug)]
enum State {
    Waiting {
        until: Instant,
        pause: Duration,
    },
    Running {
        stream: Box<Stream>,
        last: Instant,
        any: bool,
    },
}

impl Camera {
    /// A camera that is looked for with the first [`Self::poll`]. Never fails: a camera that is not
    /// there may come.
    pub fn new(options: Options) -> Self {
        let hotplug = Hotplug::new(&options.places.dev);
        Self {
            options,
            state: State::Waiting {
                until: Instant::now(),
                pause: MIN_PAUSE,
            },
            outage: None,
            session: None,
            known: None,
            hotplug,
            counters: Counters::default(),
            starts: 0,
        }
    }

    /// Waits up to `time` for a picture. Opening a camera may take longer, as long as its driver.
    pub fn poll(&mut self, time: Duration) -> Poll {
        match &self.state {
            State::Running { .. } => self.take(time),
            State::Waiting { until, .. } => {
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    let plugged = self.hotplug.wait(left.min(time));
                    if !(plugged && self.waits_for_plug()) && left > time {
                        return Poll::Nothing;
                    }
                }
                self.try_start()
            }
        }
    }

    /// The time without pictures that lasts, if one does.
    pub fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }

    /// What the camera is and is set to, once it was started.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Pictures so far, and what became of the others.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Times that the camera was started, the first included.
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// Asks for other pictures. A running camera is set up anew.
    pub fn set_wish(&mut self, wish: Wish) {
        self.options.wish = wish;
        if matches!(self.state, State::Running { .. }) {
            self.state = State::Waiting {
                until: Instant::now(),
                pause: MIN_PAUSE,
            };
        }
    }

    /// Takes other controls. Those of a camera that is not there are kept until it is.
    pub fn set_controls(&mut self, controls: BTreeMap<String, f64>) -> Result<(), ControlError> {
        if let State::Running { stream, .. } = &self.state {
            let present = &self.options.controls;
            // Only what is new: a control may be read-only by now because another one is automatic.
            let changed = controls
                .iter()
                .filter(|(name, value)| present.get(*name) != Some(*value))
                .map(|(name, value)| (name.clone(), *value));
            control::set_all(stream.device().fd(), &changed.collect())?;
        }
        self.options.controls = controls;
        Ok(())
    }

    /// The controls of the running camera.
    pub fn controls(&self) -> Vec<Control> {
        match &self.state {
            State::Running { stream, .. } => control::list(stream.device().fd()),
            State::Waiting { .. } => Vec::new(),
        }
    }

    /// The present value of a control of the running camera.
    pub fn control(&self, name: &str) -> Option<i64> {
        match &self.state {
            State::Running { stream, .. } => control::get(stream.device().fd(), name),
            State::Waiting { .. } => None,
        }
    }

    fn waits_for_plug(&self) -> bool {
        let fault = self.outage.as_ref().map(|outage| &outage.fault);
        // New devices get their permissions a moment later.
        fault.is_some_and(|fault| fault.waits_for_plug() || matches!(fault, Fault::Denied { .. }))
    }

    fn take(&mut self, time: Duration) -> Poll {
        let State::Running { stream, last, any } = &mut self.state else {
            return Poll::Nothing;
        };
        let limit = stall_limit(stream, *any);
        let left = limit.saturating_sub(last.elapsed());
        match stream.next(time.min(left), &mut self.counters) {
            Ok(Some(taken)) => {
                (*last, *any) = (Instant::now(), true);
                let picture = picture(stream, taken);
                self.outage = None;
                Poll::Picture(picture)
            }
            Ok(None) if last.elapsed() >= limit => {
                let for_ms = u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.down(Fault::Stalled { for_ms }, MIN_PAUSE)
            }
            Ok(None) => Poll::Nothing,
            Err(error) => {
                let fault = stream.device().fault("deliver pictures", error);
                self.down(fault, MIN_PAUSE)
            }
        }
    }

    fn try_start(&mut self) -> Poll {
        let pause = match self.state {
            State::Waiting { pause, .. } => pause,
            State::Running { .. } => MIN_PAUSE,
        };
        match self.start() {
            Ok(stream) => {
                self.starts += 1;
                self.state = State::Running {
                    stream: Box::new(stream),
                    last: Instant::now(),
                    any: false,
                };
                Poll::Nothing
            }
            Err(fault) => self.down(fault, pause),
        }
    }

    /// The first of the cameras that may be meant and that works.
    fn start(&mut self) -> Result<Stream, Fault> {
        let mut first = None;
        for found in self.candidates()? {
            match self.start_one(&found) {
                Ok(stream) => return Ok(stream),
                // A device that is no camera says less than one that is busy.
                Err(fault) => match &first {
                    None | Some(Fault::NotCamera { .. }) => first = Some(fault),
                    Some(_) => {}
                },
            }
        }
        Err(first.unwrap_or(Fault::NotFound {
            wanted: self.options.device.to_string(),
            there: "no camera works".to_owned(),
        }))
    }

    fn candidates(&self) -> Result<Vec<Found>, Fault> {
        let Options { places, device, .. } = &self.options;
        let found = find::candidates(places, device, self.known.as_ref());
        let gone_for = self.outage.as_ref().map(|outage| outage.began.elapsed());
        if found.is_err() && gone_for.is_some_and(|time| time >= REPLACE_AFTER) {
            return find::candidates(places, device, None).or(found);
        }
        found
    }

    fn start_one(&mut self, found: &Found) -> Result<Stream, Fault> {
        let place = Place {
            path: found.path.clone(),
            name: found.name.clone(),
        };
        let device = Device::open(place)?;
        let setting = device.set(&self.options.wish)?;
        let facts = device.facts.clone();
        let multiplanar = device.kind == abi::MULTI;
        let stream = Stream::start(device, setting)?;
        let refused = control::set_all(stream.device().fd(), &self.options.controls).err();
        let mode = stream.setting().mode;
        let notices = [
            mode.differs(&self.options.wish),
            refused.map(|error| error.text()),
        ];
        let notices: Vec<String> = notices.into_iter().flatten().collect();
        self.session = Some(Session {
            path: found.path.clone(),
            card: facts.card,
            driver: facts.driver,
            bus: facts.bus,
            mode,
            multiplanar,
            notice: (!notices.is_empty()).then(|| notices.join("; ")),
        });
        // Without /sys there is nothing to know it by.
        self.known = Some(found.identity.clone()).filter(|known| !known.bus.is_empty());
        Ok(stream)
    }

    /// Notes why there is no picture, and when it is tried again.
    fn down(&mut self, fault: Fault, pause: Duration) -> Poll {
        let now = Instant::now();
        let unix_ms = Now::read().unix_ns / 1_000_000;
        let longest = if fault.waits_for_plug() {
            MAX_PLUG_PAUSE
        } else {
            MAX_PAUSE
        };
        let wait = pause.min(longest);
        self.state = State::Waiting {
            until: now + wait,
            pause: (wait * 2).min(longest),
        };
        let before = self.outage.take();
        let is_news = before.as_ref().map(|before| before.fault.word()) != Some(fault.word());
        self.outage = Some(Outage {
            fault,
            since_unix_ms: before
                .as_ref()
                .map_or(unix_ms, |before| before.since_unix_ms),
            next_try_unix_ms: unix_ms + i64::try_from(wait.as_millis()).unwrap_or(0),
            tries: before
                .as_ref()
                .map_or(0, |before| before.tries.saturating_add(1)),
            began: before.map_or(now, |before| before.began),
        });
        if is_news { Poll::Down } else { Poll::Nothing }
    }
}

fn stall_limit(stream: &Stream, any: bool) -> Duration {
    let slow = stream.setting().mode.fps.unwrap_or(DEFAULT_RATE).max(0.01);
    let frames = Duration::from_secs_f64(STALL_FRAMES / slow);
    if any { STALL_LIMIT } else { START_LIMIT }.max(frames)
}

fn picture(stream: &Stream, taken: Taken) -> Picture {
    let setting = stream.setting();
    // The device's size was checked when it was set.
    let side = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    Picture {
        format: setting.mode.format,
        width: side(setting.mode.size.0),
        height: side(setting.mode.size.1),
        full_range: setting.full_range,
        bytes: taken.bytes,
        capture: taken.capture,
        sequence: taken.sequence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(dir: &std::path::Path, device: &str) -> Camera {
        Camera::new(Options {
            device: device.parse().unwrap(),
            wish: Wish::default(),
            controls: BTreeMap::new(),
            places: Places {
                class: dir.join("class"),
                dev: dir.to_owned(),
            },
        })
    }

    #[test]
    fn a_camera_that_is_not_there_is_waited_for_and_its_reason_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut camera = camera(dir.path(), "Front Door");
        assert!(matches!(camera.poll(Duration::ZERO), Poll::Down));
        let outage = camera.outage().unwrap();
        assert_eq!(outage.fault.word(), "not_found");
        assert!(outage.next_try_unix_ms > outage.since_unix_ms);
        let since = outage.since_unix_ms;
        let start = Instant::now();
        while camera.outage().unwrap().tries < 2 {
            assert!(matches!(
                camera.poll(Duration::from_millis(50)),
                Poll::Nothing
            ));
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "it does not try again"
            );
        }
        assert_eq!(camera.outage().unwrap().since_unix_ms, since);
        assert!(camera.session().is_none());
    }

    #[test]
    fn a_plug_ends_the_pause() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("video0");
        let mut camera = camera(dir.path(), &path.to_string_lossy());
        camera.poll(Duration::ZERO);
        // Pauses are at their longest.
        camera.state = State::Waiting {
            until: Instant::now() + Duration::from_secs(3600),
            pause: MAX_PAUSE,
        };
        std::fs::write(&path, "no camera at all").unwrap();
        assert!(matches!(camera.poll(Duration::from_secs(60)), Poll::Down));
        assert_eq!(camera.outage().unwrap().fault.word(), "not_a_camera");
    }
}
