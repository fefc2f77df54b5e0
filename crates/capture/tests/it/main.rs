//! Integration tests with the real `ffmpeg`; where it is not installed they say so.

// Helpers of tests fail by panicking.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edgeflow_capture::jpeg;
use edgeflow_capture::program::{Input, Options, Poll, ProgramError, ProgramSource, RtspTransport};

mod servers;

const PATIENCE: Duration = Duration::from_secs(30);

fn has_ffmpeg() -> bool {
    let found = Command::new("ffmpeg")
        .arg("-version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if !found {
        eprintln!("skipped: ffmpeg is not installed");
    }
    found
}

/// A second of video in a format that pure Rust does not read.
fn video(dir: &Path) -> String {
    let path = dir.join("clip.mkv").display().to_string();
    let status = Command::new("ffmpeg")
        .args([
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=64x48:rate=10",
        ])
        .args(["-t", "1", "-c:v", "mpeg4", &path])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    path
}

fn open(source: &str, repeat: bool) -> Result<ProgramSource, ProgramError> {
    ProgramSource::open(Options {
        repeat,
        ..Options::new(Input::Source(source.to_owned()))
    })
}

/// Polls until something other than a picture or nothing comes; counts the pictures.
fn until_event(source: &mut ProgramSource, at_most: usize) -> (usize, Option<Poll>) {
    let end = Instant::now() + PATIENCE;
    let mut pictures = 0;
    while pictures < at_most {
        assert!(Instant::now() < end, "nothing came");
        match source.poll(Duration::from_millis(200)) {
            Poll::Picture(bytes) => {
                let size = jpeg::inspect(&bytes).unwrap();
                assert_eq!((size.width, size.height), (64, 48));
                pictures += 1;
            }
            Poll::Nothing => {}
            event => return (pictures, Some(event)),
        }
    }
    (pictures, None)
}

#[test]
fn a_file_is_read_to_its_end() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut source = open(&video(dir.path()), false).unwrap();
    assert_eq!(until_event(&mut source, 100), (10, Some(Poll::End)));
}

#[test]
fn a_repeated_file_goes_on() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut source = open(&video(dir.path()), true).unwrap();
    assert_eq!(until_event(&mut source, 15), (15, None));
}

#[test]
fn a_killed_child_is_started_again() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut source = open(&video(dir.path()), true).unwrap();
    assert_eq!(until_event(&mut source, 2), (2, None));
    let pid = source
        .child_id()
        .and_then(|id| i32::try_from(id).ok())
        .unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let (_, event) = until_event(&mut source, 100);
    assert!(matches!(event, Some(Poll::Down { .. })), "{event:?}");
    assert_eq!(until_event(&mut source, 2), (2, None));
    assert_eq!(source.restarts(), 1);
}

#[test]
fn a_stream_that_is_not_there_is_down_and_no_password_shows() {
    if !has_ffmpeg() {
        return;
    }
    // Nobody listens: the port was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut source = open(&format!("rtsp://admin:s3cret@127.0.0.1:{port}/x"), true).unwrap();
    let (_, event) = until_event(&mut source, 1);
    let Some(Poll::Down { reason }) = event else {
        panic!("{event:?}")
    };
    assert!(reason.contains("refused"), "{reason}");
    assert!(!reason.contains("s3cret") && !source.name().contains("s3cret"));
}

#[test]
fn the_child_is_gone_when_the_source_is_dropped() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = open(&video(dir.path()), true).unwrap();
    let id = source.child_id().unwrap();
    assert!(Path::new(&format!("/proc/{id}")).exists());
    drop(source);
    assert!(!Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn a_missing_file_is_an_error_at_once() {
    let error = open("/nowhere/clip.mp4", true).unwrap_err();
    assert_eq!(error.to_string(), "`/nowhere/clip.mp4` does not exist");
}

/// Pictures of any size; fails when none comes.
fn pictures(source: &mut ProgramSource, wanted: usize) {
    let end = Instant::now() + PATIENCE;
    let mut count = 0;
    while count < wanted {
        assert!(Instant::now() < end, "no picture: {:?}", source.outage());
        if let Poll::Picture(bytes) = source.poll(Duration::from_millis(200)) {
            jpeg::inspect(&bytes).unwrap();
            count += 1;
        }
    }
}

fn until_down(source: &mut ProgramSource) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "the loss goes unnoticed");
        if let Poll::Down { reason } = source.poll(Duration::from_millis(200)) {
            return reason;
        }
    }
}

#[test]
fn an_rtsp_camera_with_a_password_is_read_and_comes_back() {
    rtsp_comes_back(RtspTransport::Tcp);
}

#[test]
fn an_rtsp_camera_over_udp_is_read_and_comes_back() {
    rtsp_comes_back(RtspTransport::Udp);
}

fn rtsp_comes_back(transport: RtspTransport) {
    if !has_ffmpeg() {
        return;
    }
    let Some(mut server) = servers::Rtsp::start("admin", "s3cret") else {
        return;
    };
    let url = format!("rtsp://admin:s3cret@127.0.0.1:{}/camera", server.port);
    let mut source = ProgramSource::open(Options {
        rtsp_transport: transport,
        ..Options::new(Input::Source(url))
    })
    .unwrap();
    pictures(&mut source, 5);
    let child = source.child_id().unwrap();
    let line = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap();
    assert!(
        line.contains("ffmpeg") && !line.contains("s3cret"),
        "{line}"
    );
    server.kill();
    let reason = until_down(&mut source);
    assert!(!reason.contains("s3cret"), "{reason}");
    let outage = source.outage().unwrap().clone();
    assert!(outage.next_try_unix_ms > outage.since_unix_ms);
    server.restart();
    pictures(&mut source, 5);
    assert_eq!(source.outage(), None);
}

#[test]
fn a_wrong_password_is_an_outage_with_the_servers_answer() {
    if !has_ffmpeg() {
        return;
    }
    let Some(server) = servers::Rtsp::start("admin", "s3cret") else {
        return;
    };
    let url = format!("rtsp://admin:wr0ng@127.0.0.1:{}/camera", server.port);
    let mut source = open(&url, true).unwrap();
    let reason = until_down(&mut source);
    assert!(!reason.contains("wr0ng"), "{reason}");
}

#[test]
fn an_http_stream_is_read() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = servers::Http::start(&video(dir.path()));
    let mut source = open(&format!("http://127.0.0.1:{}/clip", server.port), true).unwrap();
    pictures(&mut source, 3);
}

#[test]
fn a_command_that_writes_jpegs_is_a_source_and_is_started_again() {
    if !has_ffmpeg() {
        return;
    }
    let line =
        "exec ffmpeg -loglevel error -re -f lavfi -i testsrc=size=64x48:rate=10 -t 1 -f mjpeg -";
    let command = ["sh", "-c", line].map(str::to_owned).to_vec();
    let mut source = ProgramSource::open(Options::new(Input::Command(command))).unwrap();
    pictures(&mut source, 5);
    let reason = until_down(&mut source);
    assert!(reason.starts_with("sh ended: exit status: 0"), "{reason}");
    pictures(&mut source, 2);
    assert_eq!(source.restarts(), 1);
    let missing = Options::new(Input::Command(vec!["/none/such".to_owned()]));
    let error = ProgramSource::open(missing).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the program `/none/such` is not installed on this device"
    );
}
