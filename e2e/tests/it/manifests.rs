//! The systems that the tests apply.

/// Pattern → motion → log, and the knobs that tests turn.
pub(crate) fn pipeline(fps: u32, motion_threshold: f64) -> String {
    format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata:
  name: demo
spec:
  nodes:
    camera: {{use: pattern, with: {{size: 320x240, fps: {fps}}}}}
    motion: {{use: motion, with: {{threshold: {motion_threshold}}}}}
    log: {{use: log, with: {{every_ms: 200}}}}
  links:
    - camera -> motion -> log
  views: [camera, motion]
"
    )
}

/// The clip, a face detector and a log: what the quick start runs.
pub(crate) const FACES: &str = "apiVersion: edgeflow.dev/v1
kind: System
metadata:
  name: demo
spec:
  nodes:
    camera: {use: video, with: {source: quickstart.avi}}
    detect: {use: detect, with: {model: centerface}}
    log: {use: log}
  links:
    - camera -> detect -> log
  views: [camera, detect]
";

/// One node `broken` behind a good camera.
pub(crate) fn with_broken(node: &str) -> String {
    format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata:
  name: demo
spec:
  nodes:
    camera: {{use: pattern, with: {{size: 320x240, fps: 5}}}}
    broken: {node}
  links:
    - camera -> broken
"
    )
}
