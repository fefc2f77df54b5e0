//! Tests against a real driver: the kernel's `vivid`, in the virtual machine of `cargo xtask vm`.
//! Elsewhere they say that they are skipped. `/dev/video0` has one plane of memory (a webcam),
//! `/dev/video1` several (HDMI). They share the devices, so they run one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::jpeg;

/// Set in the virtual machine.
pub(super) const GATE: &str = "EDGEFLOW_TEST_VIVID";
const WEBCAM: &str = "/dev/video0";
const HDMI: &str = "/dev/video1";
const PATIENCE: Duration = Duration::from_secs(30);

macro_rules! in_the_machine {
    () => {
        if std::env::var_os(GATE).is_none() {
            eprintln!("skipped: not in the virtual machine of `cargo xtask vm`");
            return;
        }
    };
}
pub(super) use in_the_machine;

pub(super) fn camera(device: &str, wish: Wish) -> Camera {
    Camera::new(Options {
        device: device.parse().unwrap(),
        wish,
        controls: BTreeMap::new(),
        places: Places::default(),
    })
}

pub(super) fn wish(format: Option<PixelFormat>, size: (u32, u32), fps: f64) -> Wish {
    Wish {
        size: Some(size),
        fps: Some(fps),
        format,
        raw: false,
    }
}

/// The next picture; what is wrong meanwhile is in the camera's outage.
pub(super) fn next(camera: &mut Camera) -> Picture {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Poll::Picture(picture) = camera.poll(Duration::from_millis(50)) {
            return picture;
        }
    }
    panic!("no picture: {:?}", camera.outage());
}

/// Waits for a time without pictures.
pub(super) fn down(camera: &mut Camera) -> (&'static str, Duration) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if matches!(camera.poll(Duration::from_millis(20)), Poll::Down) {
            return (camera.outage().unwrap().fault.word(), start.elapsed());
        }
    }
    panic!("the fault goes unnoticed");
}

fn inject(device: &str, setting: &str) {
    let mut tool = Command::new("v4l2-ctl");
    let status = tool.args(["-d", device, "-c", setting]).status().unwrap();
    assert!(status.success(), "{setting}");
}

/// Takes the driver's devices away, or gives them back.
fn plug(there: bool) {
    let what = if there { "bind" } else { "unbind" };
    fs::write(format!("/sys/bus/platform/drivers/vivid/{what}"), "vivid.0").unwrap();
}

/// Mean brightness of a column of the colour bars, from 16 to 235.
fn brightness(picture: &Picture, column: usize) -> u32 {
    let width = usize::from(picture.width);
    let (step, offset) = match picture.format {
        PixelFormat::Yuyv => (2, 0),
        PixelFormat::Rgb24 => (3, 1),
        _ => (1, 0),
    };
    let height = usize::from(picture.height);
    let rows = height / 2..height * 3 / 4;
    let count = u32::try_from(rows.len()).unwrap();
    let sum: u32 = rows
        .map(|y| u32::from(picture.bytes[(y * width + column) * step + offset]))
        .sum();
    sum / count
}

fn is_a_picture_of_bars(picture: &Picture) {
    let (width, height) = (usize::from(picture.width), usize::from(picture.height));
    let planes = picture.format.planes(width, height);
    let expected: usize = planes.iter().map(|(row, rows)| row * rows).sum();
    assert_eq!(picture.bytes.len(), expected, "{:?}", picture.format);
    // White, yellow, cyan, green, magenta, red, blue, black.
    let (white, black) = (
        brightness(picture, width / 16),
        brightness(picture, width * 15 / 16),
    );
    assert!(
        white > 150 && black < 40,
        "{:?}: {white} {black}",
        picture.format
    );
    let raw = RawPicture {
        format: picture.format,
        width: picture.width,
        height: picture.height,
        full_range: picture.full_range,
        bytes: &picture.bytes,
    };
    let size = jpeg::inspect(&raw.to_jpeg(80).unwrap()).unwrap();
    assert_eq!((size.width, size.height), (picture.width, picture.height));
}

#[test]
fn vivid_every_format_is_read_from_one_plane_of_memory_and_from_several() {
    in_the_machine!();
    for (device, multiplanar, size, fps) in [
        (WEBCAM, false, (640, 480), 25.0),
        (HDMI, true, (640, 480), 60.0),
    ] {
        for format in PixelFormat::ALL {
            if format == PixelFormat::Mjpg {
                continue;
            }
            let mut camera = camera(device, wish(Some(format), size, fps));
            let picture = next(&mut camera);
            is_a_picture_of_bars(&picture);
            let session = camera.session().unwrap();
            assert_eq!(session.multiplanar, multiplanar);
            assert_eq!((session.mode.format, session.mode.size), (format, size));
            assert_eq!(session.driver, "vivid");
            assert_eq!(session.notice, None);
        }
    }
}

#[test]
fn vivid_planes_that_lie_apart_are_put_together() {
    in_the_machine!();
    let place = Place {
        path: HDMI.into(),
        name: String::new(),
    };
    let device = Device::open(place).unwrap();
    let mode = Mode {
        format: PixelFormat::Nv12,
        fourcc: *b"NM12",
        size: (640, 480),
        fps: Some(60.0),
    };
    let setting = device.set_mode(&mode, mode.fps).unwrap().unwrap();
    assert_eq!(setting.strides.len(), 2);
    let mut counters = Counters::default();
    let mut stream = Stream::start(device, setting).unwrap();
    let start = Instant::now();
    let taken = loop {
        assert!(start.elapsed() < PATIENCE);
        if let Some(taken) = stream
            .next(Duration::from_millis(100), &mut counters)
            .unwrap()
        {
            break taken;
        }
    };
    is_a_picture_of_bars(&picture(&stream, taken));
}

#[test]
fn vivid_what_is_not_offered_is_the_nearest_and_told() {
    in_the_machine!();
    let mut camera = camera(WEBCAM, wish(None, (640, 480), 30.0));
    next(&mut camera);
    let session = camera.session().unwrap();
    assert_eq!(session.mode.words(), "640x480@25 nv12");
    assert_eq!(session.notice.as_deref(), Some("asked 640x480@30, got @25"));
    let mut none = self::camera(WEBCAM, wish(Some(PixelFormat::Mjpg), (640, 480), 30.0));
    let (word, _) = down(&mut none);
    assert_eq!(word, "wrong_format");
    let text = none.outage().unwrap().fault.text();
    assert!(
        text.contains("asked for mjpeg") && text.contains("yuyv"),
        "{text}"
    );
}

#[test]
fn vivid_pictures_come_at_the_cameras_rate_with_its_time() {
    in_the_machine!();
    let mut camera = camera(WEBCAM, wish(None, (640, 480), 25.0));
    let first = next(&mut camera);
    let mut last = first.clone();
    for _ in 0..25 {
        let picture = next(&mut camera);
        assert!(picture.sequence > last.sequence);
        assert!(picture.capture.monotonic_ns > last.capture.monotonic_ns);
        assert!(picture.capture.from_driver);
        last = picture;
    }
    // By the driver's own count and clock, however slow this machine is.
    let span = last.capture.monotonic_ns - first.capture.monotonic_ns;
    let rate = f64::from(last.sequence - first.sequence) / (span as f64 / 1e9);
    assert!((20.0..30.0).contains(&rate), "{rate}");
}

#[test]
fn vivid_a_slow_reader_gets_the_newest_picture() {
    in_the_machine!();
    let mut camera = camera(WEBCAM, wish(None, (640, 480), 25.0));
    let first = next(&mut camera);
    std::thread::sleep(Duration::from_millis(500));
    let picture = next(&mut camera);
    let frames = picture.sequence - first.sequence;
    let counters = camera.counters();
    assert!(
        frames > 2 && counters.superseded >= 2,
        "{frames} {counters:?}"
    );
    // Those that found no free buffer are counted as lost once a later one tells.
    let later = next(&mut camera);
    let counters = camera.counters();
    let known = counters.pictures + counters.superseded + counters.lost + counters.damaged;
    assert!(
        known > u64::from(later.sequence - first.sequence),
        "{counters:?}"
    );
}

#[test]
fn vivid_controls_are_set_and_read_and_refused_with_the_drivers_range() {
    in_the_machine!();
    let mut camera = camera(WEBCAM, wish(None, (640, 480), 25.0));
    next(&mut camera);
    let names: BTreeSet<String> = camera.controls().into_iter().map(|c| c.name).collect();
    assert!(
        names.contains("brightness") && names.contains("gain_automatic"),
        "{names:?}"
    );
    assert!(!names.contains("disconnect"), "{names:?}");
    let set = |name: &str, value: f64| BTreeMap::from([(name.to_owned(), value)]);
    camera.set_controls(set("brightness", 200.0)).unwrap();
    assert_eq!(camera.control("brightness"), Some(200));
    let error = camera.set_controls(set("brightness", 300.0)).unwrap_err();
    assert_eq!(
        error.text(),
        "control `brightness`: 300 is not from 0 to 255"
    );
    assert_eq!(camera.control("brightness"), Some(200));
    let error = camera.set_controls(set("zoom", 1.0)).unwrap_err();
    assert!(error.text().starts_with("the camera has no control `zoom`"));
    camera.set_controls(set("brightness", 128.0)).unwrap();
}

#[test]
fn vivid_an_unplugged_camera_is_missed_and_comes_back() {
    in_the_machine!();
    let mut camera = camera("vivid-000", wish(None, (640, 480), 25.0));
    next(&mut camera);
    let known = camera.known.clone().unwrap();
    assert!(!known.bus.is_empty());
    inject(WEBCAM, "disconnect=1");
    let (word, took) = down(&mut camera);
    eprintln!("unplugged: noticed after {} ms", took.as_millis());
    assert_eq!(word, "unplugged");
    assert!(took < Duration::from_secs(1), "{took:?}");
    plug(false);
    // Someone who still holds the old device keeps its number: the camera comes under another.
    let start = Instant::now();
    plug(true);
    next(&mut camera);
    eprintln!(
        "plugged in: a picture after {} ms",
        start.elapsed().as_millis()
    );
    assert_eq!((camera.starts(), camera.outage().is_none()), (2, true));
    assert_eq!(camera.known, Some(known));
}

#[test]
fn vivid_a_camera_that_comes_back_under_another_number_is_found() {
    in_the_machine!();
    let mut camera = camera(WEBCAM, wish(None, (640, 480), 25.0));
    next(&mut camera);
    let name = camera.known.clone().unwrap().name;
    let number = fs::File::open(WEBCAM).unwrap();
    inject(WEBCAM, "disconnect=1");
    assert_eq!(down(&mut camera).0, "unplugged");
    plug(false);
    plug(true);
    next(&mut camera);
    let session = camera.session().unwrap().clone();
    eprintln!("{WEBCAM} came back as {}", session.path.display());
    assert_ne!(session.path, std::path::Path::new(WEBCAM));
    assert_eq!(camera.known.clone().unwrap().name, name);
    // The numbers of the other tests again.
    drop((number, camera));
    plug(false);
    plug(true);
    assert!(std::path::Path::new(WEBCAM).exists());
}

#[test]
fn vivid_a_camera_that_another_program_uses_is_busy_until_it_is_free() {
    in_the_machine!();
    let mut first = camera(WEBCAM, wish(None, (640, 480), 25.0));
    next(&mut first);
    let mut second = camera(WEBCAM, wish(None, (640, 480), 25.0));
    assert_eq!(down(&mut second).0, "busy");
    // `auto` takes the one that is free.
    let mut any = camera("auto", wish(None, (640, 480), 25.0));
    next(&mut any);
    assert_eq!(any.session().unwrap().path, std::path::Path::new(HDMI));
    next(&mut first);
    drop(first);
    next(&mut second);
}

#[test]
fn vivid_a_camera_that_may_not_be_opened_says_so() {
    in_the_machine!();
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.args([
        "--exact",
        "camera::vivid::a_user_without_rights",
        "--ignored",
    ]);
    let output = other.uid(65_534).gid(65_534).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "runs as another user, in the test above"]
fn a_user_without_rights() {
    in_the_machine!();
    let mut camera = camera(WEBCAM, wish(None, (640, 480), 25.0));
    assert_eq!(down(&mut camera).0, "permission_denied");
}

#[test]
fn vivid_a_camera_that_delivers_nothing_is_stalled_and_started_again() {
    in_the_machine!();
    let mut camera = camera(WEBCAM, wish(None, (640, 480), 25.0));
    next(&mut camera);
    inject(WEBCAM, "percentage_of_dropped_buffers=100");
    let (word, took) = down(&mut camera);
    eprintln!("stalled: noticed after {} ms", took.as_millis());
    assert_eq!(word, "stalled");
    inject(WEBCAM, "percentage_of_dropped_buffers=0");
    next(&mut camera);
    assert!(camera.starts() >= 2);
}

#[test]
fn vivid_faults_of_the_driver_end_nothing() {
    in_the_machine!();
    let mut camera = camera(WEBCAM, wish(None, (640, 480), 25.0));
    next(&mut camera);
    for fault in [
        "inject_fatal_streaming_error=1",
        "inject_vidioc_qbuf_error=1",
    ] {
        let starts = camera.starts();
        inject(WEBCAM, fault);
        assert_eq!(down(&mut camera).0, "failed", "{fault}");
        next(&mut camera);
        assert!(camera.starts() > starts, "{fault}");
    }
    for fault in [
        "inject_vidioc_reqbufs_error=1",
        "inject_vidioc_streamon_error=1",
    ] {
        let mut camera = self::camera(HDMI, wish(None, (640, 480), 60.0));
        inject(HDMI, fault);
        assert_eq!(down(&mut camera).0, "failed", "{fault}");
        next(&mut camera);
    }
    let before = camera.counters();
    inject(WEBCAM, "inject_v4l2_buf_flag_error=1");
    let start = Instant::now();
    while camera.counters().damaged == before.damaged && start.elapsed() < PATIENCE {
        next(&mut camera);
    }
    assert!(camera.counters().damaged > before.damaged);
    assert!(camera.outage().is_none());
}

#[test]
fn vivid_the_inventory_has_formats_sizes_rates_and_controls() {
    in_the_machine!();
    let listed = inventory(&Places::default());
    let paths: Vec<_> = listed
        .iter()
        .map(|one| one.path.display().to_string())
        .collect();
    assert_eq!(paths, [WEBCAM, HDMI]);
    let webcam = &listed[0];
    assert_eq!(
        (webcam.driver.as_str(), webcam.problem.as_str()),
        ("vivid", "")
    );
    let yuyv = webcam
        .offers
        .iter()
        .find(|one| one.format == PixelFormat::Yuyv)
        .unwrap();
    let size = yuyv
        .sizes
        .iter()
        .find(|size| size.to == (640, 360))
        .unwrap();
    assert!(
        size.rates.iter().any(|rate| (39.0..=41.0).contains(rate)),
        "{size:?}"
    );
    assert!(
        webcam
            .controls
            .iter()
            .any(|control| control.name == "brightness")
    );
    assert!(!webcam.others.is_empty());
}
