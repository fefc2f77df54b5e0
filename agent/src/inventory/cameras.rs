//! The cameras of this machine with what they offer, followed while they are plugged in and out. One
//! that is gone stays in the list with that as its problem, so that a loose cable takes no system
//! off the device. Opens devices for a moment, never captures.

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use edgeflow_capture::camera::{Hotplug, Listed, Places, inventory};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::events::{Event, Events, Severity};

pub use edgeflow_capture::camera::Listed as Camera;

/// Cameras that are gone and still told of.
const MAX_GONE: usize = 8;
/// Cameras that the control plane takes from a device; with more it would refuse the session.
const MAX_LISTED: usize = 64;
/// A plug changes several files.
const SETTLE: Duration = Duration::from_millis(200);
/// How long the watching thread may outlive its agent.
const STEP: Duration = Duration::from_secs(1);
/// For what goes unnoticed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const UNPLUGGED: &str = "unplugged";

/// Looks at the cameras that are there.
pub fn cameras() -> Vec<Camera> {
    inventory(&Places::default())
}

/// Keeps `list` true until it is dropped.
pub async fn follow(list: watch::Sender<Vec<Camera>>, events: Arc<Events>) {
    let plugged = Arc::new(Notify::new());
    watch_plugs(Arc::downgrade(&plugged));
    loop {
        if timeout(LOOK_AGAIN, plugged.notified()).await.is_ok() {
            tokio::time::sleep(SETTLE).await;
        }
        let Ok(there) = tokio::task::spawn_blocking(cameras).await else {
            continue;
        };
        list.send_if_modified(|known| {
            let now = merge(known, there);
            if *known == now {
                return false;
            }
            tell(known, &now, &events);
            *known = now;
            true
        });
    }
}

/// A thread that tells of changes under /dev as long as anybody wants to know.
fn watch_plugs(plugged: Weak<Notify>) {
    let watch = move || {
        let hotplug = Hotplug::new(Path::new("/dev"));
        while plugged.strong_count() > 0 {
            if hotplug.wait(STEP)
                && let Some(plugged) = plugged.upgrade()
            {
                plugged.notify_one();
            }
        }
    };
    let thread = std::thread::Builder::new().name("cameras".to_owned());
    if let Err(error) = thread.spawn(watch) {
        tracing::warn!(%error, "cameras are looked for now and then only");
    }
}

/// What is there, and the newest of what is gone.
fn merge(known: &[Camera], there: Vec<Camera>) -> Vec<Camera> {
    let is_gone = |camera: &&Camera| !there.iter().any(|one| is_same(one, camera));
    // Those of before come after those that were there until now.
    let gone = known
        .iter()
        .filter(is_gone)
        .take(MAX_GONE)
        .map(|camera| Camera {
            problem: UNPLUGGED.to_owned(),
            ..camera.clone()
        });
    let gone: Vec<Camera> = gone.collect();
    let mut now = [there, gone].concat();
    now.truncate(MAX_LISTED);
    now
}

/// The same thing, whatever its number is now.
fn is_same(one: &Listed, other: &Listed) -> bool {
    one.name == other.name
        && if one.serial.is_empty() {
            one.bus == other.bus
        } else {
            one.serial == other.serial
        }
}

fn tell(before: &[Camera], now: &[Camera], events: &Events) {
    for camera in now {
        let known = before.iter().find(|one| is_same(one, camera));
        let was_there = known.is_some_and(|known| known.problem != UNPLUGGED);
        let is_there = camera.problem != UNPLUGGED;
        let (severity, reason) = match (was_there, is_there) {
            (false, true) => (Severity::Info, "CameraPluggedIn"),
            (true, false) => (Severity::Warning, "CameraUnplugged"),
            _ => continue,
        };
        let text = format!("{} ({})", camera.name, camera.path.display());
        events.add(Event::new(severity, reason, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(name: &str, path: &str, bus: &str) -> Camera {
        Camera {
            path: path.into(),
            name: name.to_owned(),
            driver: "uvcvideo".to_owned(),
            bus: bus.to_owned(),
            serial: String::new(),
            offers: Vec::new(),
            others: Vec::new(),
            controls: Vec::new(),
            problem: String::new(),
        }
    }

    #[test]
    fn a_camera_that_is_gone_is_told_of_until_it_is_back() {
        let (front, back) = (
            camera("Front", "/dev/video0", "1-1"),
            camera("Back", "/dev/video1", "1-2"),
        );
        let now = merge(&[front.clone(), back.clone()], vec![back.clone()]);
        assert_eq!(now.len(), 2);
        assert_eq!(
            (now[1].name.as_str(), now[1].problem.as_str()),
            ("Front", UNPLUGGED)
        );
        let many = vec![back.clone(); MAX_LISTED];
        assert_eq!(merge(&now, many).len(), MAX_LISTED);
        // It comes back under another number.
        let again = camera("Front", "/dev/video4", "1-1");
        assert_eq!(
            merge(&now, vec![back.clone(), again.clone()]),
            [back, again]
        );
    }

    #[test]
    fn those_that_are_gone_are_bounded() {
        let mut known = Vec::new();
        for number in 0..40 {
            known = merge(
                &known,
                vec![camera(&format!("c{number}"), "/dev/video0", "1-1")],
            );
        }
        assert_eq!(known.len(), MAX_GONE + 1);
        assert_eq!(known[0].name, "c39");
        assert_eq!(
            (known[1].name.as_str(), known[MAX_GONE].name.as_str()),
            ("c38", "c31")
        );
    }
}
