//! The example manifests that users start from.

use std::{fs, path::Path};

use edgeflow_spec::parse;

#[test]
fn the_example_of_replicas_and_fusion_is_valid_without_a_warning() {
    let name = "replicas-and-fusion.yaml";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let parsed = parse(name, &fs::read_to_string(path.join(name)).unwrap()).unwrap();
    assert_eq!(parsed.warnings, []);
    let fuse = parsed.system.node("both").unwrap();
    assert_eq!(fuse.input_ports(), ["coarse", "fine"]);
}

#[test]
fn the_recording_manifests_are_valid_without_a_warning() {
    for name in ["record.yaml", "replay.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../examples/recording")
            .join(name);
        let parsed = parse(name, &fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(parsed.warnings, [], "{name}");
    }
}

#[test]
fn the_quickstart_manifests_are_valid_without_a_warning() {
    for name in [
        "system.yaml",
        "camera.yaml",
        "pattern.yaml",
        "two-devices.yaml",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../examples/quickstart")
            .join(name);
        let parsed = parse(name, &fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(parsed.warnings, [], "{name}");
        assert_eq!(parsed.system.views.len(), 2, "{name}");
    }
}

#[test]
fn the_other_manifests_are_valid_without_a_warning() {
    for name in [
        "privacy.yaml",
        "replicas-and-fusion.yaml",
        "track-and-count.yaml",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../examples")
            .join(name);
        let parsed = parse(name, &fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(parsed.warnings, [], "{name}");
    }
}
