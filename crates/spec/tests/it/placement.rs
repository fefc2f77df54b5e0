//! Spread systems: where instances go, that they stay, and what each device is told.

use std::collections::BTreeMap;

use edgeflow_spec::{
    Assignment, System,
    device::DevicePlace,
    parse,
    placement::{Placement, Places, place},
    plan,
    render::{PlacedSystem, render},
};
use proptest::{collection::vec, prelude::*};

fn system(replicas: u32, on: &str) -> System {
    let text = format!(
        "apiVersion: edgeflow.dev/v1
kind: System
metadata: {{name: s}}
spec:
  placement: spread
  nodes:
    camera: {{use: pattern, on: camera}}
    work: {{run: [work], replicas: {replicas}{on}}}
    log: {{use: log}}
  links:
    - camera -> work -> log
"
    );
    parse("system.yaml", &text).unwrap().system
}

fn device(name: &str, labels: &[&str]) -> DevicePlace {
    DevicePlace {
        id: format!("id-{name}"),
        name: name.into(),
        labels: labels
            .iter()
            .map(|key| ((*key).to_owned(), "true".to_owned()))
            .collect(),
    }
}

fn fleet() -> Vec<DevicePlace> {
    vec![
        device("a", &[]),
        device("b", &["camera"]),
        device("c", &["gpu"]),
    ]
}

fn placed(system: &System, fleet: &[DevicePlace], before: &BTreeMap<String, String>) -> Places {
    place(system, &fleet.iter().collect::<Vec<_>>(), before)
}

fn shown(places: &Places) -> Vec<String> {
    let spots = places.spots.iter();
    spots
        .map(|(id, spot)| format!("{id} on {}", spot.name))
        .collect()
}

fn memory(places: &Places) -> BTreeMap<String, String> {
    let spots = places.spots.iter();
    spots
        .map(|(id, spot)| (id.clone(), spot.id.clone()))
        .collect()
}

fn assignment(system: &System, places: &Places, device: &DevicePlace) -> Assignment {
    let placed = PlacedSystem {
        system,
        revision: 1,
        overrides: None,
        spots: Some(&places.spots),
    };
    render(&[placed], &BTreeMap::new(), device).assignment
}

#[test]
fn a_node_goes_beside_its_producer_and_replicas_go_apart() {
    let places = placed(&system(3, ""), &fleet(), &BTreeMap::new());
    assert_eq!(
        shown(&places),
        [
            "s.camera.0 on b",
            "s.log.0 on a",
            "s.work.0 on b",
            "s.work.1 on a",
            "s.work.2 on c",
        ]
    );
    let pinned = placed(&system(2, ", on: gpu"), &fleet(), &BTreeMap::new());
    let work: Vec<_> = shown(&pinned).into_iter().skip(2).collect();
    assert_eq!(work, ["s.work.0 on c", "s.work.1 on c"]);
}

#[test]
fn a_node_that_no_device_fits_is_named_with_the_reason() {
    let places = placed(&system(1, ", on: npu"), &fleet(), &BTreeMap::new());
    assert_eq!(
        places.homeless,
        [("work".to_owned(), "no device matches `npu`".to_owned())]
    );
    // What is linked to it is told of no producer that does not run.
    let log = assignment(&system(1, ", on: npu"), &places, &fleet()[0]);
    let log = &log.instances.iter().find(|one| one.node == "log").unwrap();
    assert_eq!(log.inputs[0].from, Vec::<String>::new());
}

#[test]
fn a_new_device_moves_nothing_and_a_lost_one_only_what_it_ran() {
    let before = placed(&system(2, ""), &fleet(), &BTreeMap::new());
    let mut larger = fleet();
    larger.push(device("0", &["camera", "gpu"]));
    let after = placed(&system(2, ""), &larger, &memory(&before));
    assert_eq!(after, before);
    larger.retain(|device| device.name != "a");
    let after = placed(&system(2, ""), &larger, &memory(&before));
    assert!(shown(&before).contains(&"s.work.1 on a".to_owned()));
    for (id, spot) in &after.spots {
        let was = &before.spots[id];
        assert_eq!(spot != was, was.name == "a", "{id}");
    }
}

#[test]
fn devices_are_told_of_each_other_and_restart_for_nothing_else() {
    let (system, fleet) = (system(2, ""), fleet());
    let places = placed(&system, &fleet, &BTreeMap::new());
    let camera = assignment(&system, &places, &fleet[1]);
    let find = |assignment: &Assignment, id: &str| {
        let mut found = assignment.instances.iter();
        found.find(|one| one.id == id).unwrap().clone()
    };
    let groups = &find(&camera, "s.camera.0").outputs[0].groups;
    assert_eq!(groups[0].devices, ["id-a"]);
    let far = assignment(&system, &places, &fleet[0]);
    let ids: Vec<_> = far.instances.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["s.log.0", "s.work.1"]);
    let input = &far.instances[1].inputs[0];
    assert_eq!(input.remote["s.camera.0"].name, "b");
    assert_eq!(far.sources().into_iter().collect::<Vec<_>>(), ["id-b"]);
    // A consumer elsewhere does not restart the camera.
    let alone = placed(&self::system(1, ""), &fleet, &BTreeMap::new());
    let alone = assignment(&self::system(1, ""), &alone, &fleet[1]);
    let (one, two) = (find(&alone, "s.camera.0"), find(&camera, "s.camera.0"));
    assert_ne!(one, two);
    assert_eq!(one.restart_hash(), two.restart_hash());
}

#[test]
fn the_transport_follows_the_places() {
    let (system, fleet) = (system(1, ", on: gpu"), fleet());
    let places = placed(&system, &fleet, &BTreeMap::new());
    let of = |link: usize| plan::transport(&system, &system.links[link], Some(&places.spots)).name;
    assert_eq!((of(0), of(1)), ("tcp", "shm"));
    assert_eq!(
        plan::transport(&system, &system.links[0], None).name,
        "shm",
        "without places all is on one device"
    );
}

#[test]
fn a_spread_manifest_is_written_as_it_was_read() {
    let system = system(2, ", on: gpu");
    assert_eq!(system.placement, Placement::Spread);
    let again = parse("again.yaml", &system.to_yaml()).unwrap().system;
    assert_eq!(again, system);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_instance_has_one_fit_device_and_stays(
        cameras in vec(any::<bool>(), 1..6),
        replicas in 1_u32..5,
        gone in any::<prop::sample::Index>(),
    ) {
        let system = system(replicas, "");
        let mut fleet: Vec<_> = cameras
            .iter()
            .enumerate()
            .map(|(n, camera)| device(&format!("d{n}"), if *camera { &["camera"] } else { &[] }))
            .collect();
        let places = placed(&system, &fleet, &BTreeMap::new());
        let again = placed(&system, &fleet, &memory(&places));
        prop_assert_eq!(&again, &places);
        // Every instance runs exactly once over the fleet.
        let mut ran: Vec<String> = fleet
            .iter()
            .flat_map(|device| assignment(&system, &places, device).instances)
            .map(|one| one.id)
            .collect();
        ran.sort();
        prop_assert_eq!(ran, places.spots.keys().cloned().collect::<Vec<_>>());
        let work = places.spots.keys().filter(|id| id.starts_with("s.work.")).count();
        prop_assert_eq!(work as u32, replicas);
        prop_assert_eq!(places.homeless.is_empty(), cameras.contains(&true));
        fleet.remove(gone.index(fleet.len()));
        let after = placed(&system, &fleet, &memory(&places));
        for (id, spot) in &after.spots {
            if let Some(before) = places.spots.get(id)
                && fleet.iter().any(|device| device.id == before.id)
            {
                prop_assert_eq!(spot, before);
            }
        }
    }
}
