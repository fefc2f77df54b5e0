//! Parameters of running nodes: set, refused, taken back, dropped by an apply, kept by a restart.

use edgeflow_proto::v1::{
    self, AckResult, ApplyOutcome, ChangeAction, InstancePhase, ParamsProgress, SystemPhase,
    agent_message::Message as Up, param_value::Value,
};
use edgeflow_spec::assignment::Instance;

use crate::harness::{Admin, Fixture, Session, apply, pattern, status};

/// Far beyond what a test takes.
const WAIT_MS: u32 = 15_000;

fn request(node: &str, set: &[(&str, &str)]) -> v1::SetParamsRequest {
    let value = |(name, text): &(&str, &str)| v1::ParamValue {
        name: (*name).to_owned(),
        value: Some(Value::Text((*text).to_owned())),
    };
    v1::SetParamsRequest {
        system: "one".to_owned(),
        node: node.to_owned(),
        set: set.iter().map(value).collect(),
        ..v1::SetParamsRequest::default()
    }
}

async fn set(admin: &mut Admin, request: v1::SetParamsRequest) -> v1::SetParamsResponse {
    admin.set_params(request).await.unwrap().into_inner()
}

async fn system(admin: &mut Admin) -> v1::System {
    let request = v1::GetSystemRequest { name: "one".into() };
    let response = admin.get_system(request).await.unwrap().into_inner();
    response.system.unwrap()
}

fn instances(assignment: &v1::Assignment) -> Vec<Instance> {
    edgeflow_spec::Assignment::from_body(&assignment.body)
        .unwrap()
        .instances
}

fn source(assignment: &v1::Assignment) -> Instance {
    let mut all = instances(assignment).into_iter();
    all.find(|instance| instance.node == "source").unwrap()
}

/// Reports every instance ready, with the parameters of the assignment or, where there is a
/// refusal, without.
async fn report(session: &Session, assignment: &v1::Assignment, refusal: &str) {
    session.ack(assignment, AckResult::Accepted, "").await;
    let mut report = status(assignment, InstancePhase::Ready, "");
    for (shown, wanted) in report.instances.iter_mut().zip(instances(assignment)) {
        let hash = wanted.params_hash();
        let refused = !refusal.is_empty() && !wanted.overrides.is_empty();
        shown.params = Some(if refused {
            v1::ParamsState {
                hash: "old".to_owned(),
                refused_hash: hash,
                refusal: refusal.to_owned(),
            }
        } else {
            v1::ParamsState {
                hash,
                ..v1::ParamsState::default()
            }
        });
    }
    session.send(Up::Status(report)).await;
}

#[tokio::test]
async fn a_set_value_reaches_the_device_and_the_call_ends_when_the_node_took_it() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    let before = apply(&mut admin, &pattern("one", 10)).await.system.unwrap();
    let mut session = agent.session().await;
    let first = session.assignment().await;
    report(&session, &first, "").await;
    let mut other = fixture.admin().await;
    let call = tokio::spawn(async move {
        let mut request = request("source", &[("fps", "25")]);
        request.wait_ms = WAIT_MS;
        set(&mut other, request).await
    });
    let second = session.assignment().await;
    let (old, new) = (source(&first), source(&second));
    assert_eq!(new.effective_params()["fps"], 25);
    assert_eq!(old.restart_hash(), new.restart_hash(), "nothing restarts");
    assert!(!call.is_finished(), "no node has taken it yet");
    let now = system(&mut admin).await;
    assert_eq!(now.status.unwrap().phase(), SystemPhase::Progressing);
    report(&session, &second, "").await;
    let answer = call.await.unwrap();
    let outcome = &answer.outcomes[0];
    assert_eq!(outcome.progress(), ParamsProgress::Applied);
    assert_eq!(
        (outcome.device_name.as_str(), outcome.online),
        ("cam", true)
    );
    let after = answer.system.unwrap();
    assert_eq!(after.revision, before.revision);
    assert_ne!(after.etag, before.etag);
    let node = after.nodes.iter().find(|node| node.name == "source");
    let node = node.unwrap();
    assert_eq!(node.overrides[0].value_json, "25");
    assert!(
        node.parameters
            .iter()
            .any(|one| one.name == "fps" && one.live)
    );
    assert_eq!(after.status.unwrap().phase(), SystemPhase::Ready);
}

#[tokio::test]
async fn values_that_do_not_fit_are_refused_before_they_reach_a_device() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    let mut session = agent.session().await;
    let first = session.assignment().await;
    let many = request(
        "source",
        &[("fps", "500"), ("quality", "fine"), ("fsp", "3")],
    );
    let answer = set(&mut admin, many).await;
    let found: Vec<_> = answer
        .problems
        .iter()
        .map(|one| one.code.as_str())
        .collect();
    assert_eq!(found, ["out-of-range", "wrong-type", "unknown-parameter"]);
    assert_eq!(answer.problems[2].hint, "did you mean `fps`?");
    for (node, name, code) in [
        ("source", "size", "not-live"),
        ("sorce", "fps", "unknown-node"),
    ] {
        let answer = set(&mut admin, request(node, &[(name, "1")])).await;
        assert_eq!(answer.problems[0].code, code);
    }
    let json = v1::ParamValue {
        name: "fps".to_owned(),
        value: Some(Value::Json("{".to_owned())),
    };
    let broken = v1::SetParamsRequest {
        set: vec![json],
        ..request("source", &[])
    };
    assert_eq!(set(&mut admin, broken).await.problems.len(), 1);
    assert!(admin.set_params(request("source", &[])).await.is_err());
    // The next assignment is that of a good value, with the next generation.
    set(&mut admin, request("source", &[("fps", "5")])).await;
    let second = session.assignment().await;
    assert_eq!(second.generation, first.generation + 1);
}

#[tokio::test]
async fn what_a_running_node_refuses_is_taken_back_everywhere() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    set(&mut admin, request("source", &[("fps", "20")])).await;
    let mut session = agent.session().await;
    let first = session.assignment().await;
    report(&session, &first, "").await;
    let mut other = fixture.admin().await;
    let call = tokio::spawn(async move {
        let mut request = request("source", &[("fps", "30")]);
        request.wait_ms = WAIT_MS;
        set(&mut other, request).await
    });
    let second = session.assignment().await;
    report(&session, &second, "too fast for this sensor").await;
    let answer = call.await.unwrap();
    assert!(answer.withdrawn);
    assert_eq!(answer.outcomes[0].progress(), ParamsProgress::Refused);
    assert_eq!(answer.outcomes[0].message, "too fast for this sensor");
    let third = session.assignment().await;
    assert_eq!(source(&third).overrides["fps"], 20, "what was set before");

    // Without a wait it stays, and the system says what is wrong.
    set(&mut admin, request("source", &[("fps", "40")])).await;
    let fourth = session.assignment().await;
    report(&session, &fourth, "too fast for this sensor").await;
    let bad = crate::harness::until(async || {
        let status = system(&mut admin).await.status.unwrap();
        (status.phase() == SystemPhase::Degraded).then_some(status)
    })
    .await;
    assert!(
        bad.message.contains("too fast for this sensor"),
        "{}",
        bad.message
    );
    let reset = v1::SetParamsRequest {
        reset: vec!["fps".to_owned()],
        ..request("source", &[])
    };
    let answer = set(&mut admin, reset).await;
    assert!(answer.problems.is_empty());
    assert!(source(&session.assignment().await).overrides.is_empty());
}

#[tokio::test]
async fn the_next_apply_drops_what_is_not_durable_and_the_plan_says_so() {
    let fixture = Fixture::start().await;
    fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    set(&mut admin, request("source", &[("fps", "20")])).await;
    let durable = v1::SetParamsRequest {
        durable: true,
        ..request("source", &[("quality", "50")])
    };
    set(&mut admin, durable).await;
    let dry = v1::ApplySystemRequest {
        manifest: pattern("one", 10),
        dry_run: true,
        ..v1::ApplySystemRequest::default()
    };
    let planned = admin.apply_system(dry).await.unwrap().into_inner();
    let said: Vec<_> = planned.plan.unwrap().overrides;
    let said: Vec<_> = said
        .iter()
        .map(|one| (one.name.as_str(), one.action()))
        .collect();
    let expected = [
        ("fps", ChangeAction::Remove),
        ("quality", ChangeAction::Keep),
    ];
    assert_eq!(said, expected);
    let names = async |admin: &mut Admin| -> Vec<String> {
        let nodes = system(admin).await.nodes;
        let set = nodes.into_iter().flat_map(|node| node.overrides);
        set.map(|one| one.name).collect()
    };
    assert_eq!(
        names(&mut admin).await,
        ["fps", "quality"],
        "a plan changes nothing"
    );

    // The same manifest: no new revision, and yet it is what runs now.
    let same = apply(&mut admin, &pattern("one", 10)).await;
    assert_eq!(same.outcome(), ApplyOutcome::Updated);
    assert_eq!(same.system.unwrap().revision, 1);
    assert_eq!(names(&mut admin).await, ["quality"]);
    let again = apply(&mut admin, &pattern("one", 10)).await;
    assert_eq!(again.outcome(), ApplyOutcome::Unchanged);
    apply(&mut admin, &pattern("one", 11)).await;
    assert_eq!(names(&mut admin).await, ["quality"]);
    // A node that is something else now can't keep it.
    let other = pattern("one", 11).replace("use: pattern, with: {fps: 11}", "run: [./cam]");
    let changed = apply(&mut admin, &other).await;
    assert_eq!(
        changed.plan.unwrap().overrides[0].action(),
        ChangeAction::Remove
    );
    assert_eq!(names(&mut admin).await, [""; 0]);
}

#[tokio::test]
async fn overrides_survive_a_restart_and_go_with_their_system() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    apply(&mut admin, &pattern("one", 10)).await;
    set(&mut admin, request("source", &[("fps", "20")])).await;
    let etag = system(&mut admin).await.etag;
    drop(admin);
    let fixture = fixture.restart().await;
    let mut admin = fixture.admin().await;
    let now = system(&mut admin).await;
    assert_eq!(now.etag, etag);
    let agent = fixture.reconnect(agent).await;
    let mut session = agent.session().await;
    let assignment = session.assignment().await;
    assert_eq!(source(&assignment).overrides["fps"], 20);
    let stale = v1::SetParamsRequest {
        etag: "other".to_owned(),
        ..request("source", &[("fps", "21")])
    };
    let error = admin.set_params(stale).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::Aborted);
    let gone = v1::DeleteSystemRequest {
        name: "one".to_owned(),
        ..v1::DeleteSystemRequest::default()
    };
    admin.delete_system(gone).await.unwrap();
    apply(&mut admin, &pattern("one", 10)).await;
    assert!(system(&mut admin).await.nodes[0].overrides.is_empty());
}

#[tokio::test]
async fn a_command_takes_what_it_declared_and_an_offline_device_is_not_waited_for() {
    let fixture = Fixture::start().await;
    let agent = fixture.join("cam").await;
    let mut admin = fixture.admin().await;
    let manifest = pattern("one", 10).replace("use: log", "run: [./sink], with: {gain: 1}");
    apply(&mut admin, &manifest).await;
    let mut early = request("sink", &[("gain", "2")]);
    early.wait_ms = WAIT_MS;
    let answer = set(&mut admin, early.clone()).await;
    assert_eq!(answer.problems[0].code, "not-declared");
    let mut session = agent.session().await;
    let first = session.assignment().await;
    let mut shown = status(&first, InstancePhase::Ready, "");
    for one in shown.instances.iter_mut().filter(|one| one.node == "sink") {
        let gain = edgeflow_spec::params::Parameter::number("gain", 0.0, 9.0).live();
        one.parameters = vec![gain.into()];
    }
    session.send(Up::Status(shown)).await;
    let answer = crate::harness::until(async || {
        let answer = set(&mut admin, request("sink", &[("gain", "10")])).await;
        (answer.problems[0].code != "not-declared").then_some(answer)
    })
    .await;
    assert_eq!(answer.problems[0].hint, "it has to be from 0 to 9");
    drop(session);
    fixture.device_until("cam", |device| !device.online).await;
    let answer = set(&mut admin, early).await;
    let outcome = &answer.outcomes[0];
    assert_eq!(outcome.progress(), ParamsProgress::Pending);
    assert!(!outcome.online && outcome.message.contains("offline"));
}
