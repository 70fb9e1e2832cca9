//! Notices of pods as Events in the API: one object for each thing that happens to a pod, counted as it repeats.
//!
//! It holds no truth: what it cannot write is dropped, counted and said in the log. Invariant: a pod that repeats
//! itself costs one object, and one that is never short of words is cut off, like the kubelet does.

use crate::api::identity::PodRef;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::pod::notice::Notice;
use crate::{chance, clock, limits, metrics};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;
use tokio::sync::mpsc;

/// Who tells, by the name that people and programs look for.
pub(super) const COMPONENT: &str = "kubelet";
/// The part that looks for nodes: people and programs look for it by this name.
const SCHEDULER: &str = "default-scheduler";

/// Takes notices without ever waiting.
#[derive(Clone, Debug)]
pub struct Notices(mpsc::Sender<(PodRef, Notice)>);

impl Notices {
    /// Hands one over; drops it where too many wait already.
    pub fn tell(&self, pod: &PodRef, notice: Notice) {
        if self.0.try_send((pod.clone(), notice)).is_err() {
            ::metrics::counter!(metrics::EVENTS_DROPPED).increment(1);
        }
    }
}

/// A channel to a recorder.
pub fn channel() -> (Notices, mpsc::Receiver<(PodRef, Notice)>) {
    let (sender, receiver) = mpsc::channel(limits::NOTICES);
    (Notices(sender), receiver)
}

/// What a pod has said.
#[derive(Debug)]
struct Told {
    /// The Event's name and how often it happened, by what it says.
    events: BTreeMap<Key, (String, u64)>,
    /// How many more it may say now.
    left: u32,
    /// When that was counted.
    at: Instant,
}

type Key = (Option<String>, Cow<'static, str>, String);

/// Writes notices as Events.
#[derive(Debug)]
pub struct Recorder<O> {
    objects: O,
    node: String,
    /// By the pod's uid.
    told: BTreeMap<String, Told>,
}

impl<O: Objects> Recorder<O> {
    /// One that writes to `objects` in the name of this node.
    pub fn new(objects: O, node: String) -> Self {
        Recorder { objects, node, told: BTreeMap::new() }
    }

    /// Writes for as long as someone tells.
    pub async fn run(mut self, mut notices: mpsc::Receiver<(PodRef, Notice)>) {
        while let Some((pod, notice)) = notices.recv().await {
            self.record(&pod, notice, clock::instant()).await;
        }
    }

    async fn record(&mut self, pod: &PodRef, notice: Notice, now: Instant) {
        if self.told.len() >= limits::RECORDED_PODS && !self.told.contains_key(&pod.uid) {
            // Those that have been silent longest, by the half: a count begins anew, nothing else is lost.
            let mut times: Vec<Instant> = self.told.values().map(|told| told.at).collect();
            times.sort_unstable();
            let middle = times[times.len() / 2];
            self.told.retain(|_, told| told.at > middle);
        }
        let fresh = || Told { events: BTreeMap::new(), left: limits::EVENTS_AT_ONCE, at: now };
        let told = self.told.entry(pod.uid.clone()).or_insert_with(fresh);
        let more = now.saturating_duration_since(told.at).as_secs() / limits::EVENT_AGAIN.as_secs();
        if more > 0 {
            told.left = told.left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
            told.left = told.left.min(limits::EVENTS_AT_ONCE);
            told.at = now;
        }
        if told.left == 0 {
            ::metrics::counter!(metrics::EVENTS_DROPPED).increment(1);
            return;
        }
        told.left -= 1;
        let key = (notice.container.clone(), notice.reason.clone(), notice.message.clone());
        let time = object::time(clock::wall());
        let written = match told.events.entry(key) {
            Entry::Occupied(mut known) => {
                let (name, count) = known.get_mut();
                *count += 1;
                let (at, count) = (event_ref(pod, name), *count);
                let again = |event: &mut Value| {
                    event["count"] = count.into();
                    event["lastTimestamp"] = time.clone().into();
                };
                let written = self.objects.update(&at, again).await.map(drop);
                if written.is_err() {
                    // It has expired, most likely: the next one is a new one.
                    known.remove();
                }
                written
            }
            Entry::Vacant(new) => {
                let suffix = u64::from_be_bytes(chance::bytes());
                let name = format!("{}.{suffix:016x}", pod.name);
                let event = event(pod, &notice, &name, &self.node, &time);
                new.insert((name, 1));
                self.objects.ensure(event).await
            }
        };
        if let Err(error) = written {
            ::metrics::counter!(metrics::EVENTS_DROPPED).increment(1);
            // The usual reason: its namespace is being deleted.
            tracing::debug!(%pod, "an event was not recorded: {error}");
        }
    }
}

fn event_ref(pod: &PodRef, name: &str) -> ObjectRef {
    ObjectRef { api_version: "v1", kind: "Event", namespace: pod.namespace.clone(), name: name.to_owned() }
}

fn event(pod: &PodRef, notice: &Notice, name: &str, node: &str, time: &str) -> Value {
    let mut about = json!({
        "kind": "Pod", "apiVersion": "v1", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid,
    });
    if let Some(container) = &notice.container {
        about["fieldPath"] = format!("spec.containers{{{container}}}").into();
    }
    // It tells of pods that are on no node yet.
    let (component, source) = match &*notice.reason {
        "Scheduled" | "FailedScheduling" => (SCHEDULER, json!({"component": SCHEDULER})),
        _ => (COMPONENT, json!({"component": COMPONENT, "host": node})),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": pod.namespace},
        "involvedObject": about,
        "type": if notice.warning { "Warning" } else { "Normal" },
        "reason": &*notice.reason,
        "message": notice.message,
        "source": source,
        "reportingComponent": component,
        "reportingInstance": node,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::objects::{Token, TokenWanted};
    use crate::api::status::ApiError;
    use std::sync::Mutex;
    use std::time::Duration;

    /// Keeps what is written.
    #[derive(Default)]
    struct Kept(Mutex<BTreeMap<String, Value>>);

    impl Objects for &'static Kept {
        async fn ensure(&self, object: Value) -> Result<(), ApiError> {
            self.0.lock().unwrap().insert(object::name(&object).to_owned(), object);
            Ok(())
        }
        async fn update(
            &self,
            object: &ObjectRef,
            change: impl Fn(&mut Value) + Send + Sync,
        ) -> Result<Value, ApiError> {
            let mut all = self.0.lock().unwrap();
            let Some(kept) = all.get_mut(&object.name) else {
                return Err(ApiError::not_found("", "events", &object.name));
            };
            change(kept);
            Ok(kept.clone())
        }
        async fn update_status(
            &self,
            _: &ObjectRef,
            _: impl Fn(&mut Value) + Send + Sync,
        ) -> Result<Value, ApiError> {
            unreachable!("events have no status")
        }
        async fn bind(&self, _: &ObjectRef, _: &str, _: &str) -> Result<(), ApiError> {
            unreachable!("nothing is bound")
        }
        async fn token(&self, _: &ObjectRef, _: &str, _: &str, _: &TokenWanted) -> Result<Token, ApiError> {
            unreachable!("no token is asked for")
        }
        async fn remove(&self, _: &ObjectRef, _: &str) -> Result<(), ApiError> {
            unreachable!("nothing is removed")
        }
    }

    fn pod(number: usize) -> PodRef {
        PodRef { namespace: "default".into(), name: format!("p{number}"), uid: number.to_string() }
    }

    fn started(name: &str) -> Notice {
        let message = format!("Started container {name}");
        Notice { container: Some(name.to_owned()), warning: false, reason: "Started".into(), message }
    }

    fn all(kept: &Kept) -> Vec<(String, u64)> {
        let all = kept.0.lock().unwrap();
        let mut all: Vec<_> = all
            .values()
            .map(|event| {
                let path = event["involvedObject"]["fieldPath"].as_str().unwrap().to_owned();
                (path, event["count"].as_u64().unwrap())
            })
            .collect();
        all.sort();
        all
    }

    #[tokio::test]
    async fn what_repeats_is_counted_and_what_expired_is_told_anew() {
        let kept: &'static Kept = Box::leak(Box::default());
        let mut recorder = Recorder::new(kept, "n".into());
        let now = clock::instant();
        for name in ["a", "b", "a", "a"] {
            recorder.record(&pod(0), started(name), now).await;
        }
        assert_eq!(all(kept), [("spec.containers{a}".to_owned(), 3), ("spec.containers{b}".to_owned(), 1)]);
        kept.0.lock().unwrap().clear();
        recorder.record(&pod(0), started("a"), now).await;
        recorder.record(&pod(0), started("a"), now).await;
        assert_eq!(all(kept), [("spec.containers{a}".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn a_pod_that_talks_without_end_is_cut_off_and_may_go_on_later() {
        let kept: &'static Kept = Box::leak(Box::default());
        let mut recorder = Recorder::new(kept, "n".into());
        let now = clock::instant();
        for number in 0..1000 {
            recorder.record(&pod(0), started(&number.to_string()), now).await;
        }
        assert_eq!(all(kept).len(), limits::EVENTS_AT_ONCE as usize);
        recorder.record(&pod(1), started("other"), now).await;
        recorder.record(&pod(0), started("later"), now + limits::EVENT_AGAIN + Duration::from_secs(1)).await;
        assert_eq!(all(kept).len(), limits::EVENTS_AT_ONCE as usize + 2);
    }

    #[tokio::test]
    async fn many_pods_are_not_all_remembered() {
        let kept: &'static Kept = Box::leak(Box::default());
        let mut recorder = Recorder::new(kept, "n".into());
        let now = clock::instant();
        for number in 0..2 * limits::RECORDED_PODS {
            let later = now + Duration::from_millis(number as u64);
            recorder.record(&pod(number), started("a"), later).await;
        }
        assert!(recorder.told.len() <= limits::RECORDED_PODS);
    }
}
