//! Events live for an hour after they last happened; nobody else takes them away.

use super::local::Local;
use super::write::read;
use crate::api::object;
use crate::api::objects::{ObjectRef, Objects};
use crate::store::Store;
use crate::{clock, limits};
use serde_json::Value;
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
    let events = page.entries.iter().filter_map(|entry| read(entry).ok());
    events.filter(|event| last(event).is_some_and(|at| at < before)).map(|event| named(&event)).collect()
}

fn named(event: &Value) -> (ObjectRef, String) {
    let word = |of: &str| object::text(event, of).to_owned();
    let (api_version, kind) = ("v1", "Event");
    let event = ObjectRef { api_version, kind, namespace: word("namespace"), name: word("name") };
    (event, word("uid"))
}

/// When an Event last happened, by the latest time in it.
fn last(event: &Value) -> Option<SystemTime> {
    let times = [
        &event["metadata"]["creationTimestamp"],
        &event["eventTime"],
        &event["lastTimestamp"],
        &event["series"]["lastObservedTime"],
    ];
    times.into_iter().filter_map(|time| object::read_time(time.as_str()?)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_that_goes_on_happening_is_as_old_as_its_last_time() {
        let at = |text: &str| object::read_time(text).unwrap();
        let mut event =
            json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "lastTimestamp": null});
        assert_eq!(last(&event), Some(at("2026-01-01T00:00:00Z")));
        event["series"] = json!({"lastObservedTime": "2026-01-01T03:00:00.000000Z"});
        event["eventTime"] = json!("2026-01-01T01:00:00.000000Z");
        assert_eq!(last(&event), Some(at("2026-01-01T03:00:00Z")));
    }
}
