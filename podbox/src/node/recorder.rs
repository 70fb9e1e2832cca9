//! Notices of pods as Events in the API: one object for each thing that happens to a pod, counted as it repeats.
//!
//! It holds no truth: what it cannot write is dropped, counted and said in the log. Invariant: a pod that repeats
//! itself costs one object, and one that is never short of words is cut off, like the kubelet does.

use crate::api::identity::PodRef;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::api::status::ApiError;
use crate::pod::notice::Notice;
use crate::{chance, clock, limits, metrics};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;
use tokio::sync::mpsc;

/// Who tells, by the name that people and programs look for.
pub(super) const COMPONENT: &str = "kubelet";

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
    /// The Event's name and how often it happened, by what it says but for remarks.
    events: BTreeMap<Key, (String, u64)>,
    /// How many more it may say now.
    left: u32,
    /// When that was counted.
    at: Instant,
}

type Key = (Option<String>, Cow<'static, str>, String);

/// A write of an Event.
struct Write {
    /// The Event's.
    name: String,
    pod: PodRef,
    key: Key,
    what: What,
}

/// What is written.
enum What {
    New(Value),
    /// It happened so often by now, the last time in these words.
    Again {
        count: u64,
        time: String,
        text: String,
    },
}

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
        let mut waiting = Vec::new();
        while notices.recv_many(&mut waiting, limits::NOTICES_AT_ONCE).await > 0 {
            self.record(&mut waiting, clock::instant()).await;
        }
    }

    /// Writes what waits, at once: so the store makes many durable together.
    async fn record(&mut self, waiting: &mut Vec<(PodRef, Notice)>, now: Instant) {
        let mut writes: Vec<Write> = Vec::new();
        for (pod, notice) in waiting.drain(..) {
            let Some(write) = self.count(pod, notice, now) else { continue };
            if writes.iter().any(|other| other.name == write.name) {
                // One that is not there yet cannot be changed.
                self.write(std::mem::take(&mut writes)).await;
            }
            writes.push(write);
        }
        self.write(writes).await;
    }

    /// Counts a notice; what is to be written of it, if its pod has not said too much.
    fn count(&mut self, pod: PodRef, notice: Notice, now: Instant) -> Option<Write> {
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
            return None;
        }
        told.left -= 1;
        let key = (notice.part.clone(), notice.reason.clone(), notice.message.clone());
        if told.events.len() >= limits::EVENTS_COUNTED && !told.events.contains_key(&key) {
            told.events.clear();
        }
        let time = object::time(clock::wall());
        Some(match told.events.entry(key.clone()) {
            Entry::Occupied(mut known) => {
                let (name, count) = known.get_mut();
                *count += 1;
                Write {
                    name: name.clone(),
                    pod,
                    key,
                    what: What::Again { count: *count, time, text: notice.text() },
                }
            }
            Entry::Vacant(new) => {
                let suffix = u64::from_be_bytes(chance::bytes());
                let name = format!("{}.{suffix:016x}", pod.name);
                let event = event(&pod, &notice, &name, &self.node, &time);
                new.insert((name.clone(), 1));
                Write { name, pod, key, what: What::New(event) }
            }
        })
    }

    async fn write(&mut self, writes: Vec<Write>) {
        let written = join_all(writes.iter().map(|write| self.write_one(write))).await;
        for (Write { pod, key, .. }, written) in writes.into_iter().zip(written) {
            let Err(error) = written else { continue };
            ::metrics::counter!(metrics::EVENTS_DROPPED).increment(1);
            // The usual reason: its namespace is being deleted.
            tracing::debug!(%pod, "an event was not recorded: {error}");
            // Or it has expired: the next one is a new one.
            self.told.get_mut(&pod.uid).map(|told| told.events.remove(&key));
        }
    }

    async fn write_one(&self, write: &Write) -> Result<(), ApiError> {
        match &write.what {
            What::New(event) => self.objects.ensure(event.clone()).await,
            What::Again { count, time, text } => {
                let again = |event: &mut Value| {
                    event["count"] = (*count).into();
                    event["lastTimestamp"] = time.clone().into();
                    event["message"] = text.clone().into();
                };
                self.objects.update(&event_ref(&write.pod, &write.name), again).await.map(drop)
            }
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
    if let Some(part) = &notice.part {
        about["fieldPath"] = format!("spec.{part}").into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": pod.namespace},
        "involvedObject": about,
        "type": if notice.warning { "Warning" } else { "Normal" },
        "reason": &*notice.reason,
        "message": notice.text(),
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
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
        let (part, message) = (Some(format!("containers{{{name}}}")), "Container started".to_owned());
        Notice { part, warning: false, reason: "Started".into(), message, remark: None }
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
            recorder.record(&mut vec![(pod(0), started(name))], now).await;
        }
        assert_eq!(all(kept), [("spec.containers{a}".to_owned(), 3), ("spec.containers{b}".to_owned(), 1)]);
        kept.0.lock().unwrap().clear();
        recorder.record(&mut vec![(pod(0), started("a"))], now).await;
        recorder.record(&mut vec![(pod(0), started("a"))], now).await;
        assert_eq!(all(kept), [("spec.containers{a}".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn what_differs_by_a_remark_is_the_same_and_the_last_remark_is_told() {
        let kept: &'static Kept = Box::leak(Box::default());
        let mut recorder = Recorder::new(kept, "n".into());
        for remark in [None, Some("0.94s of it"), Some("0.95s of it")] {
            let notice = Notice { remark: remark.map(str::to_owned), ..started("a") };
            recorder.record(&mut vec![(pod(0), notice)], clock::instant()).await;
        }
        assert_eq!(all(kept), [("spec.containers{a}".to_owned(), 3)]);
        let all = kept.0.lock().unwrap();
        let messages: Vec<_> = all.values().map(|event| event["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["Container started; 0.95s of it"]);
    }

    #[tokio::test]
    async fn what_repeats_while_it_waits_is_counted_too() {
        let kept: &'static Kept = Box::leak(Box::default());
        let mut recorder = Recorder::new(kept, "n".into());
        let mut waiting = ["a", "b", "a", "a"].map(|name| (pod(0), started(name))).to_vec();
        recorder.record(&mut waiting, clock::instant()).await;
        assert!(waiting.is_empty());
        assert_eq!(all(kept), [("spec.containers{a}".to_owned(), 3), ("spec.containers{b}".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn a_pod_that_talks_without_end_is_cut_off_and_may_go_on_later() {
        let kept: &'static Kept = Box::leak(Box::default());
        let mut recorder = Recorder::new(kept, "n".into());
        let now = clock::instant();
        for number in 0..1000 {
            recorder.record(&mut vec![(pod(0), started(&number.to_string()))], now).await;
        }
        assert_eq!(all(kept).len(), limits::EVENTS_AT_ONCE as usize);
        recorder.record(&mut vec![(pod(1), started("other"))], now).await;
        let later = now + limits::EVENT_AGAIN + Duration::from_secs(1);
        recorder.record(&mut vec![(pod(0), started("later"))], later).await;
        assert_eq!(all(kept).len(), limits::EVENTS_AT_ONCE as usize + 2);
    }

    #[tokio::test]
    async fn many_pods_are_not_all_remembered() {
        let kept: &'static Kept = Box::leak(Box::default());
        let mut recorder = Recorder::new(kept, "n".into());
        let now = clock::instant();
        for number in 0..2 * limits::RECORDED_PODS {
            let later = now + Duration::from_millis(number as u64);
            recorder.record(&mut vec![(pod(number), started("a"))], later).await;
        }
        assert!(recorder.told.len() <= limits::RECORDED_PODS);
    }
}
