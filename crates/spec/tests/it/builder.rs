//! Systems made in Rust.

use edgeflow_spec::{
    OnFull,
    builder::{QosMode, SystemBuilder},
    parse,
};

#[test]
fn a_built_system_equals_the_written_one() {
    let mut builder = SystemBuilder::new("entrance");
    builder.label("team", "retail").devices("site=berlin");
    let camera = builder.node("camera").uses("pattern").param("fps", 30);
    let motion = builder.node("motion").uses("motion").replicas(2);
    let sink = builder.node("sink").run(["./sink"]).inputs(["a", "b"]);
    builder
        .link(&camera)
        .to(&motion)
        .qos(QosMode::Durable)
        .window(8)
        .to(sink.port("a"));
    builder
        .link("camera")
        .to("sink.b")
        .qos(QosMode::Durable)
        .on_full(OnFull::Fail);
    builder.view(&motion);
    let built = builder.build().unwrap();

    let text = "
apiVersion: edgeflow.dev/v1
kind: System
metadata: {name: entrance, labels: {team: retail}}
spec:
  devices: {selector: site=berlin}
  nodes:
    camera: {use: pattern, with: {fps: 30}}
    motion: {use: motion, replicas: 2}
    sink: {run: [./sink], inputs: [a, b]}
  links:
    - camera -> motion [durable, window=8]
    - motion -> sink.a
    - camera -> sink.b [durable, on_full=fail]
  views: [motion]
";
    assert_eq!(built, parse("system.yaml", text).unwrap().system);
    assert_eq!(
        built,
        parse("written.yaml", &built.to_yaml()).unwrap().system
    );
}

#[test]
fn a_durable_link_behind_a_live_source_spills_unless_something_else_is_said() {
    let mut builder = SystemBuilder::new("s");
    let camera = builder
        .node("camera")
        .uses("video")
        .param("source", "rtsp://camera/1");
    let (a, b) = (builder.node("a").uses("log"), builder.node("b").uses("log"));
    builder.link(&camera).to(&a).qos(QosMode::Durable);
    builder
        .link(&camera)
        .to(&b)
        .qos(QosMode::Durable)
        .on_full(OnFull::Fail);
    let system = builder.build().unwrap();
    let policies: Vec<_> = system.links.iter().map(|link| link.qos.on_full).collect();
    assert_eq!(policies, [OnFull::Spill, OnFull::Fail]);
}

#[test]
fn a_written_system_is_easy_to_read() {
    let mut builder = SystemBuilder::new("entrance");
    let camera = builder
        .node("camera")
        .uses("pattern")
        .param("fps", 30)
        .env("A", "true");
    let log = builder.node("log").uses("log").stop_grace_ms(10_000);
    builder
        .link(&camera)
        .to(&log)
        .qos(QosMode::Durable)
        .window(8);
    insta::assert_snapshot!("written_system", builder.build().unwrap().to_yaml());
}

#[test]
fn mistakes_come_back_all_at_once() {
    let mut builder = SystemBuilder::new("My System");
    builder.devices("site in");
    builder.node("empty");
    let camera = builder.node("camera").uses("patern");
    builder.node("camera");
    builder.link(&camera).to("lgo");
    let problems = builder.build().unwrap_err().problems;
    let mut codes: Vec<_> = problems
        .iter()
        .map(|problem| problem.code.as_str())
        .collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        [
            "duplicate-key",
            "invalid-name",
            "invalid-selector",
            "missing-field",
            "unknown-node",
            "unknown-node",
        ]
    );
    assert!(problems.iter().all(|problem| problem.line == 0));
}
