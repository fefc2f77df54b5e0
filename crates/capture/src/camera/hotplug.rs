//! Tells when a video device appears, goes, or gets other permissions. Watches /dev; where that
//! can't be done it only waits, and its callers look again by themselves.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

/// Bytes of events that are read at a time.
const ROOM: usize = 4096;
/// Reads until what is left has to wait for the next look.
const MAX_READS: usize = 64;

/// A watch on the folder of devices.
#[derive(Debug)]
pub struct Hotplug {
    watch: Option<OwnedFd>,
}

impl Hotplug {
    /// Starts to watch `dev`.
    pub fn new(dev: &Path) -> Self {
        let watch = start(dev)
            .map_err(|error| tracing::debug!(%error, "devices can't be watched"))
            .ok();
        Self { watch }
    }

    /// Waits up to `time`. Returns early, and true, when video devices have changed.
    pub fn wait(&self, time: Duration) -> bool {
        let Some(watch) = &self.watch else {
            std::thread::sleep(time);
            return false;
        };
        let mut waits = [PollFd::new(watch, PollFlags::IN)];
        let came = poll(&mut waits, Timespec::try_from(time).ok().as_ref());
        matches!(came, Ok(1..)) && self.take()
    }

    /// Whether video devices have changed since the last look. Never waits.
    fn take(&self) -> bool {
        let Some(watch) = &self.watch else {
            return false;
        };
        let mut room = [const { MaybeUninit::uninit() }; ROOM];
        let mut events = inotify::Reader::new(watch, &mut room);
        let mut changed = false;
        for _ in 0..MAX_READS {
            let Ok(event) = events.next() else {
                break;
            };
            let overflow = event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().map(std::ffi::CStr::to_bytes);
            changed |= overflow || name.is_some_and(|name| name.starts_with(b"video"));
        }
        changed
    }
}

fn start(dev: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
    let watch = inotify::init(flags)?;
    let what = inotify::WatchFlags::CREATE
        | inotify::WatchFlags::DELETE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::ATTRIB;
    inotify::add_watch(&watch, dev, what)?;
    Ok(watch)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_new_video_device_ends_the_wait_and_other_files_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Hotplug::new(dir.path());
        std::fs::write(dir.path().join("null"), "").unwrap();
        assert!(!watch.wait(Duration::from_millis(1)));
        std::fs::write(dir.path().join("video0"), "").unwrap();
        let start = Instant::now();
        assert!(watch.wait(Duration::from_secs(60)));
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(!watch.take());
        std::fs::remove_file(dir.path().join("video0")).unwrap();
        assert!(watch.take());
    }

    #[test]
    fn without_a_folder_it_only_waits() {
        let watch = Hotplug::new(Path::new("/none/such"));
        assert!(watch.watch.is_none());
        assert!(!watch.wait(Duration::from_millis(1)));
    }
}
