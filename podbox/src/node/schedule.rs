//! Gives pods to this node, if they fit it; those that don't wait, and say why.
//!
//! ```text
//!   a pod without a node ──▶ pod::fit ──fits──▶ bound to this node
//!                               │
//!                               └──▶ PodScheduled=False, Event FailedScheduling ──▶ tried again when it changes,
//!                                                       when another pod ends or asks for less, when the node changes
//! ```
//!
//! Pods of other schedulers are theirs, and gated ones wait for who gated them. Nobody is made to go for a pod of higher
//! priority; it only comes first. Invariant: what does not fit is neither bound nor ended, so that nobody replaces it.

use super::bound::{NODES, PODS, object_of, over, parsed};
use super::recorder::Notices;
use crate::api::identity::PodRef;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::pressure::Condition;
use crate::clock;
use crate::pod::fit::{self, Taken};
use crate::pod::notice::Notice;
use crate::store::{Change, Entry, Expired, Happened, Store, Watch};
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Pod, Taint};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;

/// The scheduler whose pods these are.
const NAME: &str = "default-scheduler";
/// The condition of pods that says whether they have a node.
const SCHEDULED: &str = "PodScheduled";
/// Upstream's reason where they have none.
const UNSCHEDULABLE: &str = "Unschedulable";

/// Looks for nodes, of which there is one.
pub struct Scheduler<O> {
    store: Store,
    objects: O,
    node: String,
    notices: Option<Notices>,
    /// What the node is short of.
    short: watch::Receiver<BTreeSet<Condition>>,
    /// The node as it was when last looked at.
    object: Option<Node>,
    /// Pods that are on the node, by their uids.
    taken: BTreeMap<String, Pod>,
    /// Those that are to be given one.
    waiting: BTreeMap<String, Pod>,
    /// Of those, the ones that may fit now.
    due: BTreeSet<String>,
}

impl<O: Objects> Scheduler<O> {
    /// For the node of this name.
    pub fn new(
        (store, objects): (Store, O),
        node: String,
        notices: Option<Notices>,
        short: watch::Receiver<BTreeSet<Condition>>,
    ) -> Self {
        let (taken, waiting, due) = Default::default();
        Scheduler { store, objects, node, notices, short, object: None, taken, waiting, due }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        loop {
            // History went on without us: look at everything again.
            let Ok((mut pods, mut nodes)) = self.begin() else { continue };
            self.place().await;
            while self.step(&mut pods, &mut nodes).await.is_ok() {}
        }
    }

    fn begin(&mut self) -> Result<(Watch, Watch), Expired> {
        let (page, pods) = self.store.list_and_watch(PODS, None)?;
        let (_, nodes) = self.store.list_and_watch(NODES, None)?;
        (self.taken, self.waiting, self.due) = Default::default();
        page.entries.iter().for_each(|entry| self.look(entry));
        self.look_at_node();
        Ok((pods, nodes))
    }

    async fn step(&mut self, pods: &mut Watch, nodes: &mut Watch) -> Result<(), Expired> {
        tokio::select! {
            batch = pods.next() => batch?.changes.iter().for_each(|change| self.changed(change)),
            batch = nodes.next() => {
                batch?;
                self.look_at_node();
            }
            Ok(()) = self.short.changed() => self.look_at_node(),
        }
        self.place().await;
        Ok(())
    }

    fn changed(&mut self, change: &Change) {
        match change.happened {
            Happened::Added | Happened::Modified => self.look(&change.entry),
            Happened::Deleted => {
                if let Some(pod) = parsed(&change.entry) {
                    self.drop(object::uid(&pod));
                }
            }
        }
    }

    fn look(&mut self, entry: &Entry) {
        let Some(pod) = parsed(entry) else { return };
        let uid = object::uid(&pod).to_owned();
        let at = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        match at {
            _ if over(&pod) => self.drop(&uid),
            // A change from before it was bound.
            "" if self.taken.contains_key(&uid) => {}
            "" if is_ours(&pod) => {
                if let Some(pod) = typed(pod) {
                    self.waiting.insert(uid.clone(), pod);
                    self.due.insert(uid);
                }
            }
            node if node == self.node => self.take(uid, pod),
            _ => self.drop(&uid),
        }
    }

    fn take(&mut self, uid: String, pod: Value) {
        self.waiting.remove(&uid);
        let known = self.taken.get(&uid).map(|known| known.metadata.generation.unwrap_or_default());
        if known == Some(object::generation(&pod)) {
            return;
        }
        if let Some(pod) = typed(pod) {
            self.taken.insert(uid, pod);
        }
        // It may ask for less now.
        if known.is_some() {
            self.all_are_due();
        }
    }

    fn drop(&mut self, uid: &str) {
        self.waiting.remove(uid);
        if self.taken.remove(uid).is_some() {
            self.all_are_due();
        }
    }

    fn all_are_due(&mut self) {
        self.due.extend(self.waiting.keys().cloned());
    }

    /// Its own watch of what it is short of is ahead of what it writes of itself.
    fn look_at_node(&mut self) {
        let short = self.short.borrow_and_update().clone();
        let now = object_of(&self.store, &self.node).map(|node| facts(node, &short));
        if now != self.object {
            self.object = now;
            self.all_are_due();
        }
    }

    /// Gives the pods that are due a node, or tells why they get none.
    async fn place(&mut self) {
        let due = std::mem::take(&mut self.due);
        let mut due: Vec<Pod> = due.iter().filter_map(|uid| self.waiting.get(uid).cloned()).collect();
        if due.is_empty() {
            return;
        }
        due.sort_by_key(|pod| {
            let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
            (Reverse(priority), pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone())
        });
        let mut taken: Taken = self.taken.values().collect();
        let (mut fit, mut unfit) = (Vec::new(), Vec::new());
        for pod in due {
            let judged = match &self.object {
                None => Err("no nodes available to schedule pods".to_owned()),
                Some(node) => fit::fits(&pod, node, &taken).map_err(|unfit| unfit.to_string()),
            };
            match judged {
                Ok(()) => {
                    taken.add(&pod);
                    fit.push(pod);
                }
                Err(message) => unfit.push((pod, message)),
            }
        }
        self.bind(fit).await;
        for (pod, message) in unfit {
            self.tell(&pod, message).await;
        }
    }

    /// Gives pods to the node, all at once: each is a durable write. Where one fails, others may fit after all.
    async fn bind(&mut self, pods: Vec<Pod>) {
        let pods: Vec<_> = pods.into_iter().map(|pod| (names(&pod), pod)).collect();
        let binds = pods.iter().map(|((at, reference), _)| self.objects.bind(at, &reference.uid, &self.node));
        let bound = join_all(binds).await;
        for (((at, reference), pod), bound) in pods.into_iter().zip(bound) {
            if let Err(error) = bound {
                tracing::warn!(pod = %reference, "binding it failed: {error}");
                let others = self.waiting.keys().filter(|uid| **uid != reference.uid).cloned();
                self.due.extend(others);
                continue;
            }
            self.waiting.remove(&reference.uid);
            self.taken.insert(reference.uid.clone(), pod);
            let message = format!("Successfully assigned {}/{} to {}", at.namespace, at.name, self.node);
            self.notify(&reference, false, "Scheduled", message);
        }
    }

    /// Tells a pod why it waits, if that is news.
    async fn tell(&mut self, pod: &Pod, message: String) {
        let (at, reference) = names(pod);
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let known = conditions.into_iter().any(|condition| {
            (condition.type_.as_str(), condition.status.as_str()) == (SCHEDULED, "False")
                && condition.reason.as_deref() == Some(UNSCHEDULABLE)
                && condition.message.as_deref() == Some(&message)
        });
        if known {
            return;
        }
        let now = object::time(clock::wall());
        let set = |stored: &mut Value| {
            if object::uid(stored) == reference.uid && stored["spec"]["nodeName"].is_null() {
                unscheduled(stored, &message, &now);
            }
        };
        match self.objects.update_status(&at, set).await {
            Ok(stored) => {
                if let (Some(stored), Some(waiting)) = (typed(stored), self.waiting.get_mut(&reference.uid)) {
                    *waiting = stored;
                }
                self.notify(&reference, true, "FailedScheduling", message);
            }
            // It is gone.
            Err(error) if error.code == 404 => {}
            Err(error) => tracing::warn!(pod = %reference, "telling why it waits failed: {error}"),
        }
    }

    fn notify(&self, pod: &PodRef, warning: bool, reason: &'static str, message: String) {
        if let Some(notices) = &self.notices {
            notices.tell(pod, Notice { part: None, warning, reason: reason.into(), message });
        }
    }
}

/// Whether a pod without a node is to be given one, here and now.
fn is_ours(pod: &Value) -> bool {
    let scheduler = pod["spec"]["schedulerName"].as_str().unwrap_or(NAME);
    let gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    scheduler == NAME && !gated && !object::deleting(pod)
}

fn typed(pod: Value) -> Option<Pod> {
    let name = format!("{}/{}", object::namespace(&pod), object::name(&pod));
    serde_json::from_value(pod)
        .inspect_err(|error| {
            tracing::error!("pod {name} in the store cannot be read, and gets no node: {error}")
        })
        .ok()
}

fn names(pod: &Pod) -> (ObjectRef, PodRef) {
    let word = |field: &Option<String>| field.clone().unwrap_or_default();
    let known = &pod.metadata;
    let (namespace, name, uid) = (word(&known.namespace), word(&known.name), word(&known.uid));
    (ObjectRef::pod(&namespace, &name), PodRef { namespace, name, uid })
}

/// What of a node decides who fits it: whatever else it says of itself is no reason to try again.
fn facts(node: Node, short: &BTreeSet<Condition>) -> Node {
    let spec = node.spec.unwrap_or_default();
    let mut taints = spec.taints.unwrap_or_default();
    for key in short.iter().map(|condition| condition.taint()) {
        if !taints.iter().any(|taint| taint.key == key) {
            taints.push(Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() });
        }
    }
    let mut facts = Node::default();
    facts.metadata.name = node.metadata.name;
    facts.metadata.labels = node.metadata.labels;
    facts.spec =
        Some(NodeSpec { unschedulable: spec.unschedulable, taints: Some(taints), ..NodeSpec::default() });
    facts.status =
        node.status.map(|status| NodeStatus { allocatable: status.allocatable, ..NodeStatus::default() });
    facts
}

/// The condition that says so. One that was so before has been since then.
fn unscheduled(pod: &mut Value, message: &str, now: &str) {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let (before, mut others): (Vec<Value>, Vec<Value>) =
        conditions.into_iter().partition(|condition| condition["type"] == SCHEDULED);
    let same = before.iter().find(|condition| condition["status"] == "False");
    let since = same.map(|condition| condition["lastTransitionTime"].clone()).filter(Value::is_string);
    others.push(json!({
        "type": SCHEDULED,
        "status": "False",
        "reason": UNSCHEDULABLE,
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| now.into()),
    }));
    pod["status"]["conditions"] = others.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_waits_says_since_when() {
        let mut pod =
            json!({"status": {"phase": "Pending", "conditions": [{"type": "theirs", "status": "True"}]}});
        unscheduled(&mut pod, "one", "then");
        unscheduled(&mut pod, "other", "now");
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 2);
        let (message, since) = (&conditions[1]["message"], &conditions[1]["lastTransitionTime"]);
        assert_eq!((message, since), (&json!("other"), &json!("then")));
    }

    #[test]
    fn heartbeats_are_no_reason_to_try_again_and_what_is_short_is_a_taint() {
        let node = |image: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"name": "n", "resourceVersion": image},
                "status": {"images": [{"names": [image]}], "allocatable": {"cpu": "1"}}}))
            .unwrap()
        };
        let none = BTreeSet::new();
        assert_eq!(facts(node("1"), &none), facts(node("2"), &none));
        assert_ne!(facts(node("1"), &none), facts(node("1"), &BTreeSet::from([Condition::Disk])));
    }
}
