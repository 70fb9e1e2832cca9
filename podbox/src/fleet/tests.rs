//! Simulated nodes and their pods, step by step, against a store of two maps.

use super::cast::{Cast, Kind, Now, Write};
use super::part::Part;
use super::roster;
use crate::api::object;
use crate::api::simulate::{ANNOTATION, Span};
use crate::control::follow::Follower;
use crate::control::key::Key;
use crate::control::source::{Found, Source};
use crate::limits;
use crate::pod::pretend::{self, Deed, Stage, Telling};
use crate::store::Entry;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

const SECOND: Duration = Duration::from_secs(1);

fn now(since: Duration) -> Now {
    Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + since, since }
}

fn pod(name: &str, node: &str, says: &str, policy: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "annotations": {ANNOTATION: says}},
        "spec": {"nodeName": node, "restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Pending"},
    })
}

/// The objects that there are.
#[derive(Default)]
struct Objects(BTreeMap<(&'static str, Key), Value>);

impl Source for Objects {
    fn get(&self, collection: &str, key: &Key) -> Option<Found> {
        let (_, object) = self.0.iter().find(|((of, at), _)| *of == collection && at == key)?;
        Some(Found { bytes: serde_json::to_vec(object).unwrap().into(), revision: 1 })
    }

    fn named(&self, _: &str, _: &str) -> Vec<Found> {
        Vec::new()
    }
}

/// Objects, and who plays nodes among them.
struct Play {
    objects: Objects,
    cast: Cast,
    since: Duration,
    /// What was written, and when.
    told: Vec<(Duration, String)>,
}

impl Play {
    fn new(start: Span) -> Play {
        Play { objects: Objects::default(), cast: Cast::new(start), since: Duration::ZERO, told: Vec::new() }
    }

    fn put(&mut self, object: Value) {
        let key = Key::new(object::namespace(&object), object::name(&object));
        let (kind, collection) = match object::namespace(&object) {
            "" => (Kind::Node, "/nodes"),
            _ => (Kind::Pod, "/pods"),
        };
        let bytes = serde_json::to_vec(&object).unwrap().into();
        self.cast.look(kind, &Entry { key: key.clone(), revision: 1, bytes });
        self.objects.0.insert((collection, key), object);
    }

    fn edit(&mut self, collection: &'static str, key: &Key, edit: impl FnOnce(&mut Value)) {
        let mut object = self.objects.0[&(collection, key.clone())].clone();
        edit(&mut object);
        self.put(object);
    }

    /// Time goes on, and what is due is done.
    fn pass(&mut self, span: Duration) {
        let end = self.since + span;
        loop {
            while let Some((work, write)) = self.cast.next(now(self.since), &self.objects) {
                self.write(write);
                self.cast.ended(&work, true, self.since);
            }
            match self.cast.next_time() {
                Some(at) if at <= end => self.since = self.since.max(at),
                _ => break,
            }
        }
        self.since = end;
    }

    fn write(&mut self, write: Write) {
        let Now { wall, .. } = now(self.since);
        let time = object::time(wall);
        match write {
            Write::Node { name, range, .. } => {
                self.told.push((self.since, format!("{name} tells")));
                self.edit("/nodes", &Key::new("", &name), |node| {
                    roster::give(node, &range);
                    node["status"] = roster::status(node, &range, wall);
                });
            }
            Write::Pod { key, stage, restarts, address, host, .. } => {
                self.told.push((self.since, format!("{} {stage:?} {restarts} {address}", key.name())));
                let telling = Telling { stage, restarts, address: &address, host: &host, now: &time };
                self.edit("/pods", &key, |pod| pod["status"] = pretend::status(pod, &telling));
            }
            Write::Remove { key, .. } => {
                self.told.push((self.since, format!("{} goes", key.name())));
                self.objects.0.remove(&("/pods", key.clone()));
                self.cast.forget(Kind::Pod, &key);
            }
        }
    }

    /// What was told since the last time, with milliseconds.
    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        let told: Vec<String> =
            self.told.drain(..).map(|(at, what)| format!("{} {what}", at.as_millis())).collect();
        assert_eq!(told, expected);
    }
}

/// A play with one node, which has told how it is.
fn play(start: Span) -> Play {
    let mut play = Play::new(start);
    play.put(roster::node(0, &object::time(now(Duration::ZERO).wall)));
    play.pass(Duration::ZERO);
    play.check(&[]);
    play
}

fn key(name: &str) -> Key {
    Key::new("n", name)
}

#[test]
fn a_pod_comes_as_far_as_it_says_in_its_time() {
    let mut play = play(Span::After(SECOND));
    play.put(pod("a", "sim-0", "start=2s, ready=3s, stop=5s", "Always"));
    play.put(pod("b", "sim-0", "start=0s, run=1s", "Never"));
    play.put(pod("c", "sim-0", "start=0s, ready=never, run=4s, exit=1", "Never"));
    play.put(pod("elsewhere", "real", "", "Always"));
    play.pass(20 * SECOND);
    play.check(&[
        "0 a Starting 0 ",
        "0 b Ready 0 100.64.0.2",
        "0 c Running 0 100.64.0.3",
        "1000 b Ended(0) 0 100.64.0.2",
        "2000 a Running 0 100.64.0.4",
        "4000 c Ended(1) 0 100.64.0.3",
        "5000 a Ready 0 100.64.0.4",
    ]);
    play.edit("/pods", &key("a"), |pod| {
        pod["metadata"]["deletionTimestamp"] = "2027-01-01T00:00:00Z".into();
        pod["metadata"]["deletionGracePeriodSeconds"] = 3.into();
    });
    play.pass(20 * SECOND);
    play.check(&["23000 a Ended(143) 0 100.64.0.4", "23000 a goes"]);
}

#[test]
fn a_silent_node_does_nothing_until_it_is_heard_again() {
    let mut play = play(Span::After(Duration::ZERO));
    play.put(pod("a", "sim-0", "", "Always"));
    play.pass(SECOND);
    play.check(&["0 a Ready 0 100.64.0.2"]);
    let node = Key::new("", "sim-0");
    play.edit("/nodes", &node, |node| node["metadata"]["annotations"] = json!({ANNOTATION: "silent"}));
    assert!(play.cast.alive().is_empty());
    // Who looks after nodes says that nobody knows.
    play.edit("/nodes", &node, |node| node["status"]["conditions"][3]["status"] = "Unknown".into());
    play.edit("/pods", &key("a"), |pod| {
        let all = pod["status"]["conditions"].as_array_mut().unwrap();
        all.iter_mut().filter(|one| one["type"] == "Ready").for_each(|one| one["status"] = "False".into());
    });
    play.put(pod("b", "sim-0", "", "Always"));
    play.pass(1000 * SECOND);
    play.check(&[]);
    play.edit("/nodes", &node, |node| node["metadata"]["annotations"] = json!({}));
    play.pass(SECOND);
    play.check(&["1001000 sim-0 tells", "1001000 a Ready 0 100.64.0.2", "1001000 b Ready 0 100.64.0.3"]);
    assert_eq!(play.cast.alive(), [("sim-0".to_owned(), String::new())]);
    play.edit("/nodes", &node, |node| node["metadata"]["annotations"] = json!({ANNOTATION: "not-ready"}));
    play.pass(limits::HEARTBEAT + 2 * SECOND);
    play.check(&["1002000 sim-0 tells", "1302000 sim-0 tells"]);
}

#[test]
fn pods_that_stay_as_they_were_bound_still_go_when_asked() {
    let mut play = play(Span::Never);
    play.put(pod("a", "sim-0", "", "Always"));
    play.put(pod("b", "sim-0", "start=1s", "Always"));
    play.put(pod("c", "sim-0", "start=never", "Always"));
    play.pass(2 * SECOND);
    play.check(&["0 b Starting 0 ", "0 c Starting 0 ", "1000 b Ready 0 100.64.0.2"]);
    play.edit("/pods", &key("a"), |pod| {
        pod["metadata"]["deletionTimestamp"] = "2027-01-01T00:00:00Z".into();
    });
    play.pass(SECOND);
    play.check(&["2000 a Ended(143) 0 100.64.0.3", "2000 a goes"]);
}

#[test]
fn containers_are_started_again_by_their_policy() {
    let again = |policy: &str, exit: &str| {
        let mut pod = pod("a", "sim-0", &format!("exit={exit}"), policy);
        pod["status"] = json!({"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 2}]});
        Part::new(&pod, Span::Never).done(Deed::Advance(Stage::Ended(exit.parse().unwrap())))
    };
    assert_eq!(again("Always", "0"), Some((Stage::BackOff(0), 2)));
    assert_eq!(again("OnFailure", "0"), Some((Stage::Ended(0), 2)));
    assert_eq!(again("OnFailure", "1"), Some((Stage::BackOff(1), 2)));
    assert_eq!(again("Never", "1"), Some((Stage::Ended(1), 2)));
}

#[test]
fn a_pod_that_keeps_ending_waits_longer_and_longer() {
    let mut play = play(Span::After(Duration::ZERO));
    play.put(pod("a", "sim-0", "run=1s, exit=1", "Always"));
    play.pass(40 * SECOND);
    play.check(&[
        "0 a Ready 0 100.64.0.2",
        "1000 a BackOff(1) 0 100.64.0.2",
        "1000 a Ready 1 100.64.0.2",
        "2000 a BackOff(1) 1 100.64.0.2",
        "12000 a Ready 2 100.64.0.2",
        "13000 a BackOff(1) 2 100.64.0.2",
        "33000 a Ready 3 100.64.0.2",
        "34000 a BackOff(1) 3 100.64.0.2",
    ]);
    let status = &play.objects.0[&("/pods", key("a"))]["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(
        (&status["lastState"]["terminated"]["exitCode"], &status["ready"]),
        (&json!(1), &json!(false))
    );
}

#[test]
fn a_node_that_people_made_gets_what_it_lacks_and_keeps_what_it_has() {
    let mut play = Play::new(Span::Never);
    let labels = json!({pretend::LABEL: "true"});
    let status = json!({"capacity": {"cpu": "2", "example.com/gpu": "8"}});
    play.put(json!({"metadata": {"name": "gpu", "uid": "u", "labels": labels}, "status": status}));
    play.put(json!({"metadata": {"name": "real", "uid": "v"}}));
    play.pass(SECOND);
    play.check(&["0 gpu tells"]);
    let node = &play.objects.0[&("/nodes", Key::new("", "gpu"))];
    assert_eq!(node["spec"]["podCIDR"], "100.127.254.0/23");
    assert_eq!(node["status"]["addresses"][0]["address"], "100.127.254.1");
    assert_eq!(node["status"]["allocatable"], node["status"]["capacity"]);
    let capacity = &node["status"]["capacity"];
    assert_eq!(
        (&capacity["example.com/gpu"], &capacity["cpu"], &capacity["pods"]),
        (&json!("8"), &json!("2"), &json!("110"))
    );
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "gpu");
    assert_eq!(play.cast.alive(), [("gpu".to_owned(), "u".to_owned())]);
}

#[test]
fn nodes_are_told_apart_from_those_that_people_made() {
    let node = roster::node(7, "now");
    assert_eq!((object::name(&node), roster::number(&node)), ("sim-7", Some(7)));
    assert_eq!(node["metadata"]["labels"]["topology.kubernetes.io/zone"], "zone-b");
    for name in ["sim-07", "sim-", "other-7"] {
        let mut node = node.clone();
        node["metadata"]["name"] = name.into();
        assert_eq!(roster::number(&node), None);
    }
    let ranges: std::collections::BTreeSet<_> = (0..limits::SIMULATED_NODES).map(roster::range).collect();
    assert_eq!(ranges.len(), limits::SIMULATED_NODES as usize);
    assert!(ranges.iter().all(|range| roster::RANGE.contains(range)));
}
