//! One Job and what becomes of its pods: what it makes, how it ends, and that each end is counted once.

mod pods;

use super::*;
use crate::control::key::Key;
use crate::control::pods::Pods;
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

struct World {
    job: Value,
    pods: BTreeMap<String, Value>,
    now: Timestamp,
    names: usize,
    said: Vec<String>,
    gone: bool,
    departed: (u32, Option<Timestamp>),
}

impl World {
    fn new(spec: Value) -> World {
        let template = json!({"metadata": {"labels": {"job": "j"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}});
        let mut job = json!({
            "metadata": {"name": "j", "namespace": "n", "uid": "job"},
            "spec": {"parallelism": 1, "backoffLimit": 6, "selector": {"matchLabels": {"job": "j"}}, "template": template},
        });
        job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let now = Timestamp::from_second(1_000_000).unwrap();
        World {
            job,
            pods: BTreeMap::new(),
            now,
            names: 0,
            said: Vec::new(),
            gone: false,
            departed: (0, None),
        }
    }

    /// What is to be done.
    fn look(&self) -> Actions {
        let mut pods = Pods::default();
        for (name, pod) in &self.pods {
            pods.note(&Key::new("n", name), &serde_json::to_vec(pod).unwrap())
                .unwrap_or_else(|| panic!("{pod}"));
        }
        let at = Target {
            api_version: "batch/v1".into(),
            kind: "Job".into(),
            namespace: "n".into(),
            name: "j".into(),
        };
        let job = Job::new(at, self.job.clone(), 1).unwrap();
        let raw = |pod: &Member| self.pods.get(pod.key.name()).cloned();
        let controlled = pods.controlled_by("job").collect();
        let free = pods.free("n", |_| true).collect();
        let observed = Observed { controlled, free, pod: &raw, departed: self.departed };
        reconcile(&job, &observed, Attempt::default(), self.now)
    }

    /// One reconciliation, carried out; when to look again, if nothing was to be done.
    fn step(&mut self) -> Result<(), Option<Timestamp>> {
        let actions = self.look();
        if actions.actions.is_empty() {
            return Err(actions.wake_at);
        }
        actions.actions.into_iter().for_each(|action| self.apply(action));
        Ok(())
    }

    fn apply(&mut self, action: Action) {
        self.said.extend(action.done.map(|said| said.reason.to_owned()));
        match action.write {
            Write::Create(mut pod) => {
                self.names += 1;
                let name = format!("{}{}", pod["metadata"]["generateName"].as_str().unwrap(), self.names);
                pod["metadata"]["uid"] = name.clone().into();
                pod["metadata"]["name"] = name.clone().into();
                pod["metadata"]["creationTimestamp"] = self.now.to_string().into();
                pod["status"]["phase"] = "Running".into();
                self.pods.insert(name, pod);
            }
            Write::Edit { part: "status", edit, .. } => edit.apply(&mut self.job),
            Write::Edit { at, edit, .. } => {
                if let Some(pod) = self.pods.get_mut(&at.name) {
                    edit.apply(pod);
                }
                self.sweep();
            }
            Write::Delete { at, .. } if at.kind == "Job" => self.gone = true,
            Write::Delete { at, .. } | Write::Remove { at, .. } => self.delete(&at.name),
        }
    }

    fn delete(&mut self, name: &str) {
        if let Some(pod) = self.pods.get_mut(name) {
            pod["metadata"]["deletionTimestamp"] = self.now.to_string().into();
        }
    }

    /// Pods that are to go and that nobody holds go, once they have ended.
    fn sweep(&mut self) {
        let stays = |pod: &Value| {
            pod["metadata"]["deletionTimestamp"].is_null()
                || holds(pod)
                || pod["status"]["phase"] == "Running"
        };
        self.pods.retain(|_, pod| stays(pod));
    }

    fn end(&mut self, name: &str, code: i64) {
        let at = self.now.to_string();
        let Some(pod) = self.pods.get_mut(name).filter(|pod| pod["status"]["phase"] == "Running") else {
            return;
        };
        pod["status"]["phase"] = if code == 0 { "Succeeded" } else { "Failed" }.into();
        pod["status"]["containerStatuses"] =
            json!([{"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": at}}}]);
        self.sweep();
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            if self.step().is_err() {
                return;
            }
        }
        panic!("it does not come to rest: {}", self.job);
    }

    fn running(&self) -> Vec<String> {
        let runs = |pod: &&Value| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        };
        self.pods.values().filter(runs).map(|pod| object::name(pod).to_owned()).collect()
    }

    fn end_first(&mut self, code: i64) {
        let name = self.running()[0].clone();
        self.end(&name, code);
        self.settle();
    }

    fn later(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        self.settle();
    }

    fn conditions(&self) -> Vec<String> {
        let conditions = self.job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let word = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
        let holds = conditions.iter().filter(|one| one["status"] == "True");
        holds.map(|one| format!("{} {}", word(one, "type"), word(one, "reason"))).collect()
    }

    #[track_caller]
    fn check(&self, field: &str, expected: Value) {
        assert_eq!(self.job["status"][field], expected, "{field} of {:#}", self.job["status"]);
    }
}

#[test]
fn so_many_pods_end_well_a_few_at_a_time() {
    let mut world = World::new(json!({"completions": 5, "parallelism": 2}));
    world.settle();
    assert_eq!(world.running().len(), 2);
    world.check("active", json!(2));
    for done in 1..=5 {
        world.end_first(0);
        assert_eq!(world.running().len(), (5 - done).min(2));
    }
    assert_eq!(world.conditions(), ["SuccessCriteriaMet CompletionsReached", "Complete CompletionsReached"]);
    world.check("succeeded", json!(5));
    world.check("uncountedTerminatedPods", json!({}));
    assert_eq!(world.pods.len(), 5);
    assert!(!world.pods.values().any(holds));
    assert_eq!(world.said.iter().filter(|said| *said == "SuccessfulCreate").count(), 5);
    assert_eq!(world.said.last().map(String::as_str), Some("Completed"));
}

#[test]
fn failures_are_tried_again_later_and_later_until_there_were_too_many() {
    let mut world = World::new(json!({"completions": 1, "backoffLimit": 2}));
    world.settle();
    for wait in [10, 20] {
        world.end_first(1);
        assert_eq!(world.running(), Vec::<String>::new());
        assert_eq!(world.step(), Err(world.now.checked_add(SignedDuration::from_secs(wait)).ok()));
        world.later(wait - 1);
        assert_eq!(world.running(), Vec::<String>::new());
        world.later(1);
        assert_eq!(world.running().len(), 1);
    }
    world.end_first(1);
    assert_eq!(world.conditions(), ["FailureTarget BackoffLimitExceeded", "Failed BackoffLimitExceeded"]);
    world.check("failed", json!(3));
    world.check("completionTime", Value::Null);
    assert_eq!(world.said.last().map(String::as_str), Some("BackoffLimitExceeded"));
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_waiting() {
    let mut world = World::new(json!({"completions": 1, "backoffLimit": 2}));
    world.settle();
    world.end_first(1);
    assert_eq!(world.running(), Vec::<String>::new());
    world.later(-3600);
    assert_eq!(world.running().len(), 1);
}

#[test]
fn restarts_within_a_pod_count_where_containers_are_started_again() {
    let mut world = World::new(json!({"completions": 1, "backoffLimit": 3}));
    world.job["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure".into();
    world.settle();
    let name = world.running()[0].clone();
    let set = |world: &mut World, count: i64| {
        world.pods.get_mut(&name).unwrap()["status"]["containerStatuses"] =
            json!([{"name": "c", "restartCount": count}]);
        world.settle();
    };
    set(&mut world, 2);
    assert_eq!(world.running().len(), 1);
    set(&mut world, 3);
    assert_eq!(world.running().len(), 0);
    // The pod goes first.
    assert_eq!(world.conditions(), ["FailureTarget BackoffLimitExceeded"]);
    world.end(&name, 137);
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget BackoffLimitExceeded", "Failed BackoffLimitExceeded"]);
    world.check("failed", json!(1));
}

#[test]
fn a_deadline_ends_it_and_a_suspension_stops_the_clock() {
    let mut world = World::new(json!({"completions": 1, "activeDeadlineSeconds": 60, "suspend": true}));
    world.settle();
    assert_eq!((world.running().len(), world.conditions()), (0, vec!["Suspended JobSuspended".to_owned()]));
    world.later(1000);
    world.job["spec"]["suspend"] = false.into();
    world.settle();
    assert_eq!((world.running().len(), world.conditions().len()), (1, 0));
    world.job["spec"]["suspend"] = true.into();
    world.settle();
    assert_eq!(world.running().len(), 0);
    // It was not a failure, and it begins anew later.
    world.check("failed", Value::Null);
    world.check("startTime", Value::Null);
    world.later(1000);
    world.job["spec"]["suspend"] = false.into();
    world.later(30);
    assert_eq!((world.running().len(), world.conditions().len()), (1, 0));
    world.later(60);
    assert_eq!(world.conditions(), ["FailureTarget DeadlineExceeded"]);
    let names: Vec<String> = world.pods.keys().cloned().collect();
    names.iter().for_each(|name| world.end(name, 143));
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget DeadlineExceeded", "Failed DeadlineExceeded"]);
    assert_eq!(world.said.iter().filter(|said| *said == "Resumed").count(), 2);
}

#[test]
fn each_index_is_done_once() {
    let mut world = World::new(json!({"completions": 4, "parallelism": 3, "completionMode": "Indexed"}));
    world.settle();
    let pod = world.pods.values().next().unwrap();
    assert!(object::name(pod).starts_with("j-0-"));
    assert_eq!((&pod["spec"]["hostname"], &pod["metadata"]["labels"][INDEX]), (&json!("j-0"), &json!("0")));
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    let of = |world: &World, index: &str| {
        world.running().into_iter().find(|name| name.starts_with(&format!("j-{index}-"))).unwrap()
    };
    let second = of(&world, "1");
    world.end(&second, 0);
    world.settle();
    world.check("completedIndexes", json!("1"));
    // Another pod of an index that is done does not count.
    let mut twin = world.pods[&second].clone();
    twin["metadata"]["uid"] = "twin".into();
    twin["metadata"]["name"] = "twin".into();
    twin["metadata"]["finalizers"] = json!([TRACKING]);
    world.pods.insert("twin".to_owned(), twin);
    world.settle();
    world.check("succeeded", json!(1));
    for index in ["0", "2", "3"] {
        let name = of(&world, index);
        world.end(&name, 0);
        world.settle();
    }
    world.check("completedIndexes", json!("0-3"));
    assert_eq!(world.conditions().last().map(String::as_str), Some("Complete CompletionsReached"));
}

#[test]
fn indexes_may_fail_for_themselves() {
    let spec = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1, "backoffLimit": 1000});
    let mut world = World::new(spec);
    world.settle();
    world.end_first(1);
    assert_eq!(world.running().len(), 1);
    world.later(10);
    let again = world.running()[0].clone();
    assert_eq!(world.pods[&again]["metadata"]["annotations"][INDEX_FAILURES], "1");
    assert!(again.starts_with("j-0-"));
    world.end(&again, 1);
    world.settle();
    world.check("failedIndexes", json!("0"));
    world.end_first(0);
    assert_eq!(world.conditions(), ["FailureTarget FailedIndexes", "Failed FailedIndexes"]);
    world.check("failed", json!(2));
    world.check("completedIndexes", json!("1"));
}

#[test]
fn policies_decide_what_a_failure_means() {
    let rules = json!({"rules": [
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]});
    let spec = json!({"completions": 2, "parallelism": 2, "backoffLimit": 0, "podFailurePolicy": rules, "podReplacementPolicy": "Failed"});
    let mut world = World::new(spec);
    world.settle();
    world.end_first(7);
    world.check("failed", Value::Null);
    world.later(10);
    assert_eq!(world.running().len(), 2);
    world.end_first(42);
    assert_eq!(world.conditions(), ["FailureTarget PodFailurePolicy"]);
    let names: Vec<String> = world.pods.keys().cloned().collect();
    names.iter().for_each(|name| world.end(name, 143));
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget PodFailurePolicy", "Failed PodFailurePolicy"]);

    let spec = json!({
        "completions": 3, "parallelism": 3, "completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
    });
    let mut world = World::new(spec);
    world.settle();
    world.end_first(0);
    let names: Vec<String> = world.pods.keys().cloned().collect();
    names.iter().for_each(|name| world.end(name, 143));
    world.settle();
    assert_eq!(world.conditions(), ["SuccessCriteriaMet SuccessPolicy", "Complete SuccessPolicy"]);
    world.check("succeeded", json!(1));
}

#[test]
fn a_pod_that_is_to_go_is_replaced_at_once_or_once_it_has() {
    for (policy, at_once) in [("TerminatingOrFailed", true), ("Failed", false)] {
        let mut world = World::new(json!({"completions": 1, "podReplacementPolicy": policy}));
        world.settle();
        let name = world.running()[0].clone();
        world.delete(&name);
        world.later(10);
        assert_eq!(world.running().len(), usize::from(at_once), "{policy}");
        world.end(&name, 143);
        world.later(10);
        assert_eq!(world.running().len(), 1, "{policy}");
        world.check("failed", json!(1));
    }
}

#[test]
fn it_goes_when_its_time_has_come_and_holds_nothing_before() {
    let mut world = World::new(json!({"completions": 1, "ttlSecondsAfterFinished": 100}));
    world.settle();
    world.end_first(0);
    assert_eq!(world.step(), Err(world.now.checked_add(SignedDuration::from_secs(100)).ok()));
    world.now = world.now.checked_add(SignedDuration::from_secs(100)).unwrap();
    assert_eq!(world.step(), Ok(()));
    assert!(world.gone);

    let mut world = World::new(json!({"completions": 1}));
    world.settle();
    world.job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.settle();
    assert!(!world.pods.values().any(holds));
}

#[test]
fn another_manager_s_is_left_alone() {
    let spec = json!({"completions": 1, "managedBy": "example.com/other", "ttlSecondsAfterFinished": 0});
    let mut world = World::new(spec);
    assert_eq!(world.step(), Err(None));
    // But for its end, once it has come to one.
    let at = world.now.to_string();
    world.job["status"]["conditions"] =
        json!([{"type": "Complete", "status": "True", "lastTransitionTime": at}]);
    assert_eq!((world.step(), world.gone), (Ok(()), true));
}

proptest! {
    #[test]
    fn each_end_is_counted_exactly_once(
        completions in 1_u32..6, parallelism in 1_i32..4, indexed: bool,
        steps in proptest::collection::vec((0_u8..7, 0_usize..8), 1..120),
    ) {
        let mode = if indexed { "Indexed" } else { "NonIndexed" };
        let mut world = World::new(json!({
            "completions": completions, "parallelism": parallelism, "completionMode": mode, "backoffLimit": 1000,
        }));
        let (mut good, mut bad) = (std::collections::BTreeSet::new(), 0);
        for (what, which) in steps {
            let running: Vec<String> = world.pods.iter().filter(|(_, pod)| pod["status"]["phase"] == "Running").map(|(name, _)| name.clone()).collect();
            let name = running.get(which % running.len().max(1)).cloned();
            match (what, name) {
                (0..=2, _) => drop(world.step()),
                (3, Some(name)) if world.pods[&name]["metadata"]["deletionTimestamp"].is_null() => {
                    let index = world.pods[&name]["metadata"]["labels"][INDEX].as_str().unwrap_or(&name).to_owned();
                    good.insert(index);
                    world.end(&name, 0);
                }
                (4, Some(name)) if world.pods[&name]["metadata"]["deletionTimestamp"].is_null() => {
                    bad += 1;
                    world.end(&name, 1);
                }
                (5, _) => world.now = world.now.checked_add(SignedDuration::from_secs(600)).unwrap(),
                _ => {}
            }
            prop_assert!(world.running().len() <= usize::try_from(parallelism).unwrap());
        }
        world.settle();
        let number = |field: &str| world.job["status"][field].as_u64().unwrap_or(0) as usize;
        let over = good.len() >= completions as usize;
        prop_assert_eq!(number("succeeded"), good.len());
        prop_assert_eq!(number("failed"), bad);
        if over {
            let names: Vec<String> = world.pods.keys().cloned().collect();
            names.iter().for_each(|name| world.end(name, 143));
            world.settle();
            prop_assert_eq!(world.conditions().len(), 2, "{}", &world.job);
            prop_assert!(!world.pods.values().any(holds));
        }
    }
}
