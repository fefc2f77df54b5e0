//! Follows boxes from picture to picture as ByteTrack does (Zhang et al., ECCV 2022): sure detections
//! are matched with all tracks first, unsure ones with the tracks that are left, so that a thing that is
//! half hidden keeps its number. Pure: time is passed in.

use edgeflow::{Detection, Track};

use super::assignment::assign;
use super::kalman::{Kalman, Rect};

/// A time step of the motion model: a picture at 30 a second.
const STEP_NS: f32 = 1e9 / 30.0;
/// Longest time that is foreseen at once, in steps.
const MAX_STEPS: f32 = 30.0;
/// How known tracks are matched with sure detections.
const SURE: Rule = Rule {
    limit: 0.8,
    by_score: true,
};
/// How those that are left are matched with unsure detections.
const UNSURE: Rule = Rule {
    limit: 0.5,
    by_score: false,
};
/// How tracks that were seen only once are matched.
const UNCONFIRMED: Rule = Rule {
    limit: 0.7,
    by_score: true,
};
/// Lowest score of an unsure detection.
const LOWEST: f32 = 0.1;
/// A new track needs a score this much above that of a sure detection.
const NEW: f32 = 0.1;
/// Tracks and detections of a picture at most: further detections, the least sure ones, are left out.
pub(super) const MAX_BOXES: usize = 300;

/// How to follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Score from which a detection is sure.
    pub(super) sure: f32,
    /// Time for which a lost track is remembered, nanoseconds.
    pub(super) remember_ns: i64,
}

/// One association of the algorithm.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Largest cost, 1 - overlap.
    limit: f32,
    /// Whether the overlap counts by the detection's score.
    by_score: bool,
}

/// What was found in a picture.
#[derive(Debug)]
struct Found {
    /// The surest first.
    detections: Vec<Detection>,
    boxes: Vec<Rect>,
    capture_ns: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Seen once; shown when it is seen again.
    New,
    Seen,
    Lost,
}

#[derive(Debug)]
struct Followed {
    id: u64,
    label: String,
    score: f32,
    kalman: Kalman,
    foreseen: Rect,
    seen: Rect,
    outline: Vec<[f32; 2]>,
    state: State,
    first_ns: i64,
    last_ns: i64,
}

/// The boxes that are followed.
#[derive(Debug)]
pub(super) struct Tracker {
    settings: Settings,
    tracks: Vec<Followed>,
    next_id: u64,
    last_ns: Option<i64>,
}

impl Tracker {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            tracks: Vec::new(),
            next_id: 1,
            last_ns: None,
        }
    }

    pub(super) fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes the detections of the next picture; the tracks that are seen in it.
    pub(super) fn step(&mut self, mut detections: Vec<Detection>, capture_ns: i64) -> Vec<Track> {
        detections.retain(|one| {
            let numbers = [one.x, one.y, one.w, one.h, one.score];
            numbers.iter().all(|number| number.is_finite()) && one.w > 0.0 && one.h > 0.0
        });
        detections.sort_by(|a, b| b.score.total_cmp(&a.score));
        detections.truncate(MAX_BOXES);
        let found = Found {
            boxes: detections.iter().map(rect).collect(),
            detections,
            capture_ns,
        };
        let detections = &found.detections;
        self.foresee(capture_ns);
        let sure = detections.partition_point(|one| one.score >= self.settings.sure);
        let unsure = detections
            .partition_point(|one| one.score >= LOWEST)
            .max(sure);
        let mut free: Vec<usize> = (0..sure).collect();

        let known = self.indices(|state| state != State::New);
        let left = self.match_up(&found, SURE, &known, &mut free);
        let left: Vec<usize> = left
            .into_iter()
            .filter(|track| self.tracks[*track].state == State::Seen)
            .collect();
        let mut weak: Vec<usize> = (sure..unsure).collect();
        let lost = self.match_up(&found, UNSURE, &left, &mut weak);
        for track in lost {
            self.tracks[track].state = State::Lost;
        }
        let fresh = self.indices(|state| state == State::New);
        let missed = self.match_up(&found, UNCONFIRMED, &fresh, &mut free);
        // Seen once and never again: most likely nothing.
        let gone: Vec<u64> = missed.iter().map(|track| self.tracks[*track].id).collect();
        self.tracks.retain(|track| !gone.contains(&track.id));
        for detection in free {
            if detections[detection].score >= (self.settings.sure + NEW).min(1.0) {
                self.begin(&detections[detection], found.boxes[detection], capture_ns);
            }
        }
        self.seen_at(capture_ns)
    }

    /// Moves every track to where it should be now, and forgets those lost for too long. A time that
    /// goes back begins anew.
    fn foresee(&mut self, capture_ns: i64) {
        let passed = self
            .last_ns
            .map_or(0, |last| capture_ns.saturating_sub(last));
        if passed < 0 {
            self.tracks.clear();
        }
        self.last_ns = Some(capture_ns);
        let remember_ns = self.settings.remember_ns;
        self.tracks
            .retain(|track| capture_ns.saturating_sub(track.last_ns) <= remember_ns);
        let steps = (passed.max(0) as f32 / STEP_NS).clamp(0.0, MAX_STEPS);
        for track in &mut self.tracks {
            if track.state == State::Lost {
                track.kalman.hold_size();
            }
            track.foreseen = track.kalman.predict(steps);
        }
    }

    fn indices(&self, wanted: impl Fn(State) -> bool) -> Vec<usize> {
        let all = self.tracks.iter().enumerate();
        all.filter(|(_, track)| wanted(track.state))
            .map(|(index, _)| index)
            .collect()
    }

    /// Matches tracks with detections that are free, and takes these out of `free`. The tracks that
    /// got none.
    fn match_up(
        &mut self,
        found: &Found,
        rule: Rule,
        tracks: &[usize],
        free: &mut Vec<usize>,
    ) -> Vec<usize> {
        let Found {
            detections, boxes, ..
        } = found;
        let pairs = assign(tracks.len(), free.len(), rule.limit, |row, column| {
            let (track, detection) = (&self.tracks[tracks[row]], free[column]);
            if track.label != detections[detection].label {
                return f32::from(u8::MAX);
            }
            let overlap = track.foreseen.iou(&boxes[detection]);
            if rule.by_score {
                1.0 - overlap * detections[detection].score.clamp(0.0, 1.0)
            } else {
                1.0 - overlap
            }
        });
        for &(row, column) in &pairs {
            let (track, detection) = (&mut self.tracks[tracks[row]], free[column]);
            track.kalman.update(&boxes[detection]);
            track.seen = boxes[detection];
            track.outline.clone_from(&detections[detection].outline);
            track.score = detections[detection].score;
            track.state = State::Seen;
            track.last_ns = found.capture_ns;
        }
        let rows: Vec<usize> = pairs.iter().map(|pair| pair.0).collect();
        let taken: Vec<usize> = pairs.iter().map(|pair| free[pair.1]).collect();
        free.retain(|detection| !taken.contains(detection));
        let left = tracks.iter().enumerate();
        left.filter(|(row, _)| !rows.contains(row))
            .map(|(_, track)| *track)
            .collect()
    }

    fn begin(&mut self, detection: &Detection, seen: Rect, capture_ns: i64) {
        if self.tracks.len() >= MAX_BOXES {
            return;
        }
        // In the first picture there is nothing to wait for.
        let first = self.next_id == 1 || self.tracks.iter().all(|it| it.first_ns == capture_ns);
        self.tracks.push(Followed {
            id: self.next_id,
            label: detection.label.clone(),
            score: detection.score,
            kalman: Kalman::new(&seen),
            foreseen: seen,
            seen,
            outline: detection.outline.clone(),
            state: if first { State::Seen } else { State::New },
            first_ns: capture_ns,
            last_ns: capture_ns,
        });
        self.next_id += 1;
    }

    fn seen_at(&self, capture_ns: i64) -> Vec<Track> {
        let now = self
            .tracks
            .iter()
            .filter(|track| track.state == State::Seen && track.last_ns == capture_ns);
        now.map(|track| Track {
            id: track.id,
            label: track.label.clone(),
            score: track.score,
            x: track.seen.x,
            y: track.seen.y,
            w: track.seen.w,
            h: track.seen.h,
            seen_ms: u64::try_from(capture_ns.saturating_sub(track.first_ns) / 1_000_000)
                .unwrap_or(0),
            outline: track.outline.clone(),
        })
        .collect()
    }
}

fn rect(detection: &Detection) -> Rect {
    Rect {
        x: detection.x,
        y: detection.y,
        w: detection.w,
        h: detection.h,
    }
}
