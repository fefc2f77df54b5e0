//! Manifests: any text gives a system or problems, never a panic; what was read can be written and
//! read again; problems can be shown.
#![no_main]

use edgeflow_spec::{
    device::DevicePlace,
    parse, problem,
    render::{PlacedSystem, render},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match parse("fuzz.yaml", text) {
        Ok(parsed) => {
            let yaml = parsed.system.to_yaml();
            let again = parse("again.yaml", &yaml).expect("what was written can be read");
            assert_eq!(again.system, parsed.system, "{yaml}");
            let placed = [PlacedSystem { system: &parsed.system, revision: 1, overrides: None, spots: None }];
            let _ = render(&placed, &Default::default(), &DevicePlace::default());
        }
        Err(invalid) => {
            assert!(invalid.problems.iter().any(|problem| problem.is_error()));
            assert!(!problem::render(&invalid.problems, true).is_empty());
        }
    }
});
