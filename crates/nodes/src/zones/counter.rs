//! Who is where: which tracks are in which zone since when, and which lines they crossed. Pure: time is
//! passed in.

use std::collections::BTreeMap;

use edgeflow::Track;
use serde::Serialize;

use super::geometry::{Crossing, Point, crossing, inside};

/// Tracks that are remembered at most.
const MAX_TRACKS: usize = 1000;
/// Things that a frame tells of at most.
const MAX_EVENTS: usize = 64;
/// A track that was not seen for so long has left, nanoseconds.
const FORGET_NS: i64 = 2_000_000_000;

/// Zones and lines by name, in shares of the picture.
#[derive(Clone, Debug, Default)]
pub(super) struct Shapes {
    pub(super) zones: BTreeMap<String, Vec<Point>>,
    pub(super) lines: BTreeMap<String, [Point; 2]>,
    /// A track has to be inside, or outside, for so long before it counts.
    pub(super) settle_ns: i64,
}

/// What a frame tells: one value of the metadata key `zones`. Points are in pixels.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) zones: Vec<Zone>,
    pub(super) lines: Vec<Line>,
    pub(super) events: Vec<Event>,
}

/// A zone now, and since the node started.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Zone {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
    /// Things in it now.
    pub(super) count: u32,
    pub(super) entered: u64,
    pub(super) left: u64,
    /// The longest stay of those that are in it, milliseconds.
    pub(super) longest_ms: u64,
}

/// A line since the node started.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
    pub(super) forward: u64,
    pub(super) backward: u64,
}

/// Something that happened with this frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Event {
    /// `entered`, `left`, `forward` or `backward`.
    pub(super) kind: &'static str,
    /// Of the zone or line.
    pub(super) name: String,
    pub(super) track: u64,
    pub(super) label: String,
    /// With `left`: how long it was in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stayed_ms: Option<u64>,
}

#[derive(Debug)]
struct Known {
    label: String,
    at: Point,
    last_ns: i64,
    stays: BTreeMap<String, Stay>,
}

/// A track and a zone.
#[derive(Clone, Copy, Debug)]
struct Stay {
    /// Whether it counts as inside.
    inside: bool,
    /// Since when it is on the side where it is.
    since_ns: i64,
    /// Whether it is inside now.
    now: bool,
    entered_ns: i64,
}

#[derive(Debug, Default)]
struct Totals {
    entered: u64,
    left: u64,
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Counter {
    known: BTreeMap<u64, Known>,
    zones: BTreeMap<String, Totals>,
    lines: BTreeMap<String, [u64; 2]>,
    last_ns: i64,
}

impl Counter {
    /// Takes the tracks of a picture of `size` pixels.
    pub(super) fn step(
        &mut self,
        shapes: &Shapes,
        tracks: &[Track],
        size: [f32; 2],
        now_ns: i64,
    ) -> Report {
        let mut events = Vec::new();
        if now_ns < self.last_ns {
            // Another recording, or a clock that was set: nobody knows how long anything took.
            self.known.clear();
        }
        self.last_ns = now_ns;
        for track in tracks {
            self.see(shapes, track, size, now_ns, &mut events);
        }
        self.forget(now_ns, &mut events);
        events.truncate(MAX_EVENTS);
        self.report(shapes, size, now_ns, events)
    }

    fn see(
        &mut self,
        shapes: &Shapes,
        track: &Track,
        size: [f32; 2],
        now_ns: i64,
        events: &mut Vec<Event>,
    ) {
        // Where it stands, and not where its middle is.
        let feet = [track.x + track.w / 2.0, track.y + track.h];
        let at = [feet[0] / size[0].max(1.0), feet[1] / size[1].max(1.0)];
        if self.known.len() >= MAX_TRACKS && !self.known.contains_key(&track.id) {
            return;
        }
        let known = self.known.entry(track.id).or_insert_with(|| Known {
            label: track.label.clone(),
            at,
            last_ns: now_ns,
            stays: BTreeMap::new(),
        });
        let event = |kind, name: &str, stayed_ms| Event {
            kind,
            name: name.to_owned(),
            track: track.id,
            label: track.label.clone(),
            stayed_ms,
        };
        for (name, line) in &shapes.lines {
            let (kind, index) = match crossing(line, known.at, at) {
                None => continue,
                Some(Crossing::Forward) => ("forward", 0),
                Some(Crossing::Backward) => ("backward", 1),
            };
            self.lines.entry(name.clone()).or_default()[index] += 1;
            events.push(event(kind, name, None));
        }
        known.at = at;
        known.last_ns = now_ns;
        for (name, polygon) in &shapes.zones {
            let now = inside(polygon, at);
            let stay = known.stays.entry(name.clone()).or_insert(Stay {
                inside: false,
                since_ns: now_ns,
                now,
                entered_ns: now_ns,
            });
            if stay.now != now {
                (stay.now, stay.since_ns) = (now, now_ns);
            }
            if stay.inside == now || now_ns - stay.since_ns < shapes.settle_ns {
                continue;
            }
            stay.inside = now;
            let totals = self.zones.entry(name.clone()).or_default();
            if now {
                totals.entered += 1;
                stay.entered_ns = stay.since_ns;
                events.push(event("entered", name, None));
            } else {
                totals.left += 1;
                let stayed = milliseconds(stay.since_ns - stay.entered_ns);
                events.push(event("left", name, Some(stayed)));
            }
        }
    }

    /// Tracks that are gone have left the zones that they were in.
    fn forget(&mut self, now_ns: i64, events: &mut Vec<Event>) {
        let zones = &mut self.zones;
        self.known.retain(|id, known| {
            if now_ns - known.last_ns <= FORGET_NS {
                return true;
            }
            for (name, stay) in known.stays.iter().filter(|(_, stay)| stay.inside) {
                zones.entry(name.clone()).or_default().left += 1;
                events.push(Event {
                    kind: "left",
                    name: name.clone(),
                    track: *id,
                    label: known.label.clone(),
                    stayed_ms: Some(milliseconds(known.last_ns - stay.entered_ns)),
                });
            }
            false
        });
    }

    fn report(&self, shapes: &Shapes, size: [f32; 2], now_ns: i64, events: Vec<Event>) -> Report {
        let pixels = |points: &[Point]| -> Vec<Point> {
            let all = points.iter();
            all.map(|[x, y]| [x * size[0], y * size[1]]).collect()
        };
        let zones = shapes.zones.iter().map(|(name, polygon)| {
            let stays = self
                .known
                .values()
                .filter_map(|known| known.stays.get(name));
            let inside: Vec<&Stay> = stays.filter(|stay| stay.inside).collect();
            let longest = inside.iter().map(|stay| now_ns - stay.entered_ns).max();
            let totals = self.zones.get(name);
            Zone {
                name: name.clone(),
                points: pixels(polygon),
                count: u32::try_from(inside.len()).unwrap_or(u32::MAX),
                entered: totals.map_or(0, |totals| totals.entered),
                left: totals.map_or(0, |totals| totals.left),
                longest_ms: longest.map_or(0, milliseconds),
            }
        });
        let lines = shapes.lines.iter().map(|(name, line)| {
            let [forward, backward] = self.lines.get(name).copied().unwrap_or_default();
            Line {
                name: name.clone(),
                points: pixels(line),
                forward,
                backward,
            }
        });
        Report {
            zones: zones.collect(),
            lines: lines.collect(),
            events,
        }
    }
}

fn milliseconds(ns: i64) -> u64 {
    u64::try_from(ns / 1_000_000).unwrap_or(0)
}
