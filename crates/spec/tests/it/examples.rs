//! The example manifests that users start from.

use std::{fs, path::Path};

use edgeflow_spec::parse;

#[test]
fn the_quickstart_manifests_are_valid_without_a_warning() {
    for name in ["system.yaml", "camera.yaml", "pattern.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../examples/quickstart")
            .join(name);
        let parsed = parse(name, &fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(parsed.warnings, [], "{name}");
        assert_eq!(parsed.system.views.len(), 2, "{name}");
    }
}
