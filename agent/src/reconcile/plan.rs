//! The decision: which instances to stop, start or leave. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// What should run under an instance id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Changes when the process has to be restarted.
    pub hash: String,
    /// Changes with any parameter, live ones included.
    pub params: String,
    /// Revision to report.
    pub revision: u64,
}

/// What is there under an instance id. An id stays observed until its processes are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Hash of what was started.
    pub hash: String,
    /// Hash of the parameters that it was told.
    pub params: String,
    /// Revision that is reported.
    pub revision: u64,
    /// On its way out.
    pub stopping: bool,
    /// Parameters that the running node declared live.
    pub live: BTreeSet<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask it to end.
    Stop(String),
    /// Give it another revision and other live parameters; it runs on.
    Update(String),
    /// Start it; nothing is there under its id.
    Start(String),
}

/// The steps that lead from `observed` towards `desired`, stops first. What has to be restarted is
/// stopped now and started by a later pass, when it is gone: there are never two processes for
/// one id.
pub fn plan(
    desired: &BTreeMap<&str, Desired>,
    observed: &BTreeMap<String, Observed>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for (id, now) in observed {
        let keep = desired
            .get(id.as_str())
            .is_some_and(|want| want.hash == now.hash);
        if !keep && !now.stopping {
            actions.push(Action::Stop(id.clone()));
        }
    }
    for (id, want) in desired {
        match observed.get(*id) {
            None => actions.push(Action::Start((*id).to_owned())),
            Some(now) if !now.stopping && now.hash == want.hash => {
                if now.revision != want.revision || now.params != want.params {
                    actions.push(Action::Update((*id).to_owned()));
                }
            }
            Some(_) => {}
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::btree_map, prelude::*};

    /// Restart hash, parameters, revision.
    type Wanted = BTreeMap<String, (u8, u8, u64)>;

    fn desired(wanted: &Wanted) -> BTreeMap<&str, Desired> {
        wanted
            .iter()
            .map(|(id, (hash, params, revision))| {
                let want = Desired {
                    hash: hash.to_string(),
                    params: params.to_string(),
                    revision: *revision,
                };
                (id.as_str(), want)
            })
            .collect()
    }

    /// Carries the actions out as the supervisor does; fails on a second process for an id.
    fn carry_out(actions: &[Action], wanted: &Wanted, observed: &mut BTreeMap<String, Observed>) {
        for action in actions {
            match action {
                Action::Stop(id) => observed.get_mut(id).unwrap().stopping = true,
                Action::Update(id) => {
                    let (_, params, revision) = wanted[id];
                    let now = observed.get_mut(id).unwrap();
                    (now.params, now.revision) = (params.to_string(), revision);
                }
                Action::Start(id) => {
                    let (hash, params, revision) = wanted[id];
                    let started = Observed {
                        hash: hash.to_string(),
                        params: params.to_string(),
                        revision,
                        stopping: false,
                        live: BTreeSet::new(),
                    };
                    assert!(observed.insert(id.clone(), started).is_none());
                }
            }
        }
    }

    fn wanted() -> impl Strategy<Value = Wanted> {
        btree_map("[a-e]", (0_u8..3, 0_u8..3, 0_u64..3), 0..5)
    }

    fn any_observed() -> impl Strategy<Value = BTreeMap<String, Observed>> {
        let one = (0_u8..3, 0_u8..3, 0_u64..3, any::<bool>());
        let one = one.prop_map(|(hash, params, revision, stopping)| Observed {
            hash: hash.to_string(),
            params: params.to_string(),
            revision,
            stopping,
            live: BTreeSet::new(),
        });
        btree_map("[a-e]", one, 0..5)
    }

    proptest! {
        #[test]
        fn it_converges_and_then_does_nothing(wanted in wanted(), mut observed in any_observed()) {
            for _ in 0..2 {
                let actions = plan(&desired(&wanted), &observed);
                carry_out(&actions, &wanted, &mut observed);
                observed.retain(|_, now| !now.stopping);
            }
            let goal: Wanted = observed
                .iter()
                .map(|(id, now)| {
                    let hashes = (now.hash.parse().unwrap(), now.params.parse().unwrap());
                    (id.clone(), (hashes.0, hashes.1, now.revision))
                })
                .collect();
            prop_assert_eq!(&goal, &wanted);
            prop_assert!(plan(&desired(&wanted), &observed).is_empty());
        }

        #[test]
        fn carried_out_steps_are_not_asked_for_again(
            wanted in wanted(),
            mut observed in any_observed(),
        ) {
            let actions = plan(&desired(&wanted), &observed);
            carry_out(&actions, &wanted, &mut observed);
            let again = plan(&desired(&wanted), &observed);
            prop_assert!(again.is_empty(), "{:?}", again);
        }

        #[test]
        fn nothing_is_started_while_something_is_there(
            wanted in wanted(),
            observed in any_observed(),
        ) {
            for action in plan(&desired(&wanted), &observed) {
                if let Action::Start(id) = action {
                    prop_assert!(!observed.contains_key(&id));
                }
            }
        }

        #[test]
        fn an_unchanged_instance_is_left_alone(wanted in wanted(), observed in any_observed()) {
            for action in plan(&desired(&wanted), &observed) {
                if let Action::Stop(id) = action {
                    let same = wanted
                        .get(&id)
                        .is_some_and(|(hash, ..)| hash.to_string() == observed[&id].hash);
                    prop_assert!(!same);
                }
            }
        }

        #[test]
        fn other_parameters_alone_never_restart_and_always_arrive(
            wanted in wanted(),
            shift in 1_u8..3,
        ) {
            let mut observed = BTreeMap::new();
            carry_out(&plan(&desired(&wanted), &observed), &wanted, &mut observed);
            let mut changed = wanted.clone();
            changed.values_mut().for_each(|(_, params, _)| *params += shift);
            let actions = plan(&desired(&changed), &observed);
            let updates: Vec<_> = changed.keys().cloned().map(Action::Update).collect();
            prop_assert_eq!(actions, updates);
        }
    }
}
