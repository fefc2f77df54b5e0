//! `fuse`: sends the frames of one input on with what was found at the same moment at the others.
//! Which frames belong together is decided by the SDK.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeflow::{Context, Frame, FrameSet, FusedNode, Fusion, Meta, NodeError, Outputs, Policy};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Metadata key of what the other inputs have.
const FUSED: &str = "fused";
/// Bytes of `fused` as JSON; what an input has beyond is left out, so that the frame can be sent.
const MAX_FUSED: usize = 64 * 1024;

/// Parameters of `fuse`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(default)]
    primary: Option<String>,
    #[serde(default)]
    policy: PolicyName,
    #[serde(default)]
    tolerance_ms: Option<f64>,
    #[serde(default)]
    tolerances_ms: BTreeMap<String, f64>,
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
    #[serde(default)]
    partial: Partial,
    #[serde(default = "default_buffer")]
    buffer: usize,
}

fn default_timeout_ms() -> u64 {
    200
}

fn default_buffer() -> usize {
    64
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PolicyName {
    #[default]
    Nearest,
    Exact,
    Latest,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Partial {
    #[default]
    Drop,
    Allow,
}

/// The node.
#[derive(Debug)]
pub(crate) struct Fuse {
    fusion: Fusion,
}

impl FusedNode for Fuse {
    type Params = Params;

    fn setup(ctx: &mut Context, params: Params) -> Result<Self, NodeError> {
        let mut inputs = ctx.inputs();
        let primary = match params.primary {
            Some(primary) => primary,
            None => inputs.first().cloned().unwrap_or_default(),
        };
        if !inputs.contains(&primary) {
            return Err(NodeError::new(format!(
                "parameter `primary`: no link leads to input `{primary}`"
            )));
        }
        inputs.retain(|input| *input != primary);
        if params.timeout_ms == 0 || params.buffer == 0 {
            return Err(NodeError::new(
                "parameters `timeout_ms` and `buffer` have to be at least 1",
            ));
        }
        let mut fusion = Fusion::new(primary, inputs);
        fusion.policy = match params.policy {
            PolicyName::Nearest => Policy::Nearest,
            PolicyName::Exact => Policy::Exact,
            PolicyName::Latest => Policy::Latest,
        };
        fusion.tolerance = params.tolerance_ms.map(milliseconds).transpose()?;
        for (input, tolerance) in params.tolerances_ms {
            fusion.tolerances.insert(input, milliseconds(tolerance)?);
        }
        fusion.timeout = Duration::from_millis(params.timeout_ms);
        fusion.partial = params.partial == Partial::Allow;
        fusion.max_frames = params.buffer;
        Ok(Self { fusion })
    }

    fn fusion(&self) -> Fusion {
        self.fusion.clone()
    }

    fn fuse(&mut self, set: FrameSet, out: &mut Outputs) -> Result<(), NodeError> {
        let mut frame = set.primary().clone();
        let mut fused = Map::new();
        let mut left = MAX_FUSED;
        for (input, other) in set.others() {
            let Some(other) = other else {
                continue;
            };
            let found = describe(&frame, other, &mut left)?;
            fused.insert(input.to_owned(), found.into());
        }
        let mut meta = frame.read_meta()?;
        meta.set(FUSED, &fused)?;
        frame.set_meta(&meta);
        out.send("out", frame)
    }
}

fn milliseconds(value: f64) -> Result<Duration, NodeError> {
    let tolerance = Duration::try_from_secs_f64(value / 1000.0);
    tolerance.map_err(|error| NodeError::from(error).context("a tolerance can't be used"))
}

/// What a frame of another input has: its time, its distance from the primary one, its metadata.
fn describe(
    primary: &Frame,
    other: &Frame,
    left: &mut usize,
) -> Result<Map<String, Value>, NodeError> {
    let capture_ns = other.header.capture_ns;
    // Milliseconds of two captures of one moment are far below 2^53.
    let offset_ms = capture_ns.saturating_sub(primary.header.capture_ns) as f64 / 1e6;
    let mut found = Map::new();
    found.insert("capture_ns".to_owned(), capture_ns.into());
    found.insert("offset_ms".to_owned(), json!(offset_ms));
    let meta = other.read_meta()?;
    for key in meta.keys() {
        let Some(value) = readable(&meta, key) else {
            continue;
        };
        let size = key.len() + value.to_string().len();
        if size <= *left && !found.contains_key(key) {
            *left -= size;
            found.insert(key.to_owned(), value);
        }
    }
    Ok(found)
}

/// A value of the metadata that is text, numbers, lists or maps; others are of no use to readers.
fn readable(meta: &Meta, key: &str) -> Option<Value> {
    meta.get::<Value>(key).ok().flatten()
}

#[cfg(test)]
mod tests {
    use edgeflow::Detection;
    use edgeflow::testing::{Fixture, Setup, fused};

    use super::*;

    fn setup(params: Value) -> Result<Fixture<Fuse>, String> {
        let setup = Setup {
            inputs: vec!["camera".to_owned(), "lidar".to_owned()],
            ..Setup::default()
        };
        fused(&setup, params).map_err(|error| error.to_string())
    }

    fn at(capture_ms: i64) -> Frame {
        let mut frame = Frame::jpeg(4, 3, vec![1, 2]);
        frame.header.capture_ns = capture_ms * 1_000_000;
        frame
    }

    fn with_detection(mut frame: Frame, label: &str) -> Frame {
        let mut meta = frame.read_meta().unwrap();
        let found = Detection {
            label: label.into(),
            score: 0.5,
            ..Detection::default()
        };
        meta.set_detections(&[found]).unwrap();
        meta.set("range", &[1.5, 2.5]).unwrap();
        frame.set_meta(&meta);
        frame
    }

    #[test]
    fn the_primary_frame_carries_what_the_others_found() {
        let mut fixture = setup(json!({"primary": "camera"})).unwrap();
        let camera = with_detection(at(100), "person");
        let lidar = with_detection(at(88), "thing");
        let sent = fixture.fuse(camera.clone(), &[("lidar", lidar)]).unwrap();
        let (port, frame) = &sent[0];
        assert_eq!((port.as_str(), &frame.payload), ("out", &camera.payload));
        assert_eq!(frame.header, camera.header);
        let meta = frame.read_meta().unwrap();
        assert_eq!(meta.detections().unwrap()[0].label, "person");
        let fused: Value = meta.get(FUSED).unwrap().unwrap();
        let lidar = &fused["lidar"];
        assert_eq!(lidar["offset_ms"], -12.0);
        assert_eq!(lidar["capture_ns"], 88_000_000);
        assert_eq!(lidar["detections"][0]["label"], "thing");
        assert_eq!(lidar["range"][1], 2.5);
    }

    #[test]
    fn an_input_without_a_frame_is_left_out() {
        let mut fixture = setup(json!({"primary": "camera", "partial": "allow"})).unwrap();
        let sent = fixture.fuse(at(1), &[]).unwrap();
        let meta = sent[0].1.read_meta().unwrap();
        assert_eq!(meta.get::<Value>(FUSED).unwrap(), Some(json!({})));
    }

    #[test]
    fn metadata_without_an_end_is_cut() {
        let mut fixture = setup(json!({"primary": "camera"})).unwrap();
        let mut lidar = at(1);
        let mut meta = Meta::new();
        meta.set("small", &1).unwrap();
        meta.set("large", &"x".repeat(MAX_FUSED)).unwrap();
        lidar.set_meta(&meta);
        let sent = fixture.fuse(at(1), &[("lidar", lidar)]).unwrap();
        let fused: Value = sent[0].1.read_meta().unwrap().get(FUSED).unwrap().unwrap();
        assert_eq!(fused["lidar"]["small"], 1);
        assert_eq!(fused["lidar"].get("large"), None);
    }

    #[test]
    fn parameters_become_a_fusion() {
        let params = json!({
            "primary": "lidar", "policy": "latest", "tolerance_ms": 1.5,
            "tolerances_ms": {"camera": 20}, "timeout_ms": 70, "partial": "allow", "buffer": 3,
        });
        let fusion = setup(params).unwrap().node.fusion();
        assert_eq!(fusion.primary, "lidar");
        assert_eq!(fusion.others, ["camera"]);
        assert_eq!(fusion.policy, Policy::Latest);
        assert_eq!(fusion.tolerance, Some(Duration::from_micros(1500)));
        assert_eq!(fusion.tolerances["camera"], Duration::from_millis(20));
        assert_eq!((fusion.partial, fusion.max_frames), (true, 3));
        let missing = setup(json!({"primary": "radar"})).unwrap_err();
        assert_eq!(
            missing,
            "parameter `primary`: no link leads to input `radar`"
        );
        assert!(setup(json!({"primary": "lidar", "tolerance_ms": -1})).is_err());
    }
}
