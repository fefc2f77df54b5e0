//! `detect`: finds objects with a model, in several frames at a time. The frame goes on as it came,
//! with `detections` in its metadata.

use std::sync::{Arc, Mutex, MutexGuard};

use edgeflow::{Context, Detection, Input, NodeError, Outputs, ParallelNode};
use edgeflow_infer::{Detector, Options, Timings};
use serde::Deserialize;

use crate::inference::{self, Batches, Parts, Wanted};
use crate::motion::check_shares;
use crate::picture::coded;

/// Parameters of `detect`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    model: String,
    #[serde(default = "default_threshold")]
    threshold: f32,
    #[serde(default = "default_iou")]
    iou: f32,
    #[serde(default)]
    threads: usize,
    #[serde(default)]
    parallel: usize,
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    labels: Option<Vec<String>>,
}

fn default_threshold() -> f32 {
    Options::default().threshold
}

fn default_iou() -> f32 {
    Options::default().iou
}

/// The node.
#[derive(Debug)]
pub(crate) struct Detect {
    detector: Detector,
    parallel: usize,
    limits: Arc<Mutex<Limits>>,
    labels: Option<Vec<String>>,
    parts: Parts,
    batches: Batches,
}

/// What may change while workers are at work.
#[derive(Clone, Copy, Debug)]
struct Limits {
    threshold: f32,
    iou: f32,
}

/// A thread's own detector.
#[derive(Debug)]
pub(crate) struct Worker {
    detector: Detector,
    limits: Arc<Mutex<Limits>>,
}

/// What was found in a frame.
#[derive(Debug)]
pub(crate) struct Found {
    found: edgeflow_infer::Found,
    timings: Timings,
}

impl ParallelNode for Detect {
    type Params = Params;
    type Worker = Worker;
    type Made = Found;

    fn setup(ctx: &mut Context, params: Params) -> Result<Self, NodeError> {
        check_shares(&[("threshold", params.threshold), ("iou", params.iou)])?;
        let parallel = inference::workers(params.parallel);
        let wanted = Wanted {
            model: &params.model,
            provider: params.provider.as_deref(),
            threads: params.threads,
            parallel,
        };
        let detector = Detector::new(wanted.load(ctx)?, params.threshold, params.iou)?;
        check_labels(&detector, params.labels.as_deref().unwrap_or_default())?;
        inference::show(ctx, detector.model(), parallel);
        Ok(Self {
            detector,
            parallel,
            limits: Arc::new(Mutex::new(Limits {
                threshold: params.threshold,
                iou: params.iou,
            })),
            labels: params.labels,
            parts: Parts::new(ctx, "boxes"),
            batches: Batches::new(ctx),
        })
    }

    fn workers(&mut self) -> Result<Vec<Worker>, NodeError> {
        let worker = || Worker {
            detector: self.detector.fork(),
            limits: Arc::clone(&self.limits),
        };
        Ok(std::iter::repeat_with(worker).take(self.parallel).collect())
    }

    fn work(worker: &mut Worker, input: &Input) -> Result<Found, NodeError> {
        let Limits { threshold, iou } = *lock(&worker.limits);
        let detector = &mut worker.detector;
        detector.set_limits(threshold, iou);
        let found = detector.detect_coded(&coded("detect", &input.frame)?)?;
        Ok(Found {
            found: found.clone(),
            timings: detector.timings(),
        })
    }

    fn finish(&mut self, input: Input, found: Found, out: &mut Outputs) -> Result<(), NodeError> {
        let mut frame = input.frame;
        let wanted = |label: &str| match &self.labels {
            Some(labels) => labels.iter().any(|wanted| wanted == label),
            None => true,
        };
        let mut detections: Vec<Detection> =
            inference::named(found.found, self.detector.model()).collect();
        detections.retain(|found| wanted(&found.label));
        let mut meta = frame.read_meta()?;
        meta.set_detections(&detections)?;
        frame.set_meta(&meta);
        self.parts.record(&found.timings);
        self.batches.look(self.detector.model());
        out.send("out", frame)
    }

    fn params_changed(&mut self, params: Params) -> Result<(), NodeError> {
        check_shares(&[("threshold", params.threshold), ("iou", params.iou)])?;
        check_labels(&self.detector, params.labels.as_deref().unwrap_or_default())?;
        *lock(&self.limits) = Limits {
            threshold: params.threshold,
            iou: params.iou,
        };
        self.labels = params.labels;
        Ok(())
    }
}

fn lock(limits: &Mutex<Limits>) -> MutexGuard<'_, Limits> {
    limits
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A filter for a class that the model does not have would silently find nothing.
fn check_labels(detector: &Detector, wanted: &[String]) -> Result<(), NodeError> {
    let known = detector.model().labels();
    let unknown = wanted.iter().find(|label| !known.contains(label));
    match unknown {
        Some(label) if !known.is_empty() => Err(NodeError::new(format!(
            "parameter `labels`: model `{}` has no class `{label}`; it has {}",
            detector.model().name(),
            known.join(", ")
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use edgeflow::testing::{Crew, Fixture, Setup, parallel};
    use edgeflow::{Codec, Frame};
    use edgeflow_capture::pattern::TestCard;
    use serde_json::{Value, json};

    use super::*;

    fn setup() -> Setup {
        let dirs = std::env::var_os("EDGEFLOW_TEST_ASSETS").unwrap_or_default();
        Setup {
            asset_dirs: std::env::split_paths(&dirs).collect(),
            ..Setup::default()
        }
    }

    /// A detector with the real model, where it is at hand.
    fn detect(params: Value) -> Option<Fixture<Crew<Detect>>> {
        let dirs = setup().asset_dirs;
        if !dirs.iter().any(|dir| dir.join("centerface.onnx").is_file()) {
            eprintln!("skipped: centerface.onnx is in no folder of EDGEFLOW_TEST_ASSETS");
            return None;
        }
        Some(parallel(&setup(), params).unwrap())
    }

    #[test]
    fn a_missing_model_is_explained() {
        let error =
            parallel::<Detect>(&Setup::default(), json!({"model": "centerface"})).unwrap_err();
        assert!(
            error
                .chain()
                .starts_with("model `centerface` not found: looked for")
        );
        let params = json!({"model": "centerface", "provider": "npu"});
        let error = parallel::<Detect>(&Setup::default(), params).unwrap_err();
        assert_eq!(
            error.chain(),
            "parameter `provider`: there is no `npu`; it can be auto, rten, cpu, xnnpack, cuda, tensorrt, openvino"
        );
        let params = json!({"model": "centerface", "threshold": 2.0});
        let error = parallel::<Detect>(&Setup::default(), params).unwrap_err();
        assert_eq!(error.chain(), "parameter `threshold`: 2 is not from 0 to 1");
    }

    #[test]
    fn a_face_is_found_and_the_payload_is_untouched() {
        let Some(mut fixture) = detect(json!({"model": "centerface"})) else {
            return;
        };
        let dirs = setup().asset_dirs;
        let Some(photo) = dirs
            .iter()
            .map(|d| d.join("astronaut.png"))
            .find(|p| p.is_file())
        else {
            eprintln!("skipped: astronaut.png is in no folder of EDGEFLOW_TEST_ASSETS");
            return;
        };
        let picture = crate::clip::read_picture(&photo).unwrap();
        let mut jpeg = Vec::new();
        jpeg_encoder::Encoder::new(&mut jpeg, 90)
            .encode(&picture.rgb, 512, 512, jpeg_encoder::ColorType::Rgb)
            .unwrap();
        let sent = fixture
            .work("in", Frame::jpeg(512, 512, jpeg.clone()))
            .unwrap();
        let (port, frame) = &sent[0];
        assert_eq!((port.as_str(), &frame.payload[..]), ("out", &jpeg[..]));
        let detections = frame.read_meta().unwrap().detections().unwrap();
        assert_eq!(detections.len(), 1, "{detections:?}");
        assert_eq!(detections[0].label, "face");
    }

    #[test]
    fn frames_that_can_not_be_read_are_errors_and_the_next_one_works() {
        let Some(mut fixture) = detect(json!({"model": "centerface", "threads": 1})) else {
            return;
        };
        let error = fixture
            .work("in", Frame::new(Codec::H264, vec![0; 12]))
            .unwrap_err();
        assert!(error.to_string().contains(
            "needs frames with codec jpeg, nv12, yuyv, rgb8 or grey8, these have codec h264"
        ));
        let jpeg = TestCard::new(64, 64, 80).unwrap().jpeg(1, 0).unwrap();
        let cut = jpeg[..jpeg.len() / 2].to_vec();
        assert!(fixture.work("in", Frame::jpeg(64, 64, cut)).is_err());
        assert_eq!(
            fixture.work("in", Frame::jpeg(64, 64, jpeg)).unwrap().len(),
            1
        );
    }

    #[test]
    fn an_unknown_label_is_refused() {
        if detect(json!({"model": "centerface", "labels": ["face"]})).is_none() {
            return;
        }
        let params = json!({"model": "centerface", "labels": ["fase"]});
        let mut fixture = detect(json!({"model": "centerface"})).unwrap();
        assert!(fixture.change_parallel(params.clone()).is_err());
        assert_eq!(fixture.node.node.labels, None, "the old value stays");
        let changed = json!({"model": "centerface", "labels": ["face"], "threshold": 0.9});
        fixture.change_parallel(changed).unwrap();
        assert_eq!(fixture.node.node.labels, Some(vec!["face".to_owned()]));
        let error = parallel::<Detect>(&setup(), params).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("has no class `fase`; it has face")
        );
    }
}
