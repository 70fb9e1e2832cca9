//! One ReplicaSet and pods of all sorts: what is done next, and that it comes to rest.

use super::*;
use crate::api::objects::Target;
use crate::control::action::{Action, Edit, Failure};
use crate::control::key::Key;
use crate::control::pods::Phase;
use proptest::prelude::*;
use serde_json::Value;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn set(replicas: i64) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "me", "generation": 3},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}, "annotations": {"a": "b"}},
                "spec": {"containers": [{"name": "c"}]},
            },
        },
        "status": {"replicas": 0},
    })
}

fn desired(object: Value) -> Workload {
    let at = Target {
        api_version: "apps/v1".into(),
        kind: "ReplicaSet".into(),
        namespace: "n".into(),
        name: "web".into(),
    };
    Workload::new(at, object, 7)
}

fn pod(name: &str, controller: Option<&str>, app: &str) -> Member {
    Member {
        key: Key::new("n", name),
        uid: name.into(),
        controller: controller.map(Into::into),
        labels: Arc::new(Labels::from([("app".to_owned(), app.to_owned())])),
        node: Some("node".into()),
        phase: Phase::Running,
        deleting: false,
        ready: Some(NOW),
        created: Some(NOW),
        deletion_cost: 0,
        evicted: false,
        disrupted: false,
        restarts: (0, 0),
        address: None,
        batch: None,
        daemon: None,
    }
}

fn mine(name: &str) -> Member {
    pod(name, Some("me"), "x")
}

fn run(object: Value, pods: Vec<Member>, attempt: Attempt<'_>) -> Actions {
    let pods: Vec<Arc<Member>> = pods.into_iter().map(Arc::new).collect();
    let (controlled, free) = pods.iter().partition(|pod| pod.controller.is_some());
    reconcile(&desired(object), &Observed { controlled, free, doubles: &|_| 1 }, attempt, NOW)
}

fn words(actions: &Actions) -> Vec<String> {
    let words = |action: &Action| match &action.write {
        Write::Create(_) => "create".to_owned(),
        Write::Delete { at, .. } | Write::Remove { at, .. } => format!("delete {}", at.name),
        Write::Edit { at, edit: Edit::Merge(_), .. } => format!("tell {}", at.name),
        Write::Edit { at, edit, .. } => {
            format!("{} {}", if matches!(edit, Edit::Adopt(_)) { "adopt" } else { "release" }, at.name)
        }
    };
    actions.actions.iter().map(words).collect()
}

#[track_caller]
fn check(replicas: i64, pods: Vec<Member>, expected: &[&str]) {
    assert_eq!(words(&run(set(replicas), pods, Attempt::default())), expected);
}

fn fields(actions: &Actions) -> &Value {
    match &actions.actions[0].write {
        Write::Edit { edit: Edit::Merge(fields), part: "status", .. } => &fields["status"],
        other => panic!("{other:?} is no status"),
    }
}

#[test]
fn pods_are_made_and_taken_until_there_are_as_many_as_asked_for() {
    check(2, vec![], &["create", "create"]);
    check(2, vec![mine("a")], &["create"]);
    check(2, vec![mine("a"), mine("b")], &["tell web"]);
    check(1, vec![mine("a"), Member { ready: None, ..mine("b") }], &["delete b"]);
    check(0, vec![mine("a"), mine("b")], &["delete a", "delete b"]);
}

#[test]
fn what_has_ended_or_is_to_go_is_replaced() {
    let ended = Member { phase: Phase::Ended, created: ago(10), ..mine("a") };
    let going = Member { deleting: true, ..mine("b") };
    check(2, vec![ended, going, mine("c")], &["create"]);
}

fn ago(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(-seconds).ok()
}

#[test]
fn pods_that_nodes_refuse_are_made_more_and_more_seldom() {
    // Whoever is refused has ended at once: how many are made in an hour of it.
    let (mut pods, mut now, mut made) = (Vec::<Member>::new(), 0, 0);
    while now < 3600 {
        let all: Vec<Arc<Member>> = pods.iter().cloned().map(Arc::new).collect();
        let observed = Observed { controlled: all.iter().collect(), free: Vec::new(), doubles: &|_| 1 };
        let at = Timestamp::from_second(now).unwrap();
        let actions = reconcile(&desired(set(3)), &observed, Attempt::default(), at);
        match words(&actions).iter().filter(|word| *word == "create").count() {
            0 => now = actions.wake_at.unwrap().as_second(),
            new => {
                made += 1;
                pods.extend((0..new).map(|number| {
                    let ended = Member { phase: Phase::Ended, ..mine(&format!("{now}-{number}")) };
                    Member { created: Some(at), ..ended }
                }));
            }
        }
    }
    assert!((10..25).contains(&made), "{made}");
    // One that has been there for long is replaced at once.
    check(1, vec![Member { phase: Phase::Ended, created: ago(3600), ..mine("old") }], &["create"]);
}

#[test]
fn a_number_that_was_mistyped_fills_nothing() {
    let waiting = |number: usize| Member { node: None, ready: None, ..mine(&number.to_string()) };
    let all: Vec<Member> = (0..limits::PODS_WITHOUT_NODE).map(waiting).collect();
    let actions = run(set(1_000_000), all.clone(), Attempt::default());
    assert_eq!(words(&actions), ["tell web"]);
    let told = fields(&actions);
    assert_eq!(told["replicas"], limits::PODS_WITHOUT_NODE);
    assert_eq!(
        (&told["conditions"][0]["type"], &told["conditions"][0]["message"]),
        (&json!("ReplicaFailure"), &json!(workload::CROWDED))
    );
    // Those that have found a node make room, and how far it has come is told meanwhile.
    let placed = all
        .into_iter()
        .enumerate()
        .map(|(number, pod)| if number < 700 { mine(pod.key.name()) } else { pod });
    let words = words(&run(set(1_000_000), placed.collect(), Attempt::default()));
    assert_eq!(
        (words.len(), words.last().map(String::as_str)),
        (limits::REPLICAS_AT_ONCE + 1, Some("tell web"))
    );
}

#[test]
fn pods_are_claimed_before_they_are_counted() {
    check(
        1,
        vec![pod("a", None, "x"), pod("b", Some("me"), "y"), pod("c", None, "y")],
        &["release b", "adopt a"],
    );
    check(1, vec![pod("a", Some("other"), "x")], &["create"]);
}

#[test]
fn one_that_is_to_go_makes_and_takes_nothing() {
    let mut object = set(3);
    object::set(&mut object, "deletionTimestamp", "1970-01-01T00:00:00Z");
    let actions = run(object, vec![mine("a"), pod("b", None, "x")], Attempt::default());
    assert_eq!(words(&actions), ["tell web"]);
}

#[test]
fn a_pod_is_its_template_and_says_whose_it_is() {
    let actions = run(set(1), vec![], Attempt::default());
    let Write::Create(pod) = &actions.actions[0].write else { panic!("a pod is made") };
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "me",
        "controller": true, "blockOwnerDeletion": true,
    });
    let metadata = json!({
        "generateName": "web-", "namespace": "n", "labels": {"app": "x"}, "annotations": {"a": "b"},
        "ownerReferences": [owner],
    });
    assert_eq!(pod["metadata"], metadata);
    assert_eq!(pod["spec"], json!({"containers": [{"name": "c"}]}));
}

#[test]
fn the_status_counts_and_is_written_once() {
    let pods =
        || vec![mine("a"), Member { ready: None, ..mine("b") }, Member { deleting: true, ..mine("c") }];
    let actions = run(set(2), pods(), Attempt::default());
    let expected = json!({
        "replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 1, "availableReplicas": 1,
        "terminatingReplicas": 1, "observedGeneration": 3, "conditions": null,
    });
    assert_eq!(*fields(&actions), expected);
    let mut object = set(2);
    Edit::Merge(json!({"status": expected})).apply(&mut object);
    assert_eq!(run(object, pods(), Attempt::default()).actions, []);
}

#[test]
fn a_pod_is_available_once_it_was_ready_for_long_enough() {
    let mut object = set(1);
    object["spec"]["minReadySeconds"] = 10.into();
    let actions = run(object, vec![mine("a")], Attempt::default());
    assert_eq!(
        (&fields(&actions)["readyReplicas"], &fields(&actions)["availableReplicas"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(actions.wake_at, Timestamp::from_second(10).ok());
}

#[test]
fn a_failure_is_told_and_not_repeated_during_its_pause() {
    let failure = Failure { creating: true, message: "quota".to_owned() };
    let pausing = Attempt { failure: Some(&failure), pausing: true };
    let actions = run(set(2), vec![mine("a")], pausing);
    let told = &fields(&actions)["conditions"][0];
    assert_eq!(
        (&told["type"], &told["reason"], &told["message"]),
        (&json!("ReplicaFailure"), &json!("FailedCreate"), &json!("quota"))
    );
    assert!(actions.paused);
    let again = run(set(2), vec![mine("a")], Attempt { pausing: false, ..pausing });
    assert_eq!(words(&again), ["create"]);
    // What could not be made is no reason to keep what is too much.
    assert_eq!(words(&run(set(0), vec![mine("a")], pausing)), ["delete a"]);
    // It is over when there are as many as asked for, however that came.
    let mut object = set(1);
    object["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True"}]);
    let actions = run(object, vec![mine("a")], Attempt::default());
    assert_eq!(fields(&actions)["conditions"], Value::Null);
}

proptest! {
    /// Whatever there is: what is done leads to as many as asked for, nothing is claimed from others, and then it is quiet.
    #[test]
    fn it_comes_to_rest_with_as_many_as_asked_for(
        replicas in 0i64..20,
        pods in prop::collection::vec((0u8..3, any::<bool>(), any::<bool>(), any::<bool>()), 0..20),
    ) {
        let mut pods: Vec<Member> = pods.into_iter().enumerate().map(|(number, (whose, selected, ready, going))| {
            let controller = [None, Some("me"), Some("other")][usize::from(whose)];
            let ready = ready.then_some(NOW);
            Member { ready, deleting: going, ..pod(&number.to_string(), controller, if selected { "x" } else { "y" }) }
        }).collect();
        let others: Vec<Member> = pods.iter().filter(|pod| pod.controller.as_deref() == Some("other")).cloned().collect();
        let mut object = set(replicas);
        let mut rounds = 0;
        loop {
            let actions = run(object.clone(), pods.clone(), Attempt::default());
            if actions.actions.is_empty() { break }
            rounds += 1;
            prop_assert!(rounds < 10, "it does not end: {actions:?}");
            for (number, action) in actions.actions.into_iter().enumerate() {
                match action.write {
                    Write::Create(_) => pods.push(mine(&format!("new-{rounds}-{number}"))),
                    Write::Delete { at, .. } | Write::Remove { at, .. } => pods.retain(|pod| pod.key.name() != at.name),
                    Write::Edit { part: "status", edit, .. } => edit.apply(&mut object),
                    Write::Edit { at, edit, .. } => {
                        let pod = pods.iter_mut().find(|pod| pod.key.name() == at.name).unwrap();
                        pod.controller = matches!(edit, Edit::Adopt(_)).then(|| "me".into());
                    }
                }
            }
        }
        let active = pods.iter().filter(|pod| pod.controller.as_deref() == Some("me") && pod.is_active()).count();
        prop_assert_eq!(active as i64, replicas);
        prop_assert!(others.iter().all(|other| pods.contains(other)));
    }
}
