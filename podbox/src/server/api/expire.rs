//! Events live for an hour after they last happened; nobody else takes them away.

use super::local::Local;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::store::{Key, Store};
use crate::{clock, limits};
use serde::Deserialize;
use std::borrow::Cow;
use std::time::SystemTime;

/// Where Events are in the store.
const EVENTS: &str = "/events";

/// Takes Events away as they come of age, for as long as it is polled.
pub async fn expire_events(store: Store, objects: Local) {
    let mut checks = tokio::time::interval(limits::EVENT_CHECK);
    loop {
        checks.tick().await;
        let Some(before) = clock::wall().checked_sub(limits::EVENT_LIFE) else { continue };
        for (event, uid) in aged(&store, before) {
            if let Err(error) = objects.remove(&event, &uid).await {
                tracing::warn!("removing event {}/{} failed: {error}", event.namespace, event.name);
            }
        }
    }
}

/// The Events that last happened before this time, and their uids.
fn aged(store: &Store, before: SystemTime) -> Vec<(ObjectRef, String)> {
    let Ok(page) = store.list(EVENTS, None, None, 0, None) else { return Vec::new() };
    let events =
        page.entries.iter().filter_map(|entry| Some((entry, serde_json::from_slice(&entry.bytes).ok()?)));
    let aged = events.filter(|(_, event): &(_, Glance<'_>)| event.last().is_some_and(|at| at < before));
    aged.map(|(entry, event)| (named(&entry.key), event.metadata.uid.into_owned())).collect()
}

fn named(key: &Key) -> ObjectRef {
    let (namespace, name) = (key.namespace().to_owned(), key.name().to_owned());
    ObjectRef { api_version: "v1", kind: "Event", namespace, name }
}

/// What is read of each Event, as often as there are any.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Glance<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    event_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    last_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    series: Option<Series<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    creation_timestamp: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series<'a> {
    #[serde(borrow)]
    last_observed_time: Option<Cow<'a, str>>,
}

impl Glance<'_> {
    /// When it last happened, by the latest time in it.
    fn last(&self) -> Option<SystemTime> {
        let series = self.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
        let times = [
            self.metadata.creation_timestamp.as_ref(),
            self.event_time.as_ref(),
            self.last_timestamp.as_ref(),
            series,
        ];
        times.into_iter().flatten().filter_map(|time| object::read_time(time)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn an_event_that_goes_on_happening_is_as_old_as_its_last_time() {
        let at = |text: &str| object::read_time(text).unwrap();
        let last = |event: &Value| serde_json::from_str::<Glance<'_>>(&event.to_string()).unwrap().last();
        let mut event = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", "uid": "u"}, "lastTimestamp": null});
        assert_eq!(last(&event), Some(at("2026-01-01T00:00:00Z")));
        event["series"] = json!({"lastObservedTime": "2026-01-01T03:00:00.000000Z"});
        event["eventTime"] = json!("2026-01-01T01:00:00.000000Z");
        assert_eq!(last(&event), Some(at("2026-01-01T03:00:00Z")));
    }
}
