//! Frames of a node as lines, JSON and files.

use edgeflow_proto::v1::{self, tap_frames_response::Event};

use crate::fake::{Fake, State};

fn fake(codec: &str) -> Fake {
    let response = |event| v1::TapFramesResponse { event: Some(event) };
    let frame = |seq: u64| {
        response(Event::Frame(v1::TappedFrame {
            seq,
            epoch: 0xab,
            codec: codec.into(),
            width: 640,
            height: 480,
            capture_unix_ns: 1_700_000_000_000_000_000,
            received_unix_ns: 1_700_000_000_008_500_000,
            meta_json: r#"{"detections":[{"label":"person","score":0.5}]}"#.into(),
            payload_bytes: 5,
            payload: b"a jpg".to_vec(),
            ..Default::default()
        }))
    };
    Fake::start(State {
        tapped: vec![
            response(Event::Opened(v1::TapOpened {
                device_name: "pi-1".into(),
                instance: "demo.detect.0".into(),
                port: "out".into(),
            })),
            response(Event::Problem(v1::TapProblem {
                reason: "no_signal".into(),
                message: "no frame for two seconds".into(),
            })),
            frame(41),
            frame(43),
            frame(44),
        ],
        ..Default::default()
    })
}

#[test]
fn a_line_a_frame_and_the_end_after_the_count() {
    let fake = fake("jpeg");
    let ran = fake
        .home
        .run(&["tap", "demo", "detect", "-n", "2"])
        .expect(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.stdout);
    for part in [
        "2023-11-14",
        "43",
        "jpeg 640x480",
        "8.5 ms",
        "fps",
        "1 detection: 1 person",
    ] {
        assert!(lines[1].contains(part), "{part}: {}", lines[1]);
    }
    assert!(
        ran.stderr.contains("demo.detect.0 on pi-1, output out"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("no frame for two seconds"),
        "{}",
        ran.stderr
    );
    let taps = &fake.state.lock().unwrap().taps;
    assert!(!taps[0].payload, "payloads were asked for");
}

#[test]
fn json_has_header_fields_and_decoded_metadata() {
    let fake = fake("jpeg");
    let arguments = [
        "tap",
        "demo/detect",
        "--json",
        "-n",
        "1",
        "--device",
        "pi-1",
        "--port",
        "out",
    ];
    let json = fake.home.run(&arguments).expect(0).json();
    assert_eq!(
        (json["seq"].as_u64(), json["age_ms"].as_f64()),
        (Some(41), Some(8.5))
    );
    assert_eq!(json["meta"]["detections"][0]["label"], "person");
    let taps = &fake.state.lock().unwrap().taps;
    assert_eq!(
        (taps[0].device.as_str(), taps[0].port.as_str()),
        ("pi-1", "out")
    );
}

#[test]
fn pictures_become_files() {
    let jpegs = fake("jpeg");
    let ran = jpegs
        .home
        .run(&["tap", "demo", "detect", "--jpg", "pictures/now", "-n", "3"])
        .expect(0);
    assert_eq!(
        ran.stdout.lines().next(),
        Some("pictures/now/000000ab-00000041.jpg")
    );
    assert!(
        ran.stderr.contains("3 pictures in pictures/now"),
        "{}",
        ran.stderr
    );
    let folder = std::fs::read_dir(jpegs.home.path("pictures/now")).unwrap();
    let files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 3);
    assert!(
        files
            .iter()
            .all(|file| std::fs::read(file).unwrap() == b"a jpg")
    );
    let tensors = fake("tensor");
    let ran = tensors
        .home
        .run(&["tap", "demo", "detect", "--jpg", "pictures"])
        .expect(1);
    assert!(
        ran.stderr.contains("their codec is tensor"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_node_that_is_not_there_and_one_that_is_not_named_are_told_apart() {
    let fake = fake("jpeg");
    let ran = fake.home.run(&["tap", "demo", "dtect"]).expect(5);
    assert!(
        ran.stderr.contains("system demo has no node dtect"),
        "{}",
        ran.stderr
    );
    let ran = fake.home.run(&["tap", "demo"]).expect(2);
    assert!(
        ran.stderr.contains("edgeflow tap demo NODE"),
        "{}",
        ran.stderr
    );
    let ran = fake
        .home
        .run(&["tap", "demo", "detect", "--json", "--jpg", "x"])
        .expect(2);
    assert!(ran.stderr.contains("--jpg"), "{}", ran.stderr);
}
