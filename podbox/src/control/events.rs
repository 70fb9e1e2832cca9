//! What controllers say, as Events in the API: one object for each thing that happens to an object, counted as it repeats.
//!
//! It holds no truth: what it cannot write is dropped, counted and said in the log. An object that is never short of words is
//! cut off: so many Events at once, then one more every five minutes, as upstream's recorder has it.

use super::action::{Saying, Subject};
use crate::api::object;
use crate::api::objects::{Seen, Target, Writes};
use crate::api::status::ApiError;
use crate::{chance, clock, limits, metrics};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;
use tokio::sync::mpsc;

/// One thing to tell.
type Told = (&'static str, Subject, Saying);

/// Takes what is said without ever waiting.
#[derive(Clone, Debug)]
pub struct Events(mpsc::Sender<Told>);

impl Events {
    /// Hands one over; drops it where too many wait already.
    pub fn tell(&self, component: &'static str, about: &Subject, saying: Saying) {
        if self.0.try_send((component, about.clone(), saying)).is_err() {
            ::metrics::counter!(metrics::EVENTS_DROPPED).increment(1);
        }
    }
}

/// What is written by [`record`].
pub type Queue = mpsc::Receiver<Told>;

/// A way to tell, and its other end.
pub fn channel() -> (Events, Queue) {
    let (sender, receiver) = mpsc::channel(limits::NOTICES);
    (Events(sender), receiver)
}

/// Writes Events for as long as someone tells: those that wait, at once, so that the store makes many durable together.
pub async fn record(writes: impl Writes, mut told: Queue) {
    let (mut tally, mut waiting) = (Tally::default(), Vec::new());
    while told.recv_many(&mut waiting, limits::NOTICES_AT_ONCE).await > 0 {
        let mut batch: Vec<(Told, Count)> = Vec::new();
        for (component, about, saying) in waiting.drain(..) {
            let name = format!("{}.{:016x}", about.at.name, u64::from_be_bytes(chance::bytes()));
            let count = tally.count(&about.uid, &saying, name, clock::instant());
            if let Count::Again(name, _) = &count
                && batch.iter().any(|(_, other)| other.name() == Some(name))
            {
                // One that is not there yet cannot be changed.
                write_all(&writes, &mut tally, std::mem::take(&mut batch)).await;
            }
            batch.push(((component, about, saying), count));
        }
        write_all(&writes, &mut tally, batch).await;
    }
}

async fn write_all(writes: &impl Writes, tally: &mut Tally, batch: Vec<(Told, Count)>) {
    let written = join_all(batch.iter().map(|(told, count)| write(writes, told, count))).await;
    for (((_, about, saying), _), written) in batch.iter().zip(written) {
        let Err(error) = written else { continue };
        ::metrics::counter!(metrics::EVENTS_DROPPED).increment(1);
        // The usual reason: its namespace is being deleted.
        tracing::debug!("an event of {} was not recorded: {error}", about.at.name);
        tally.forget(&about.uid, saying);
    }
}

async fn write(writes: &impl Writes, told: &Told, count: &Count) -> Result<(), ApiError> {
    let (component, about, saying) = told;
    let now = object::time(clock::wall());
    match count {
        Count::TooMany => Ok(()),
        Count::First(name) => writes.create(event(component, about, saying, (name, 1), &now)).await.map(drop),
        Count::Again(name, count) => {
            let again = |event: &mut Value| {
                event["count"] = (*count).into();
                event["lastTimestamp"] = now.clone().into();
            };
            match writes.edit(&place(about, name.clone()), "", &Seen::default(), again).await {
                // It has expired since.
                Err(error) if error.code == 404 => {
                    writes.create(event(component, about, saying, (name, *count), &now)).await.map(drop)
                }
                edited => edited.map(drop),
            }
        }
    }
}

fn place(about: &Subject, name: String) -> Target {
    let namespace = namespace(about).to_owned();
    Target { api_version: "v1".into(), kind: "Event".into(), namespace, name }
}

/// Where the Events of an object are.
fn namespace(about: &Subject) -> &str {
    match about.at.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    }
}

fn event(component: &str, about: &Subject, saying: &Saying, (name, count): (&str, u64), now: &str) -> Value {
    let Subject { at, uid } = about;
    let mut involved = json!({"apiVersion": at.api_version, "kind": at.kind, "name": at.name, "uid": uid});
    if !at.namespace.is_empty() {
        involved["namespace"] = at.namespace.clone().into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace(about)},
        "involvedObject": involved,
        "type": if saying.warning { "Warning" } else { "Normal" },
        "reason": saying.reason,
        "message": saying.message,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": count,
    })
}

/// What was said, by the uid of whom it is about.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, Object>);

#[derive(Debug)]
struct Object {
    /// The Event's name and how often it was said.
    events: BTreeMap<(&'static str, String), (String, u64)>,
    /// How many more may be said now.
    left: u32,
    /// When that was counted.
    at: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Count {
    First(String),
    Again(String, u64),
    TooMany,
}

impl Count {
    /// The Event's name.
    fn name(&self) -> Option<&String> {
        match self {
            Count::First(name) | Count::Again(name, _) => Some(name),
            Count::TooMany => None,
        }
    }
}

impl Tally {
    /// Counts what is said; `name` is its Event's if it is new.
    fn count(&mut self, uid: &str, saying: &Saying, name: String, now: Instant) -> Count {
        if self.0.len() >= limits::RECORDED_PODS && !self.0.contains_key(uid) {
            // Those that have been silent longest, by the half: a count begins anew, nothing else is lost.
            let mut times: Vec<Instant> = self.0.values().map(|object| object.at).collect();
            times.sort_unstable();
            let middle = times[times.len() / 2];
            self.0.retain(|_, object| object.at > middle);
        }
        let fresh = || Object { events: BTreeMap::new(), left: limits::EVENTS_AT_ONCE, at: now };
        let object = self.0.entry(uid.to_owned()).or_insert_with(fresh);
        let more = now.saturating_duration_since(object.at).as_secs() / limits::EVENT_AGAIN.as_secs();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            object.left = object.left.saturating_add(more).min(limits::EVENTS_AT_ONCE);
            object.at = now;
        }
        if object.left == 0 {
            ::metrics::counter!(metrics::EVENTS_DROPPED).increment(1);
            return Count::TooMany;
        }
        object.left -= 1;
        let key = (saying.reason, saying.message.clone());
        match object.events.get_mut(&key) {
            Some((known, count)) => {
                *count += 1;
                Count::Again(known.clone(), *count)
            }
            None => {
                if object.events.len() >= limits::EVENTS_COUNTED {
                    object.events.clear();
                }
                object.events.insert(key, (name.clone(), 1));
                Count::First(name)
            }
        }
    }

    fn forget(&mut self, uid: &str, saying: &Saying) {
        if let Some(object) = self.0.get_mut(uid) {
            object.events.remove(&(saying.reason, saying.message.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_repeats_is_counted_and_who_never_ends_is_cut_off() {
        let (mut tally, now) = (Tally::default(), clock::instant());
        let say = |number: u32| Saying::normal("Said", number.to_string());
        assert_eq!(tally.count("u", &say(0), "a".into(), now), Count::First("a".into()));
        assert_eq!(tally.count("u", &say(0), "b".into(), now), Count::Again("a".into(), 2));
        for number in 2..limits::EVENTS_AT_ONCE {
            assert_eq!(tally.count("u", &say(number), "c".into(), now), Count::First("c".into()));
        }
        assert_eq!(tally.count("u", &say(99), "d".into(), now), Count::TooMany);
        assert_eq!(tally.count("v", &say(99), "d".into(), now), Count::First("d".into()));
        let later = now + limits::EVENT_AGAIN + Duration::from_secs(1);
        assert_eq!(tally.count("u", &say(99), "d".into(), later), Count::First("d".into()));
    }

    /// An API whose Events may have expired.
    #[derive(Clone, Default)]
    struct Expiring(std::sync::Arc<std::sync::Mutex<BTreeMap<String, Value>>>);

    impl Writes for Expiring {
        async fn create(&self, event: Value) -> Result<String, ApiError> {
            let name = object::name(&event).to_owned();
            self.0.lock().unwrap().insert(name.clone(), event);
            Ok(name)
        }

        async fn edit(
            &self,
            at: &Target,
            _part: &'static str,
            _seen: &Seen,
            edit: impl Fn(&mut Value) + Send + Sync,
        ) -> Result<bool, ApiError> {
            let mut all = self.0.lock().unwrap();
            let event = all.get_mut(&at.name).ok_or_else(|| ApiError::not_found("", "events", &at.name))?;
            edit(event);
            Ok(true)
        }

        async fn delete(
            &self,
            _at: &Target,
            _seen: &Seen,
            _propagation: Option<crate::api::lifecycle::Propagation>,
        ) -> Result<bool, ApiError> {
            unreachable!("Events expire")
        }

        async fn remove(&self, _at: &Target, _seen: &Seen) -> Result<bool, ApiError> {
            unreachable!("Events expire")
        }
    }

    #[tokio::test]
    async fn what_is_said_again_after_its_event_has_expired_is_told_anew() {
        let (api, mut tally) = (Expiring::default(), Tally::default());
        let (namespace, name) = ("n".to_owned(), "p".to_owned());
        let at = Target { api_version: "v1".into(), kind: "Pod".into(), namespace, name };
        let (about, saying) = (Subject { at, uid: "u".into() }, Saying::normal("Said", "it"));
        for count in 1..=2 {
            let counted = tally.count("u", &saying, "p.1".into(), clock::instant());
            write_all(&api, &mut tally, vec![(("c", about.clone(), saying.clone()), counted)]).await;
            assert_eq!(api.0.lock().unwrap()["p.1"]["count"], count);
            api.0.lock().unwrap().clear();
        }
    }
}
