//! Tests against `v4l2loopback`, a driver that shows what a program writes into its device, in the
//! virtual machine of `cargo xtask vm`. Elsewhere they say that they are skipped.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::vivid::*;
use super::*;
use crate::jpeg;
use crate::pattern::TestCard;

const DEVICE: &str = "/dev/video9";
const SIZE: (u16, u16) = (640, 480);

fn tool(args: &[&str]) {
    let mut tool = Command::new("v4l2-ctl");
    let status = tool.args(["-d", DEVICE]).args(args).status().unwrap();
    assert!(status.success(), "{args:?}");
}

/// Stops the writer whatever becomes of the test.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes pictures in turn until it is stopped.
fn write(pictures: &[Vec<u8>], stop: &AtomicBool) {
    let mut device = OpenOptions::new().write(true).open(DEVICE).unwrap();
    for picture in pictures.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        device.write_all(picture).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[test]
fn loopback_jpeg_passes_through_untouched_and_its_end_is_noticed() {
    in_the_machine!();
    let mut card = TestCard::new(SIZE.0, SIZE.1, 80).unwrap();
    let pictures: Vec<Vec<u8>> = (1..=6).map(|n| card.jpeg(n, 0).unwrap()).collect();
    // It stays when nobody has the device open.
    tool(&["-c", "keep_format=1"]);
    tool(&[
        "--set-fmt-video-out",
        "width=640,height=480,pixelformat=MJPG",
    ]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = StopAtEnd(&stop);
        let writer = scope.spawn(|| write(&pictures, &stop));
        let mut camera = camera(DEVICE, wish(None, (640, 480), 30.0));
        // The driver shows empty buffers until something is written.
        let first = std::iter::repeat_with(|| next(&mut camera))
            .take(10)
            .find(|picture| jpeg::inspect(&picture.bytes).is_ok());
        assert!(first.is_some(), "nothing but empty buffers");
        for _ in 0..30 {
            let picture = next(&mut camera);
            assert_eq!(picture.format, PixelFormat::Mjpg);
            assert_eq!((picture.width, picture.height), SIZE);
            let same = pictures.contains(&picture.bytes);
            assert!(same, "{} bytes, none of those written", picture.bytes.len());
        }
        let session = camera.session().unwrap();
        assert_eq!(session.driver, "v4l2 loopback");
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        let start = Instant::now();
        let (fault, _) = down(&mut camera);
        assert_eq!(fault, "stalled");
        assert!(start.elapsed() < STALL_LIMIT + Duration::from_secs(8));
        // And back, without being told.
        stop.store(false, Ordering::Relaxed);
        let writer = scope.spawn(|| write(&pictures, &stop));
        let picture = next(&mut camera);
        assert_eq!(picture.format, PixelFormat::Mjpg);
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
}
