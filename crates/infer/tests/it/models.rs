//! Real models on a real photo. The files come from the folders in `EDGEFLOW_TEST_ASSETS`
//! (separated by `:`); without them these tests say that they were skipped.

use std::path::{Path, PathBuf};

use edgeflow_infer::{Detection, Detector, DetectorError, Options, Picture};

fn asset_dirs() -> Vec<PathBuf> {
    let dirs = std::env::var_os("EDGEFLOW_TEST_ASSETS").unwrap_or_default();
    std::env::split_paths(&dirs).collect()
}

/// The path of an asset, or `None` with a word about it.
fn asset(name: &str) -> Option<PathBuf> {
    let found = asset_dirs()
        .into_iter()
        .map(|dir| dir.join(name))
        .find(|p| p.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is in no folder of EDGEFLOW_TEST_ASSETS");
    }
    found
}

fn photo(path: &Path) -> Picture {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut rgb).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgb);
    let (width, height) = (info.width as usize, info.height as usize);
    rgb.truncate(width * height * 3);
    Picture { width, height, rgb }
}

fn jpeg(picture: &Picture) -> Vec<u8> {
    let mut out = Vec::new();
    let (width, height) = (
        picture.width.try_into().unwrap(),
        picture.height.try_into().unwrap(),
    );
    jpeg_encoder::Encoder::new(&mut out, 90)
        .encode(&picture.rgb, width, height, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    out
}

/// Leaves the photo with its boxes in the test's folder, to look at.
fn draw(picture: &Picture, boxes: &[Detection], name: &str) {
    let mut picture = picture.clone();
    for found in boxes {
        let (left, top) = (found.x as usize, found.y as usize);
        let right = ((found.x + found.w) as usize).min(picture.width - 1);
        let bottom = ((found.y + found.h) as usize).min(picture.height - 1);
        let mut put = |x: usize, y: usize| {
            let at = (y * picture.width + x) * 3;
            picture.rgb[at..at + 3].copy_from_slice(&[0, 255, 0]);
        };
        (left..=right).for_each(|x| [top, bottom].iter().for_each(|y| put(x, *y)));
        (top..=bottom).for_each(|y| [left, right].iter().for_each(|x| put(*x, y)));
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let file = std::fs::File::create(path).unwrap();
    let (width, height) = (
        picture.width.try_into().unwrap(),
        picture.height.try_into().unwrap(),
    );
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&picture.rgb)
        .unwrap();
}

fn check(model: &str, file: &str, label: &str, expected: Detection) {
    let (Some(_), Some(path)) = (asset(file), asset("astronaut.png")) else {
        return;
    };
    let picture = photo(&path);
    let mut detector = Detector::load(model, &asset_dirs(), Options::default()).unwrap();
    let from_jpeg = detector.detect_jpeg(&jpeg(&picture)).unwrap().to_vec();
    assert!(detector.timings().infer > std::time::Duration::ZERO);
    eprintln!("{model}: {from_jpeg:?}, {:?}", detector.timings());
    let found = detector.detect(&picture).unwrap().to_vec();
    draw(&picture, &found, &format!("astronaut-{model}.png"));
    for boxes in [found, from_jpeg] {
        let best = boxes
            .iter()
            .find(|b| detector.label(b.class) == label)
            .unwrap();
        assert!(best.score >= expected.score, "{best:?}");
        assert!(best.iou(&expected) > 0.75, "{best:?}");
    }
}

#[test]
fn centerface_finds_the_face() {
    let face = Detection {
        score: 0.7,
        x: 181.0,
        y: 58.0,
        w: 89.0,
        h: 120.0,
        ..Detection::default()
    };
    check("centerface", "centerface.onnx", "face", face);
}

#[test]
fn yolox_finds_the_person() {
    let person = Detection {
        score: 0.8,
        x: 12.0,
        y: 20.0,
        w: 357.0,
        h: 487.0,
        ..Detection::default()
    };
    check("yolox-nano", "yolox_nano.onnx", "person", person);
}

#[test]
fn a_model_by_path_is_recognised_by_its_digest() {
    let Some(path) = asset("yolox_nano.onnx") else {
        return;
    };
    let detector = Detector::load(path.to_str().unwrap(), &[], Options::default()).unwrap();
    assert_eq!(
        (detector.name(), detector.kind()),
        ("yolox-nano", ("yolox", "rten"))
    );
}

#[test]
fn an_unknown_model_is_recognised_by_its_outputs() {
    let Some(path) = asset("yolox_nano.onnx") else {
        return;
    };
    // Another digest: an unknown field (number 2000) with one byte at the end.
    let mut bytes = std::fs::read(path).unwrap();
    bytes.extend_from_slice(&[0x82, 0x7d, 1, b'x']);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine.onnx"), bytes).unwrap();
    let dirs = [dir.path().to_owned()];
    let detector = Detector::load("mine.onnx", &dirs, Options::default()).unwrap();
    assert_eq!(detector.name(), "mine.onnx");
    assert_eq!(detector.labels().len(), 80);
}

#[test]
fn files_that_are_no_models_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "notes of a person\n").unwrap();
    let error = Detector::load(path.to_str().unwrap(), &[], Options::default()).unwrap_err();
    assert!(matches!(error, DetectorError::Onnx { .. }), "{error:?}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "not an ONNX model file (or a damaged one)");
}
