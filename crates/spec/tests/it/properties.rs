//! What holds for every system, and for every text.

use std::collections::{BTreeMap, BTreeSet};

use edgeflow_spec::{
    Assignment, System,
    builder::{OnFull, QosMode, SystemBuilder},
    device::DevicePlace,
    parse, plan,
    plan::Action,
    render::{PlacedSystem, render},
};
use proptest::{collection::vec, prelude::*};

/// A node of a random system.
#[derive(Clone, Debug)]
struct Step {
    replicas: u32,
    param: serde_json::Value,
    env: Option<String>,
    /// Earlier nodes it is linked from.
    from: Vec<(prop::sample::Index, u8)>,
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>()
            .prop_filter("finite", |x| x.is_finite())
            .prop_map(Into::into),
        // Braces would be templates.
        "[^{}\\x00]{0,12}".prop_map(Into::into),
        "[-~!&*#?|>@%'\"a-e0-9:., ]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec(("[a-z0-9 :~-]{1,6}", inner), 0..4)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn step() -> impl Strategy<Value = Step> {
    let from = vec((any::<prop::sample::Index>(), 0u8..7), 0..3);
    (
        1u32..4,
        json(),
        proptest::option::of("[^{}\\x00]{0,12}"),
        from,
    )
        .prop_map(|(replicas, param, env, from)| Step {
            replicas,
            param,
            env,
            from,
        })
}

fn build(name: &str, steps: &[Step]) -> System {
    let mut builder = SystemBuilder::new(name);
    let mut nodes = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let mut node = builder
            .node(format!("n{number}"))
            .run(["./node"])
            .replicas(step.replicas)
            .param("p", step.param.clone());
        if let Some(env) = &step.env {
            node = node.env("VALUE", env.clone());
        }
        let mut linked = BTreeSet::new();
        for (index, qos) in &step.from {
            if number == 0 || !linked.insert(index.index(number)) {
                continue;
            }
            let chain = builder.link(&nodes[index.index(number)]).to(&node);
            match qos {
                0 => chain.qos(QosMode::Realtime),
                1 => chain.max_age_ms(1500),
                2 => chain.qos(QosMode::Durable).window(7),
                3 if step.replicas == 1 => chain.qos(QosMode::Durable).ordered(300),
                4 => chain.qos(QosMode::Balanced).max_lag(9).max_age_ms(1500),
                5 => chain
                    .qos(QosMode::Durable)
                    .on_full(OnFull::Spill)
                    .spill_bytes(3 << 20)
                    .max_deliveries(2),
                _ => chain.qos(QosMode::Durable).on_full(OnFull::Fail),
            };
        }
        nodes.push(node);
    }
    builder.view("n0");
    builder.build().unwrap()
}

fn systems() -> impl Strategy<Value = System> {
    vec(step(), 1..6).prop_map(|steps| build("entrance", &steps))
}

fn device() -> DevicePlace {
    DevicePlace {
        id: "d".into(),
        name: "box".into(),
        labels: BTreeMap::new(),
    }
}

fn assign(systems: &[(&System, u64)]) -> Assignment {
    let placed: Vec<_> = systems
        .iter()
        .map(|(system, revision)| PlacedSystem {
            system,
            revision: *revision,
            overrides: None,
            spots: None,
        })
        .collect();
    render(&placed, &BTreeMap::new(), &device()).assignment
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back_the_same(system in systems()) {
        let yaml = system.to_yaml();
        let read = parse("system.yaml", &yaml);
        prop_assert!(read.is_ok(), "{yaml}\n{read:?}");
        prop_assert_eq!(read.unwrap().system, system, "{}", yaml);
    }

    #[test]
    fn rendering_is_deterministic_and_ignores_the_order_of_systems(
        first in systems(), second in vec(step(), 1..4), revision in 1u64..100,
    ) {
        let second = build("other", &second);
        let once = assign(&[(&first, revision), (&second, 1)]);
        let again = assign(&[(&second, 1), (&first, revision)]);
        prop_assert_eq!(once.to_body(), again.to_body());
        let read = Assignment::from_body(&once.to_body()).unwrap();
        prop_assert_eq!(read, once);
    }

    #[test]
    fn an_instance_is_never_there_twice(first in systems(), second in vec(step(), 1..4)) {
        let second = build("other", &second);
        let assignment = assign(&[(&first, 1), (&second, 1), (&first, 2)]);
        let ids: BTreeSet<_> = assignment.instances.iter().map(|i| i.id.clone()).collect();
        prop_assert_eq!(ids.len(), assignment.instances.len());
        let wanted: u32 = first.nodes.values().chain(second.nodes.values()).map(|n| n.replicas).sum();
        prop_assert_eq!(ids.len(), wanted as usize);
    }

    #[test]
    fn every_input_comes_from_an_instance_that_is_there(system in systems()) {
        let assignment = assign(&[(&system, 1)]);
        let ids: BTreeSet<_> = assignment.instances.iter().map(|i| i.id.as_str()).collect();
        for input in assignment.instances.iter().flat_map(|i| &i.inputs) {
            prop_assert!(!input.from.is_empty());
            prop_assert!(input.from.iter().all(|from| ids.contains(from.as_str())));
        }
    }

    #[test]
    fn applying_a_plan_leaves_nothing_to_do(old in systems(), new in systems()) {
        let (before, wanted) = (assign(&[(&old, 1)]), assign(&[(&new, 2)]));
        let mut running: BTreeMap<String, _> =
            before.instances.into_iter().map(|i| (i.id.clone(), i)).collect();
        let before = Assignment { instances: running.values().cloned().collect(), ..Assignment::default() };
        for change in plan::diff_assignments(&before, &wanted) {
            let instance = wanted.instances.iter().find(|i| i.id == change.instance).cloned();
            match (change.action, instance) {
                (Action::Remove, None) => { running.remove(&change.instance); }
                (_, Some(instance)) => { running.insert(change.instance, instance); }
                (action, None) => prop_assert!(false, "{action:?} of an instance nobody wants"),
            }
        }
        let after = Assignment { instances: running.into_values().collect(), ..Assignment::default() };
        prop_assert_eq!(&after, &wanted);
        let rest = plan::diff_assignments(&after, &wanted);
        prop_assert!(rest.iter().all(|change| change.action == Action::Keep), "{rest:?}");
    }

    #[test]
    fn an_instance_restarts_only_if_its_node_or_its_links_change(
        steps in vec(step(), 1..6), changed in any::<prop::sample::Index>(), revision in 2u64..9,
    ) {
        let old = build("entrance", &steps);
        let mut edited = steps.clone();
        let number = changed.index(steps.len());
        edited[number].env = Some("another value".to_owned());
        let new = build("entrance", &edited);
        let name = format!("n{number}");
        for change in plan::diff_assignments(&assign(&[(&old, 1)]), &assign(&[(&new, revision)])) {
            let is_it = change.instance.starts_with(&format!("entrance.{name}."));
            let expected = if is_it && steps[number].env != edited[number].env {
                Action::Change
            } else {
                Action::Keep
            };
            prop_assert_eq!(change.action, expected, "{}", change.instance);
        }
        let diff = plan::diff(Some(&old), Some(&new), None);
        for change in diff.nodes {
            prop_assert_eq!(change.action == Action::Keep, change.node != name || old == new);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = parse("any.yaml", &text).map_err(|invalid| {
            edgeflow_spec::problem::render(&invalid.problems, false)
        });
    }

    #[test]
    fn no_damage_to_a_manifest_makes_the_parser_panic(
        at in any::<prop::sample::Index>(), cut in 0usize..8, insert in "[-:\\[\\]{}&*!|>'\"%@`,#?~a \t\n>.é\\x00]{0,6}",
    ) {
        let mut chars: Vec<char> = include_str!("../../../../examples/quickstart/system.yaml").chars().collect();
        let at = at.index(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, insert.chars());
        let text: String = chars.into_iter().collect();
        if let Err(invalid) = parse("any.yaml", &text) {
            let rendered = edgeflow_spec::problem::render(&invalid.problems, true);
            prop_assert!(!rendered.is_empty());
        }
    }
}
