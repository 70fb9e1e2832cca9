//! The loop of the scheduler: takes in what changes in the store, and has its decisions written, many at once, since the store makes
//! durable together what comes together.
//!
//! It decides nothing, and waits for no write before the next decision. Invariant: all that the store shows is taken in
//! before something is decided.

use super::{Decision, NAME, Promise, Scheduler};
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects, Target, Writes};
use crate::api::pressure::Condition;
use crate::control::action::{Saying, Subject, Write};
use crate::control::events::{self, Events};
use crate::control::follow::{Follow, Follower};
use crate::control::key::Key;
use crate::store::{Entry, Store};
use crate::{clock, limits, metrics as table};
use k8s_openapi::api::core::v1::Taint;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The condition of pods that says whether they have a node.
const SCHEDULED: &str = "PodScheduled";
/// Upstream's reason where they have none.
const UNSCHEDULABLE: &str = "Unschedulable";

/// A node that tells what it is short of before it can be read in the store.
pub struct Hint {
    /// Its name.
    pub node: String,
    /// What it is short of.
    pub short: watch::Receiver<BTreeSet<Condition>>,
}

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nodes.
    Node,
    /// Namespaces.
    Namespace,
    /// StorageClasses.
    Class,
    /// PersistentVolumes.
    Volume,
    /// PersistentVolumeClaims.
    Claim,
    /// Pods.
    Pod,
}

/// In the order in which they are looked at: what a claim names is there before it, and so is known once the claim is.
pub const KINDS: [(Kind, &str); 6] = [
    (Kind::Node, "/nodes"),
    (Kind::Namespace, "/namespaces"),
    (Kind::Claim, "/persistentvolumeclaims"),
    (Kind::Class, "storage.k8s.io/storageclasses"),
    (Kind::Volume, "/persistentvolumes"),
    (Kind::Pod, "/pods"),
];

impl Follower<Kind> for Scheduler {
    fn look(&mut self, kind: Kind, entry: &Entry) {
        match kind {
            Kind::Pod => self.note_pod(&entry.key, &entry.bytes),
            Kind::Node => self.note_node(&entry.key, &entry.bytes),
            Kind::Namespace => self.note_namespace(&entry.key, &entry.bytes),
            Kind::Class => self.note_class(&entry.key, &entry.bytes),
            Kind::Volume => self.note_volume(&entry.key, entry.revision, &entry.bytes),
            Kind::Claim => self.note_claim(&entry.key, entry.revision, &entry.bytes),
        }
    }

    fn forget(&mut self, kind: Kind, key: &Key) {
        match kind {
            Kind::Pod => self.forget_pod(key),
            Kind::Node => self.forget_node(key),
            Kind::Namespace => self.forget_namespace(key),
            Kind::Class => self.forget_class(key),
            Kind::Volume => self.forget_volume(key),
            Kind::Claim => self.forget_claim(key),
        }
    }

    fn known(&self, kind: Kind) -> Vec<Key> {
        match kind {
            Kind::Pod => self.pods(),
            Kind::Node => self.nodes(),
            Kind::Namespace => self.namespaces(),
            Kind::Class => self.classes(),
            Kind::Volume => self.volumes(),
            Kind::Claim => self.claims(),
        }
    }
}

struct Loop<W> {
    store: Store,
    writes: W,
    scheduler: Scheduler,
    /// Writes under way; whether they were done.
    running: JoinSet<(Decision, bool)>,
    events: Events,
    hint: Hint,
    start: Instant,
}

enum Event {
    Changes,
    Ended(Decision, bool),
    Short,
    Time,
}

/// Gives pods nodes until it is dropped.
pub async fn run<W: Writes + Objects>(store: Store, writes: W, hint: Hint) {
    let (events, queue) = events::channel();
    let work = Loop {
        store,
        writes: writes.clone(),
        scheduler: Scheduler::default(),
        running: JoinSet::new(),
        events,
        hint,
        start: clock::instant(),
    };
    tokio::join!(work.run(), events::record(writes, queue));
}

impl<W: Writes + Objects> Loop<W> {
    async fn run(mut self) {
        self.look_at_short();
        let mut follow = Follow::begin(self.store.clone(), &KINDS, &mut self.scheduler);
        loop {
            follow.take_in(&mut self.scheduler);
            self.decide();
            let event = self.select(&mut follow).await;
            self.apply(event);
        }
    }

    async fn select(&mut self, follow: &mut Follow<Kind>) -> Event {
        let may_decide = self.running.len() < limits::BINDINGS_AT_ONCE;
        let time = match (self.scheduler.is_ready() && may_decide, self.scheduler.next_time()) {
            (true, _) => Duration::ZERO,
            (false, Some(at)) if may_decide => at.saturating_sub(self.now()),
            _ => limits::CONTROL_IDLE,
        };
        tokio::select! {
            biased;
            Some(ended) = self.running.join_next() => match ended {
                Ok((decision, written)) => Event::Ended(decision, written),
                // A panic, which was told where it happened.
                Err(_) => Event::Time,
            },
            () = follow.changed() => Event::Changes,
            Ok(()) = self.hint.short.changed() => Event::Short,
            () = tokio::time::sleep(time) => Event::Time,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Ended(decision, written) => {
                self.ended(&decision, written);
                while let Some(Ok((decision, written))) = self.running.try_join_next() {
                    self.ended(&decision, written);
                }
            }
            Event::Short => self.look_at_short(),
            Event::Changes | Event::Time => {}
        }
    }

    fn ended(&mut self, decision: &Decision, written: bool) {
        let now = self.now();
        book(&mut self.scheduler, decision, written, now, |key| self.store.get("/pods", key));
    }

    /// What the node is short of is a taint, before it says so.
    fn look_at_short(&mut self) {
        let short = self.hint.short.borrow_and_update().clone();
        let taint = |one: &Condition| {
            let (key, effect) = (one.taint().to_owned(), "NoSchedule".to_owned());
            Taint { key, effect, ..Taint::default() }
        };
        self.scheduler.taint_ahead(&self.hint.node, short.iter().map(taint).collect());
        let key = Key::new("", &self.hint.node);
        if let Some(entry) = self.store.get("/nodes", &key) {
            self.scheduler.note_node(&key, &entry.bytes);
        }
    }

    /// Has what is decided written, as much as may be under way.
    fn decide(&mut self) {
        while self.running.len() < limits::BINDINGS_AT_ONCE {
            let Some(decision) = self.scheduler.next(self.now(), limits::PODS_LOOKED_AT) else { break };
            let (writes, events) = (self.writes.clone(), self.events.clone());
            self.running.spawn(async move {
                let written = write(&writes, &events, &decision).await;
                (decision, written)
            });
        }
        for (queue, count) in ["active", "backoff", "unschedulable"].into_iter().zip(self.scheduler.counts())
        {
            ::metrics::gauge!(table::PENDING_PODS, "queue" => queue).set(count as f64);
        }
    }

    fn now(&self) -> Duration {
        clock::instant().saturating_duration_since(self.start)
    }
}

/// Lets the scheduler know what came of a decision, and of one that was not written how its pod is now.
pub fn book(
    scheduler: &mut Scheduler,
    decision: &Decision,
    written: bool,
    now: Duration,
    pod: impl FnOnce(&Key) -> Option<Arc<Entry>>,
) {
    scheduler.ended(decision, written, now);
    if let (Decision::Bind(subject, _), false) = (decision, written) {
        match pod(&subject.key) {
            Some(entry) => scheduler.note_pod(&subject.key, &entry.bytes),
            None => scheduler.forget_pod(&subject.key),
        }
    }
}

/// Writes a decision; tells whether that was done.
async fn write<W: Writes + Objects>(writes: &W, events: &Events, decision: &Decision) -> bool {
    let super::Subject { key, uid } = decision.subject();
    let at = ObjectRef::pod(key.namespace(), key.name());
    let (written, saying, result) = match decision {
        Decision::Provide(_, promises) => return provide(writes, key, promises).await,
        Decision::Bind(_, node) => {
            let message = format!("Successfully assigned {key} to {node}");
            let written = writes.bind(&at, uid, node).await;
            (written, Saying::normal("Scheduled", message), "scheduled")
        }
        Decision::Tell(_, message) => {
            let now = object::time(clock::wall());
            let set = |stored: &mut Value| {
                if object::uid(stored) == &**uid && stored["spec"]["nodeName"].is_null() {
                    unscheduled(stored, message, &now);
                }
            };
            let written = writes.update_status(&at, set).await.map(drop);
            (written, Saying::warning("FailedScheduling", message.clone()), "unschedulable")
        }
    };
    let result = if written.is_ok() { result } else { "error" };
    ::metrics::counter!(table::SCHEDULE_ATTEMPTS, "profile" => NAME, "result" => result).increment(1);
    match written {
        Ok(()) => {
            let (namespace, name) = (at.namespace, at.name);
            let at = Target { api_version: "v1".into(), kind: "Pod".into(), namespace, name };
            events.tell(NAME, &Subject { at, uid: uid.to_string() }, saying);
            true
        }
        // It is gone, and the store tells it.
        Err(error) if error.code == 404 => matches!(decision, Decision::Tell(..)),
        Err(error) => {
            tracing::warn!(pod = %key, "writing what the scheduler decided failed: {error}");
            false
        }
    }
}

/// Has a pod's claims get their volumes; tells whether all of that was written.
async fn provide(writes: &impl Writes, pod: &Key, promises: &[Promise]) -> bool {
    for (_, _, write) in promises {
        let Write::Edit { at, part, seen, edit } = write else { continue };
        if let Err(error) = writes.edit(at, part, seen, |object| edit.apply(object)).await {
            tracing::info!(%pod, "a volume for it could not be chosen, and is looked for again: {error}");
            return false;
        }
    }
    true
}

/// The condition that says so. One that was so before has been since then.
pub fn unscheduled(pod: &mut Value, message: &str, now: &str) {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let (before, mut others): (Vec<Value>, Vec<Value>) =
        conditions.into_iter().partition(|condition| condition["type"] == SCHEDULED);
    let same = before.iter().find(|condition| condition["status"] == "False");
    let since = same.map(|condition| condition["lastTransitionTime"].clone()).filter(Value::is_string);
    others.push(json!({
        "type": SCHEDULED,
        "observedGeneration": object::generation(pod),
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
}
