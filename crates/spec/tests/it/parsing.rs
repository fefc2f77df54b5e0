//! What a manifest means.

use edgeflow_spec::{OnFull, QosMode, System, parse};

fn read(spec: &str) -> System {
    let text = format!(
        "apiVersion: edgeflow.dev/v1\nkind: System\nmetadata: {{name: entrance}}\nspec:\n{spec}"
    );
    parse("system.yaml", &text)
        .unwrap_or_else(|invalid| {
            panic!(
                "{}",
                edgeflow_spec::problem::render(&invalid.problems, false)
            )
        })
        .system
}

const NODES: &str = "
  nodes:
    camera: {use: pattern}
    split: {run: [./split], outputs: [left, right]}
    view: {run: [./view], inputs: [in, other]}
    only: {run: [./only], inputs: [x]}
";

fn link_ids(links: &str) -> Vec<String> {
    let spec = format!("{NODES}  links:\n    - camera -> split\n{links}");
    let mut ids: Vec<String> = read(&spec).links.iter().map(|link| link.id()).collect();
    ids.remove(0);
    ids
}

#[test]
fn compact_and_map_links_are_the_same() {
    let rest = "    - split.right -> view.other\n    - split.right -> only\n";
    let expected = [
        "split.left->view",
        "split.right->view.other",
        "split.right->only.x",
    ];
    assert_eq!(
        link_ids(&format!("    - split.left -> view\n{rest}")),
        expected
    );
    assert_eq!(
        link_ids(&format!("    - {{from: split.left, to: view}}\n{rest}")),
        expected
    );
}

#[test]
fn options_are_read_in_every_spelling() {
    for options in [
        "camera -> log [durable, window: 128, window_bytes: 1MiB, on_full: fail]",
        "camera -> log [durable, window=128, window_bytes=1MiB, on_full=fail]",
        "\"camera -> log [durable, window: 128, window_bytes: 1MiB, on_full: fail]\"",
        "{from: camera, to: log, qos: durable, window: 128, window_bytes: 1MiB, on_full: fail}",
    ] {
        let system = read(&format!(
            "  nodes: {{camera: {{use: pattern}}, log: {{use: log}}}}\n  links:\n    - {options}\n"
        ));
        let qos = &system.links[0].qos;
        assert_eq!(qos.mode, QosMode::Durable, "{options}");
        assert_eq!(
            (qos.window_frames, qos.window_bytes),
            (128, 1 << 20),
            "{options}"
        );
        assert_eq!(qos.on_full, OnFull::Fail, "{options}");
    }
}

#[test]
fn balanced_and_spilling_links_are_read_in_every_spelling() {
    for options in [
        "camera -> log [balanced, max_lag: 7, max_age: 2s, window_bytes: 1MiB]",
        "camera -> log [balanced, max_lag=7, max_age=2s, window_bytes=1MiB]",
        "{from: camera, to: log, qos: balanced, max_lag: 7, max_age: 2s, window_bytes: 1MiB}",
    ] {
        let qos = &read_link("pattern", options).qos;
        assert_eq!(qos.mode, QosMode::Balanced, "{options}");
        assert_eq!((qos.max_lag, qos.max_age_ms), (7, Some(2000)), "{options}");
        assert_eq!(qos.window_bytes, 1 << 20, "{options}");
    }
    for options in [
        "camera -> log [durable, on_full: spill, spill: 2GiB, max_deliveries: 3]",
        "camera -> log [durable, spill=2GiB, max_deliveries=3]",
        "{from: camera, to: log, qos: durable, on_full: spill, spill: 2GiB, max_deliveries: 3}",
    ] {
        let qos = &read_link("pattern", options).qos;
        assert_eq!(qos.on_full, OnFull::Spill, "{options}");
        assert_eq!(
            (qos.spill_bytes, qos.max_deliveries),
            (2 << 30, 3),
            "{options}"
        );
    }
}

/// The only link, behind a camera of this kind.
fn read_link(uses: &str, options: &str) -> edgeflow_spec::Link {
    let text = format!(
        "  nodes: {{camera: {{use: {uses}}}, log: {{use: log}}}}\n  links:\n    - {options}\n"
    );
    read(&text).links.remove(0)
}

#[test]
fn a_durable_link_behind_a_live_source_spills_and_the_plan_says_so() {
    let manifest = |options: &str| {
        format!(
            "apiVersion: edgeflow.dev/v1\nkind: System\nmetadata: {{name: s}}\nspec:\n  nodes:\n    \
             camera: {{use: video, with: {{source: /dev/video0}}}}\n    log: {{use: log}}\n  links:\n    \
             - camera -> log [{options}]\n"
        )
    };
    let parsed = parse("s.yaml", &manifest("durable")).unwrap();
    assert_eq!(parsed.system.links[0].qos.on_full, OnFull::Spill);
    let [warning] = &parsed.warnings[..] else {
        panic!("one warning: {:?}", parsed.warnings)
    };
    assert_eq!(
        (warning.code.as_str(), warning.line),
        ("durable-live-source", 9)
    );
    assert!(
        warning.message.contains("disk, up to 1GiB"),
        "{}",
        warning.message
    );
    for said in [
        "durable, on_full=spill",
        "durable, spill=2GiB",
        "durable, on_full=fail",
    ] {
        let parsed = parse("s.yaml", &manifest(said)).unwrap();
        assert_eq!(parsed.warnings, [], "{said}");
    }
    // What is written back says it, so that nobody wonders.
    let again = parse("s.yaml", &parsed.system.to_yaml()).unwrap();
    assert_eq!((again.system, again.warnings), (parsed.system, Vec::new()));
}

#[test]
fn a_link_policy_applies_to_the_whole_chain() {
    let system = read(
        "  nodes: {camera: {use: pattern}, motion: {use: motion}, log: {use: log}}
  links:
    - camera -> motion -> log [max_age=500ms]
",
    );
    let ages: Vec<_> = system
        .links
        .iter()
        .map(|link| link.qos.max_age_ms)
        .collect();
    assert_eq!(ages, [Some(500), Some(500)]);
}

#[test]
fn aliases_numbers_and_flags_are_read() {
    let system = read(
        "
  nodes:
    camera:
      use: pattern
      with: &params {fps: 0x10, size: 640x480}
      env: {PORT: 8080, VERSION: 1.10, DEBUG: true, ZONE: '{{ device.labels.tz }}'}
    second: {use: pattern, with: *params, restart: on-failure, stop_grace: 2s}
  views: [camera, second]
",
    );
    let (camera, second) = (&system.nodes["camera"], &system.nodes["second"]);
    assert_eq!(camera.with["fps"], 16);
    assert_eq!(camera.with, second.with);
    assert_eq!(camera.env["VERSION"], "1.10");
    assert_eq!(camera.env["DEBUG"], "true");
    assert_eq!(second.stop_grace_ms, 2000);
}

#[test]
fn what_is_doubtful_is_a_warning_and_not_an_error() {
    let text = "apiVersion: edgeflow.dev/v1
kind: System
metadata: {name: entrance}
spec:
  nodes:
    camera: {use: pattern, replicas: 2}
";
    let parsed = parse("system.yaml", text).unwrap();
    let codes: Vec<_> = parsed
        .warnings
        .iter()
        .map(|problem| problem.code.as_str())
        .collect();
    assert_eq!(codes, ["unused-output", "replicated-source"]);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
    let text = "\u{feff}apiVersion: edgeflow.dev/v1\r\nkind: System\r\nmetadata: {name: a}\r\nspec:\r\n  nodes:\r\n    camera: {use: pattern}\r\n  views: [camera]\r\n";
    assert_eq!(parse("a.yaml", text).unwrap().system.metadata.name, "a");
}

#[test]
fn every_broken_node_is_reported_once_and_its_links_are_not() {
    let text = "apiVersion: edgeflow.dev/v1
kind: System
metadata: {name: entrance}
spec:
  nodes:
    camera: {with: {fps: 1}}
    log: {use: log}
  links: [camera -> log]
  views: [camera]
";
    let problems = parse("system.yaml", text).unwrap_err().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
}
