//! Pods, as controllers see them: what ranks and counts them, some 400 bytes each, found by who controls them or by
//! their labels. Pure.
//!
//! Labels are shared among pods that have the same, so that the pods of one template cost one set of them, and a selector is
//! held against sets of labels rather than against pods.

mod read;

use super::daemonset::Daemon;
use super::key::Key;
use super::meta::{Labels, Meta};
use crate::api::objects::{Seen, Target};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far a pod has come, worst first: the order in which pods are let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not every container has run yet.
    #[default]
    Pending,
    /// Its node does not answer.
    Unknown,
    /// It runs.
    Running,
    /// It has ended.
    Ended,
}

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Which one.
    pub key: Key,
    /// Its uid.
    pub uid: Arc<str>,
    /// Who controls it.
    pub controller: Option<Arc<str>>,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Where it runs.
    pub node: Option<Arc<str>>,
    /// How far it has come.
    pub phase: Phase,
    /// Whether it is to go.
    pub deleting: bool,
    /// Since when it is ready, if it is; the beginning of time if that is not known.
    pub ready: Option<Timestamp>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether its node made it go: of those that have ended, it is the first to be forgotten.
    pub evicted: bool,
    /// Whether it says that it goes for others' sake; what its node says of that stands.
    pub disrupted: bool,
    /// What its end costs, by its own word.
    pub deletion_cost: i32,
    /// The most restarts of any container, and of any sidecar.
    pub restarts: (i32, i32),
    /// Where it is reached.
    pub address: Option<Arc<Address>>,
    /// What its Job reads of it, if it has one.
    pub batch: Option<Arc<Batch>>,
    /// What its DaemonSet reads of it, if it has one.
    pub daemon: Option<Arc<Daemon>>,
}

/// What a Job reads of its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Whether it is held until it has been counted.
    pub tracked: bool,
    /// Whether it has succeeded, once it has ended.
    pub succeeded: Option<bool>,
    /// When it came to its end or was told to go, as far as can be told.
    pub finished: Option<Timestamp>,
    /// Its completion index.
    pub index: Option<u32>,
    /// How often its index has failed before it: counted, and not.
    pub failures: (u32, u32),
    /// All restarts of its containers.
    pub restarts: i32,
}

/// Where a pod is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Its IPv4 address.
    pub ip: String,
    /// The name by which it wants to be known, and below which Service.
    pub host: Option<(String, String)>,
    /// The ports that have a name: of what protocol, and which.
    pub named: Vec<(String, String, i32)>,
}

impl Member {
    /// Whether it counts as a replica.
    pub fn is_active(&self) -> bool {
        self.phase != Phase::Ended && !self.deleting
    }

    /// Whether it is on its way out.
    pub fn is_terminating(&self) -> bool {
        self.phase != Phase::Ended && self.deleting
    }

    /// From when on it counts as available, if it stays as it is. Where it need not be ready for long, it does so at once: also if the
    /// clock was set back since it is.
    pub fn available_from(&self, min_ready_seconds: i32) -> Option<Timestamp> {
        let since = self.ready?;
        if min_ready_seconds == 0 {
            return Some(Timestamp::MIN);
        }
        since.checked_add(SignedDuration::from_secs(min_ready_seconds.into())).ok()
    }

    /// The node that it is on, or is for.
    pub fn place(&self) -> Option<&Arc<str>> {
        self.node.as_ref().or_else(|| self.daemon.as_ref()?.node.as_ref())
    }

    /// It, in the words in which it is written to.
    pub fn target(&self) -> Target {
        let (namespace, name) = (self.key.namespace().to_owned(), self.key.name().to_owned());
        Target { api_version: "v1".into(), kind: "Pod".into(), namespace, name }
    }

    /// As what it is taken away: it, whatever has become of it.
    pub fn seen(&self) -> Seen {
        Seen { uid: self.uid.to_string(), revision: None }
    }
}

/// A pod that has ended: whether it was not evicted, when it was made, and which it is.
type Ended = (bool, Option<Timestamp>, Key);

/// Pods by namespace and labels.
type Groups = BTreeMap<Arc<str>, BTreeMap<Arc<Labels>, BTreeSet<Key>>>;

/// All pods.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    all: BTreeMap<Key, Arc<Member>>,
    /// By who controls them.
    controlled: BTreeMap<Arc<str>, BTreeMap<Key, Arc<Member>>>,
    /// By namespace and labels.
    labelled: Groups,
    /// The same of those that nobody controls.
    free: Groups,
    /// Sets of labels that are in use, and by how many pods.
    labels: BTreeMap<Arc<Labels>, usize>,
    /// By the node that they are bound to. Its name is shared by its pods.
    nodes: BTreeMap<Arc<str>, BTreeSet<Key>>,
    /// Those that have ended and are not to go, in the order in which they are forgotten.
    ended: BTreeSet<Ended>,
}

impl Pods {
    /// A pod is like this now. Gives back its metadata, and what there was before.
    pub fn note(&mut self, key: &Key, bytes: &[u8]) -> Option<(Meta, Option<Arc<Member>>)> {
        let (meta, mut member) = Member::read(key, bytes)?;
        let before = self.forget(key);
        member.labels = self.share(&meta.labels);
        if let Some(node) = &mut member.node {
            if let Some((known, _)) = self.nodes.get_key_value(&**node) {
                *node = Arc::clone(known);
            }
            self.nodes.entry(Arc::clone(node)).or_default().insert(key.clone());
        }
        if let Some(controller) = &mut member.controller
            && let Some((known, _)) = self.controlled.get_key_value(&**controller)
        {
            *controller = Arc::clone(known);
        }
        let member = Arc::new(member);
        match &member.controller {
            Some(controller) => {
                let all = self.controlled.entry(Arc::clone(controller)).or_default();
                all.insert(key.clone(), Arc::clone(&member));
            }
            None => add_to(&mut self.free, key, &member.labels),
        }
        add_to(&mut self.labelled, key, &member.labels);
        if let Some(ended) = ended(&member) {
            self.ended.insert(ended);
        }
        self.all.insert(key.clone(), member);
        Some((meta, before))
    }

    fn share(&mut self, labels: &Labels) -> Arc<Labels> {
        if let Some((known, _)) = self.labels.get_key_value(labels) {
            let known = Arc::clone(known);
            *self.labels.entry(Arc::clone(&known)).or_default() += 1;
            return known;
        }
        let new = Arc::new(labels.clone());
        self.labels.insert(Arc::clone(&new), 1);
        new
    }

    /// A pod is gone; gives back what it was.
    pub fn forget(&mut self, key: &Key) -> Option<Arc<Member>> {
        let member = self.all.remove(key)?;
        match &member.controller {
            Some(controller) => {
                if let Some(all) = self.controlled.get_mut(controller) {
                    all.remove(key);
                    if all.is_empty() {
                        self.controlled.remove(controller);
                    }
                }
            }
            None => drop_group(&mut self.free, key, &member.labels),
        }
        drop_group(&mut self.labelled, key, &member.labels);
        if let Some(ended) = ended(&member) {
            self.ended.remove(&ended);
        }
        if let Some(node) = &member.node {
            drop_from(&mut self.nodes, &**node, key);
        }
        if let Some(count) = self.labels.get_mut(&*member.labels) {
            *count -= 1;
            if *count == 0 {
                self.labels.remove(&*member.labels);
            }
        }
        Some(member)
    }

    /// A pod.
    pub fn get(&self, key: &Key) -> Option<&Arc<Member>> {
        self.all.get(key)
    }

    /// Those that the object of this uid controls, by name.
    pub fn controlled_by(&self, uid: &str) -> impl Iterator<Item = &Arc<Member>> {
        self.controlled.get(uid).into_iter().flat_map(BTreeMap::values)
    }

    /// How many these are.
    pub fn count_controlled_by(&self, uid: &str) -> usize {
        self.controlled.get(uid).map_or(0, BTreeMap::len)
    }

    /// Those of a namespace that nobody controls, and whose labels are such.
    pub fn free(
        &self,
        namespace: &str,
        such: impl Fn(&Labels) -> bool,
    ) -> impl Iterator<Item = &Arc<Member>> {
        self.among(&self.free, namespace, such)
    }

    /// Those of a namespace whose labels are such.
    pub fn labelled(
        &self,
        namespace: &str,
        such: impl Fn(&Labels) -> bool,
    ) -> impl Iterator<Item = &Arc<Member>> {
        self.among(&self.labelled, namespace, such)
    }

    /// Those that are bound to a node.
    pub fn on<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a Arc<Member>> {
        self.nodes.get(node).into_iter().flatten().filter_map(|key| self.all.get(key))
    }

    /// Those that have ended and are not to go: evicted ones first, then the oldest.
    pub fn ended(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.ended.iter().map(|(_, _, key)| key)
    }

    fn among<'a>(
        &'a self,
        groups: &'a Groups,
        namespace: &str,
        such: impl Fn(&Labels) -> bool,
    ) -> impl Iterator<Item = &'a Arc<Member>> {
        let groups = groups.get(namespace).into_iter().flatten().filter(move |(labels, _)| such(labels));
        groups.flat_map(|(_, keys)| keys).filter_map(|key| self.all.get(key))
    }

    /// All of them.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.all.keys()
    }
}

fn ended(pod: &Member) -> Option<Ended> {
    (pod.phase == Phase::Ended && !pod.deleting).then(|| (!pod.evicted, pod.created, pod.key.clone()))
}

fn add_to(groups: &mut Groups, key: &Key, labels: &Arc<Labels>) {
    let namespace = match groups.get_mut(key.namespace()) {
        Some(namespace) => namespace,
        None => groups.entry(key.namespace().into()).or_default(),
    };
    namespace.entry(Arc::clone(labels)).or_default().insert(key.clone());
}

fn drop_group(groups: &mut Groups, key: &Key, labels: &Labels) {
    if let Some(namespace) = groups.get_mut(key.namespace()) {
        drop_from(namespace, labels, key);
        if namespace.is_empty() {
            groups.remove(key.namespace());
        }
    }
}

/// Takes a key out of a set, and the set out if it was the last.
pub fn drop_from<O, Q, K>(sets: &mut BTreeMap<O, BTreeSet<K>>, of: &Q, key: &K)
where
    O: Ord + std::borrow::Borrow<Q>,
    Q: Ord + ?Sized,
    K: Ord,
{
    if let Some(set) = sets.get_mut(of) {
        set.remove(key);
        if set.is_empty() {
            sets.remove(of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn note(pods: &mut Pods, name: &str, metadata: Value, status: Value) {
        let mut pod = json!({"metadata": {"uid": name}, "spec": {"nodeName": "n"}, "status": status});
        pod["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        pods.note(&Key::new("default", name), &serde_json::to_vec(&pod).unwrap()).unwrap();
    }

    fn names<'a>(pods: impl Iterator<Item = &'a Arc<Member>>) -> Vec<&'a str> {
        pods.map(|pod| pod.key.name()).collect()
    }

    #[test]
    fn pods_are_found_by_who_controls_them_or_by_their_labels() {
        let mut pods = Pods::default();
        let owner = json!([{"uid": "o", "controller": true}, {"uid": "p"}]);
        note(&mut pods, "a", json!({"ownerReferences": owner, "labels": {"app": "x"}}), json!({}));
        note(&mut pods, "b", json!({"labels": {"app": "x"}}), json!({}));
        note(&mut pods, "c", json!({"labels": {"app": "y"}}), json!({}));
        let such = |labels: &Labels| labels.get("app").is_some_and(|app| app == "x");
        assert_eq!(names(pods.controlled_by("o")), ["a"]);
        assert_eq!(names(pods.controlled_by("p")), Vec::<&str>::new());
        assert_eq!(names(pods.free("default", such)), ["b"]);
        assert_eq!(names(pods.free("other", such)), Vec::<&str>::new());
        let [a, b] = ["a", "b"].map(|name| Arc::clone(&pods.get(&Key::new("default", name)).unwrap().labels));
        assert!(Arc::ptr_eq(&a, &b));
        note(&mut pods, "a", json!({"labels": {"app": "y"}}), json!({}));
        assert_eq!(names(pods.controlled_by("o")), Vec::<&str>::new());
        for name in ["a", "b", "c"] {
            pods.forget(&Key::new("default", name));
        }
        assert!(pods.labels.is_empty() && pods.free.is_empty() && pods.controlled.is_empty());
    }

    #[test]
    fn ports_of_sidecars_are_found_after_those_of_containers() {
        let port = |number: u16| json!([{"name": "web", "protocol": "TCP", "containerPort": number}]);
        let init =
            |policy: &str, number: u16| json!({"name": "i", "restartPolicy": policy, "ports": port(number)});
        let pod = json!({
            "metadata": {},
            "spec": {"initContainers": [init("", 1), init("Always", 2)], "containers": [{"name": "c", "ports": port(3)}]},
            "status": {"podIP": "10.0.0.1"},
        });
        let mut pods = Pods::default();
        pods.note(&Key::new("n", "p"), &serde_json::to_vec(&pod).unwrap()).unwrap();
        let address = pods.get(&Key::new("n", "p")).unwrap().address.clone().unwrap();
        assert_eq!(address.named.iter().map(|(.., number)| *number).collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn what_ranks_a_pod_is_read() {
        let mut pods = Pods::default();
        let cost = json!({"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}});
        let ready =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let status = json!({
            "phase": "Running", "conditions": ready,
            "containerStatuses": [{"name": "a", "restartCount": 2}, {"name": "b", "restartCount": 3}],
        });
        note(&mut pods, "a", cost, status);
        let pod = pods.get(&Key::new("default", "a")).unwrap();
        assert_eq!((pod.phase, pod.deletion_cost, pod.restarts), (Phase::Running, -5, (3, 0)));
        let from = "2026-01-01T00:00:10Z".parse().ok();
        assert_eq!((pod.available_from(10), pod.available_from(0)), (from, Some(Timestamp::MIN)));
        note(
            &mut pods,
            "a",
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            json!({"phase": "Failed"}),
        );
        let pod = pods.get(&Key::new("default", "a")).unwrap();
        assert!(!pod.is_active() && !pod.is_terminating() && pod.ready.is_none());
    }
}
