//! Rendering and plans by example; `properties` checks them in general.

use std::collections::BTreeMap;

use edgeflow_spec::{
    Assignment, System,
    assignment::Model,
    device::DevicePlace,
    params::Overrides,
    parse, plan,
    plan::Action,
    render::{MissingLabel, PlacedSystem, render},
};

fn system(spec: &str) -> System {
    let text =
        format!("apiVersion: edgeflow.dev/v1\nkind: System\nmetadata: {{name: s}}\nspec:\n{spec}");
    parse("system.yaml", &text).unwrap().system
}

fn base(fps: u32, link: &str) -> System {
    system(&format!(
        "
  nodes:
    camera: {{use: pattern, with: {{fps: {fps}}}}}
    motion: {{use: motion, replicas: 2}}
    log: {{use: log}}
  links:
    - camera -> motion -> log
{link}"
    ))
}

fn device() -> DevicePlace {
    DevicePlace {
        id: "d1".into(),
        name: "box".into(),
        labels: [("site".to_owned(), "berlin".to_owned())].into(),
    }
}

fn assign(system: &System, revision: u64) -> Assignment {
    render(
        &[PlacedSystem {
            system,
            revision,
            overrides: None,
            spots: None,
        }],
        &BTreeMap::new(),
        &device(),
    )
    .assignment
}

fn changed(old: &Assignment, new: &Assignment) -> Vec<String> {
    plan::diff_assignments(old, new)
        .into_iter()
        .filter(|change| change.action != Action::Keep)
        .map(|change| format!("{:?} {}: {}", change.action, change.instance, change.reason))
        .collect()
}

#[test]
fn an_assignment_is_flat_and_complete() {
    let assignment = assign(&base(10, ""), 3);
    let json = serde_json::to_string_pretty(&assignment).unwrap();
    insta::assert_snapshot!("assignment", json);
}

#[test]
fn a_link_via_a_broker_says_so_everywhere_and_survives_being_written() {
    let old = base(10, "");
    let new = base(10, "    - camera -> log [durable, via=broker]\n");
    assert_eq!(parse("again.yaml", &new.to_yaml()).unwrap().system, new);
    let links = plan::diff(Some(&old), Some(&new), None).links;
    let carried: Vec<_> = links
        .iter()
        .map(|link| (link.id.as_str(), link.transport.as_str()))
        .collect();
    assert_eq!(
        carried,
        [
            ("camera->motion", "shm"),
            ("motion->log", "shm"),
            ("camera->log", "redis")
        ]
    );
    let assignment = assign(&new, 2);
    let needing = assignment
        .instances
        .iter()
        .filter(|it| it.needs_own_broker());
    let needing: Vec<_> = needing.map(|it| it.id.as_str()).collect();
    assert_eq!(needing, ["s.camera.0", "s.log.0"]);
    // A realtime link is no different: nobody announces itself over a broker.
    let realtime = base(10, "    - camera -> log [via=broker]\n");
    let changes = changed(&assign(&old, 1), &assign(&realtime, 2));
    assert!(
        changes.iter().any(|it| it.starts_with("Change s.camera.0")),
        "{changes:?}"
    );
}

#[test]
fn only_the_changed_node_restarts() {
    let old = base(10, "");
    let mut new = old.clone();
    let camera = new.nodes.get_mut("camera").unwrap();
    camera.with.insert("size".to_owned(), "320x240".into());
    assert_eq!(
        changed(&assign(&old, 1), &assign(&new, 2)),
        [r#"Change s.camera.0: with.size: "640x480" -> "320x240""#]
    );
}

#[test]
fn a_changed_live_parameter_restarts_nothing_and_is_named() {
    let changes = plan::diff_assignments(&assign(&base(10, ""), 1), &assign(&base(15, ""), 2));
    assert!(changes.iter().all(|change| change.action == Action::Keep));
    let reasons: Vec<_> = changes
        .iter()
        .map(|change| change.reason.as_str())
        .collect();
    assert_eq!(reasons, ["with.fps: 10 -> 15", "", "", ""]);
}

#[test]
fn overrides_reach_every_replica_and_restart_none() {
    let system = base(10, "");
    let set = |value: &str| -> Overrides {
        let params = serde_json::json!({"motion": {"threshold": 0.5, "label": value}});
        serde_json::from_value(params).unwrap()
    };
    let render_with = |overrides: &Overrides| {
        let placed = PlacedSystem {
            system: &system,
            revision: 1,
            overrides: Some(overrides),
            spots: None,
        };
        render(&[placed], &BTreeMap::new(), &device()).assignment
    };
    let plain = assign(&system, 1);
    let with = render_with(&set("{{ device.name }}"));
    assert_eq!(changed(&plain, &with), [""; 0]);
    let motions = with.instances.iter().filter(|one| one.node == "motion");
    let values: Vec<_> = motions.map(|one| one.effective_params()).collect();
    assert_eq!(values.len(), 2);
    for value in values {
        assert_eq!(value["threshold"], 0.5);
        assert_eq!(value["min_area"], 0.001);
        assert_eq!(value["label"], "box");
    }
}

#[test]
fn a_new_realtime_consumer_does_not_restart_its_producer() {
    let old = base(10, "");
    let new = base(10, "    - camera -> log\n");
    let changes = changed(&assign(&old, 1), &assign(&new, 2));
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(
        changes[0].starts_with("Change s.log.0: input.camera->log: added"),
        "{changes:?}"
    );
}

#[test]
fn a_new_durable_consumer_restarts_its_producer() {
    let new = base(10, "    - camera -> log [durable]\n");
    let changes = changed(&assign(&base(10, ""), 1), &assign(&new, 2));
    assert_eq!(
        changes[0],
        "Change s.camera.0: output.camera->log: added durable"
    );
}

#[test]
fn balanced_consumers_are_declared_and_only_spilling_ones_are_told_of_a_live_source() {
    let new = base(10, "    - camera -> log [balanced, max_lag=7]\n");
    let changes = changed(&assign(&base(10, ""), 1), &assign(&new, 2));
    assert_eq!(
        changes[0],
        "Change s.camera.0: output.camera->log: added balanced, max_lag=7"
    );
    let text = "
  nodes:
    live: {use: video, with: {source: /dev/video0}}
    clip: {use: video, with: {source: a.avi}}
    one: {use: log}
    two: {use: log}
    three: {use: log}
  links:
    - live -> one [durable]
    - live -> two [durable, on_full=fail]
    - clip -> three [durable, on_full=spill]
";
    let assignment = assign(&system(text), 1);
    let groups = assignment.instances.iter().flat_map(|it| &it.outputs);
    let told: Vec<_> = groups
        .flat_map(|output| &output.groups)
        .map(|group| (group.group.as_str(), group.qos.live_source))
        .collect();
    assert_eq!(told, [("three", false), ("one", true), ("two", false)]);
}

#[test]
fn other_devices_are_left_alone() {
    let mut elsewhere = base(10, "");
    elsewhere.devices = "site=paris".parse().unwrap();
    assert!(assign(&elsewhere, 1).instances.is_empty());
    elsewhere.devices = "site in (paris, berlin)".parse().unwrap();
    assert_eq!(assign(&elsewhere, 1).instances.len(), 4);
}

#[test]
fn templates_are_filled_in_and_missing_labels_reported() {
    let system = system(
        "
  nodes:
    count:
      run: [./count, '--device={{ device.name }}']
      with: {list: ['{{ device.id }}']}
      env: {SITE: '{{ device.labels.site }}', TZ: '{{ device.labels.tz }}'}
",
    );
    let rendered = render(
        &[PlacedSystem {
            system: &system,
            revision: 1,
            overrides: None,
            spots: None,
        }],
        &BTreeMap::new(),
        &device(),
    );
    let json = serde_json::to_value(&rendered.assignment.instances[0]).unwrap();
    assert_eq!(json["program"]["command"][1], "--device=box");
    assert_eq!(json["params"]["list"][0], "d1");
    assert_eq!(json["env"], serde_json::json!({"SITE": "berlin", "TZ": ""}));
    assert_eq!(
        rendered.missing_labels,
        [MissingLabel {
            system: "s".into(),
            node: "count".into(),
            label: "tz".into()
        }]
    );
}

#[test]
fn of_two_revisions_the_newer_one_runs() {
    let (old, new) = (base(10, ""), base(15, ""));
    let placed = [
        PlacedSystem {
            system: &old,
            revision: 1,
            overrides: None,
            spots: None,
        },
        PlacedSystem {
            system: &new,
            revision: 2,
            overrides: None,
            spots: None,
        },
    ];
    assert_eq!(
        render(&placed, &BTreeMap::new(), &device()).assignment,
        assign(&new, 2)
    );
}

#[test]
fn a_diff_names_what_changes() {
    let old = base(10, "    - camera -> log\n");
    let mut new = base(15, "    - camera -> log [durable]\n");
    new.nodes.shift_remove("motion");
    new.links
        .retain(|link| link.to.node == "log" && link.from.node == "camera");
    new.devices = "site=berlin".parse().unwrap();
    insta::assert_snapshot!(
        "diff",
        serde_json::to_string_pretty(&plan::diff(Some(&old), Some(&new), None)).unwrap()
    );
    assert!(plan::diff(Some(&old), Some(&old), None).is_empty());
    let removed = plan::diff(Some(&old), None, None);
    assert!(
        removed
            .nodes
            .iter()
            .all(|change| change.action == Action::Remove)
    );
    assert_eq!(removed.nodes.len(), 3);
    assert!(plan::diff(None, None, None).is_empty());
}

#[test]
fn a_manifest_diff_is_unified() {
    let diff = plan::manifest_diff("a\nb\nc\n", "a\nx\nc\n");
    assert_eq!(diff, "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n");
    assert_eq!(plan::manifest_diff("a\n", "a\n"), "");
}

#[test]
fn the_models_that_instances_name_go_with_them_and_others_stay() {
    let system = system(
        "
  nodes:
    camera: {use: pattern}
    detect: {use: detect, with: {model: bolts}}
    by-label: {use: detect, with: {model: '{{ device.labels.site }}'}}
    on-device: {use: detect, with: {model: yolox-nano}}
    own: {run: [./own], models: [bolts, nuts]}
  links: [camera -> detect, camera -> by-label, camera -> on-device, camera -> own]",
    );
    let model = |sha256: &str| Model {
        sha256: sha256.to_owned(),
        ..Model::default()
    };
    let kept = ["berlin", "bolts", "nuts", "screws"];
    let kept = kept.map(|name| (name.to_owned(), model(name))).into();
    let placed = PlacedSystem {
        system: &system,
        revision: 1,
        overrides: None,
        spots: None,
    };
    let assignment = render(&[placed], &kept, &device()).assignment;
    let of = |node: &str| {
        let id = format!("s.{node}.0");
        let instance = assignment.instances.iter().find(|it| it.id == id).unwrap();
        instance
            .models
            .iter()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(of("detect"), "bolts");
    assert_eq!(of("by-label"), "berlin");
    assert_eq!(of("on-device"), "");
    assert_eq!(of("own"), "bolts nuts");
    let all: Vec<&str> = assignment.models.keys().map(String::as_str).collect();
    assert_eq!(all, ["berlin", "bolts", "nuts"]);
    let again = Assignment::from_body(&assignment.to_body()).unwrap();
    assert_eq!(again, assignment);
}
