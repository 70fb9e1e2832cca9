//! How the scheduler's decisions are written, and what is said of them: bindings, why pods wait, and who goes for whom.
//!
//! Each write is about the pod of the uid that was decided about, and does nothing to another one of its name. Invariant: a node is kept
//! for a pod before anybody goes from there, so that whoever is killed in between forgets nothing.

use super::super::demand::PREEMPTED;
use super::super::told::{SCHEDULED, Told};
use super::super::{Decision, NAME, Promise, Subject};
use crate::api::eviction::DISRUPTED;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects, Seen, Target, Writes};
use crate::api::status::ApiError;
use crate::control::action::{self, Saying, Write};
use crate::control::events::Events;
use crate::control::key::Key;
use crate::{clock, metrics as table};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Whoever writes and tells in the scheduler's name.
pub struct Writer<W> {
    /// Writes.
    pub writes: W,
    /// Tells.
    pub events: Events,
    /// When it was begun to decide.
    pub began: Instant,
}

impl<W: Writes + Objects> Writer<W> {
    /// Writes a decision; tells whether that was done.
    pub async fn write(&self, decision: &Decision) -> bool {
        let subject = decision.subject();
        let key = &subject.key;
        let unschedulable = |message: &String| Saying::warning("FailedScheduling", message.clone());
        let (written, saying, result) = match decision {
            Decision::Provide(_, promises) => return self.provide(key, promises).await,
            Decision::Bind(Subject { uid, .. }, node) => {
                let message = format!("Successfully assigned {key} to {node}");
                let written = self.writes.bind(&place(key), uid, node).await.map(|()| true);
                (written, Saying::normal("Scheduled", message), "scheduled")
            }
            Decision::Tell(_, told) => {
                (self.set(subject, told).await, unschedulable(&told.message), "unschedulable")
            }
            Decision::Again(_, message) => (Ok(true), unschedulable(message), "unschedulable"),
            Decision::Preempt(_, told, victims) => {
                (self.preempt(subject, told, victims).await, unschedulable(&told.message), "unschedulable")
            }
        };
        let result = if written.is_ok() { result } else { "error" };
        ::metrics::counter!(table::SCHEDULE_ATTEMPTS, "profile" => NAME, "result" => result).increment(1);
        ::metrics::histogram!(table::ATTEMPT_SECONDS, "profile" => NAME, "result" => result)
            .record(clock::instant() - self.began);
        match written {
            Ok(true) => self.tell(subject, saying),
            // It has got a node, or another one has its name: nothing is to be said of it.
            Ok(false) => {}
            // It is gone, and the store tells it.
            Err(error) if error.code == 404 => return !matches!(decision, Decision::Bind(..)),
            Err(error) => {
                tracing::warn!(pod = %key, "writing what the scheduler decided failed: {error}");
                return false;
            }
        }
        true
    }

    fn tell(&self, about: &Subject, saying: Saying) {
        let about = action::Subject { at: target(&about.key), uid: about.uid.to_string() };
        self.events.tell(NAME, &about, saying);
    }

    /// A pod says why it waits, and which node is kept for it; tells whether it still waits.
    async fn set(&self, Subject { key, uid }: &Subject, told: &Told) -> Result<bool, ApiError> {
        let (now, waits) = (object::time(clock::wall()), AtomicBool::new(false));
        let set = |pod: &mut Value| {
            let so = object::uid(pod) == &**uid && pod["spec"]["nodeName"].is_null();
            waits.store(so, Ordering::Relaxed);
            if so {
                unscheduled(pod, told, &now);
            }
        };
        self.writes.update_status(&place(key), set).await?;
        Ok(waits.into_inner())
    }

    /// A node is kept for a pod, and others go from there; tells whether it still waits.
    async fn preempt(&self, pod: &Subject, told: &Told, victims: &[Subject]) -> Result<bool, ApiError> {
        if !self.set(pod, told).await? {
            return Ok(false);
        }
        ::metrics::counter!(table::PREEMPTION_ATTEMPTS).increment(1);
        let node = told.nominated.as_deref().unwrap_or_default();
        let gone = join_all(victims.iter().map(|victim| self.make_go(victim, &pod.uid, node))).await;
        gone.into_iter().collect::<Result<(), ApiError>>().map(|()| true)
    }

    /// A pod says why it goes, and goes, with its own grace.
    async fn make_go(&self, victim: &Subject, uid: &str, node: &str) -> Result<(), ApiError> {
        let (now, same) = (object::time(clock::wall()), AtomicBool::new(false));
        let set = |pod: &mut Value| {
            let so = object::uid(pod) == &*victim.uid && !object::deleting(pod);
            same.store(so, Ordering::Relaxed);
            if so {
                disrupted(pod, &now);
            }
        };
        let seen = Seen { uid: victim.uid.to_string(), revision: None };
        let gone = async {
            self.writes.update_status(&place(&victim.key), set).await?;
            if same.load(Ordering::Relaxed) {
                self.writes.delete(&target(&victim.key), &seen, None).await?;
                let message = format!("Preempted by pod {uid} on node {node}");
                self.tell(victim, Saying::normal("Preempted", message));
            }
            Ok(())
        };
        match gone.await {
            // It has gone by itself.
            Err(ApiError { code: 404 | 409, .. }) => Ok(()),
            done => done,
        }
    }

    /// Has a pod's claims get their volumes; tells whether all of that was written.
    async fn provide(&self, pod: &Key, promises: &[Promise]) -> bool {
        for (_, _, write) in promises {
            let Write::Edit { at, part, seen, edit } = write else { continue };
            if let Err(error) = self.writes.edit(at, part, seen, |object| edit.apply(object)).await {
                tracing::info!(%pod, "a volume for it could not be chosen, and is looked for again: {error}");
                return false;
            }
        }
        true
    }
}

fn place(key: &Key) -> ObjectRef {
    ObjectRef::pod(key.namespace(), key.name())
}

fn target(key: &Key) -> Target {
    let (namespace, name) = (key.namespace().to_owned(), key.name().to_owned());
    Target { api_version: "v1".into(), kind: "Pod".into(), namespace, name }
}

/// What a pod without a node says of itself. A condition that was so before has been since then.
pub fn unscheduled(pod: &mut Value, told: &Told, now: &str) {
    condition(
        pod,
        now,
        json!({"type": SCHEDULED, "status": "False", "reason": told.reason(), "message": told.message}),
    );
    match &told.nominated {
        Some(node) => pod["status"]["nominatedNodeName"] = (**node).into(),
        None => drop(pod["status"].as_object_mut().map(|status| status.remove("nominatedNodeName"))),
    }
}

/// A pod says that it goes for a more important one.
pub fn disrupted(pod: &mut Value, now: &str) {
    let message = format!("{NAME}: preempting to accommodate a higher priority pod");
    condition(
        pod,
        now,
        json!({"type": DISRUPTED, "status": "True", "reason": PREEMPTED, "message": message}),
    );
}

/// Puts a condition in the place of the one of its type.
fn condition(pod: &mut Value, now: &str, mut condition: Value) {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let (before, mut others): (Vec<Value>, Vec<Value>) =
        conditions.into_iter().partition(|other| other["type"] == condition["type"]);
    let same = before.iter().find(|other| other["status"] == condition["status"]);
    let since = same.map(|other| other["lastTransitionTime"].clone()).filter(Value::is_string);
    condition["observedGeneration"] = object::generation(pod).into();
    condition["lastProbeTime"] = Value::Null;
    condition["lastTransitionTime"] = since.unwrap_or_else(|| now.into());
    others.push(condition);
    pod["status"]["conditions"] = others.into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::events;
    use crate::control::tests::World;

    #[test]
    fn a_pod_that_waits_says_since_when_and_for_which_node() {
        let mut pod =
            json!({"status": {"phase": "Pending", "conditions": [{"type": "theirs", "status": "True"}]}});
        let told = |message: &str, nominated: Option<&str>| Told {
            message: message.to_owned(),
            nominated: nominated.map(Into::into),
            failed: false,
        };
        unscheduled(&mut pod, &told("one", Some("n")), "then");
        assert_eq!(pod["status"]["nominatedNodeName"], "n");
        unscheduled(&mut pod, &told("other", None), "now");
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 2);
        let (message, since) = (&conditions[1]["message"], &conditions[1]["lastTransitionTime"]);
        assert_eq!((message, since), (&json!("other"), &json!("then")));
        assert_eq!(pod["status"].get("nominatedNodeName"), None);
    }

    #[tokio::test]
    async fn who_has_a_node_meanwhile_is_told_nothing() {
        let world = World::new().await;
        let (events, mut said) = events::channel();
        let writer = Writer { writes: world.objects.clone(), events, began: clock::instant() };
        let container = json!({"name": "c", "image": "i"});
        let metadata = json!({"name": "p", "namespace": "default"});
        let spec = json!({"containers": [container], "schedulerName": "theirs"});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        let pod = world.create(pod).await;
        let subject = |uid: &str| Subject { key: Key::new("default", "p"), uid: uid.into() };
        let told = Told { message: "full".to_owned(), nominated: None, failed: false };
        let own = subject(object::uid(&pod));
        assert!(writer.write(&Decision::Tell(own.clone(), told.clone())).await);
        assert!(said.try_recv().is_ok());
        assert!(writer.write(&Decision::Tell(subject("another"), told.clone())).await);
        assert!(writer.write(&Decision::Bind(own.clone(), "n".into())).await);
        assert!(said.try_recv().is_ok());
        assert!(writer.write(&Decision::Tell(own, told)).await);
        assert!(said.try_recv().is_err(), "of one that is not there, or has a node");
        let status = &world.get("/pods", "p").unwrap()["status"];
        assert_eq!(status["conditions"].as_array().map(Vec::len), Some(1), "{status}");
        assert_eq!(status["conditions"][0]["status"], "True");
    }
}
