//! A pod that changes while it is on the node: which versions of it there are, and who is told.
//!
//! ```text
//!   node::bound ── a later version in the API ──▶ Versions ──▶ the pod's worker: acts, and says which it acted on
//!                                                    └───────▶ whoever else keeps up with the pod's manifest
//! ```
//!
//! What may change was judged by the API's rules; what is to be done about a change is `pod::change`'s. A version is
//! replaced as a whole, and only the newest counts: a reader that is late skips those between.

use super::record::PodRecord;
use crate::api::object;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// A pod's versions, as their readers have them.
pub type Versions = watch::Receiver<Arc<PodRecord>>;

/// Whether the pod in the API asks for something else than `manifest`. Nobody asks this node for anything by a status.
pub fn is_news(stored: &Value, manifest: &Pod) -> bool {
    let known = &manifest.metadata;
    object::generation(stored) != known.generation.unwrap_or_default()
        || is_other(&stored["metadata"]["labels"], known.labels.as_ref())
        || is_other(&stored["metadata"]["annotations"], known.annotations.as_ref())
}

fn is_other(stored: &Value, known: Option<&BTreeMap<String, String>>) -> bool {
    let stored = stored.as_object();
    let known = known.filter(|known| !known.is_empty());
    match (stored.filter(|stored| !stored.is_empty()), known) {
        (None, None) => false,
        (Some(stored), Some(known)) => {
            let same = |(key, value): (&String, &Value)| known.get(key).map(String::as_str) == value.as_str();
            stored.len() != known.len() || !stored.iter().all(same)
        }
        _ => true,
    }
}

/// The one who writes a pod's versions.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Arc<PodRecord>>);

impl Publisher {
    /// Of a pod whose first version is this one.
    pub fn new(first: PodRecord) -> Publisher {
        Publisher(watch::Sender::new(Arc::new(first)))
    }

    /// Wakes at each version from now on; the current one is there at once.
    pub fn watch(&self) -> Versions {
        self.0.subscribe()
    }

    /// Goes on to what the API has, if that is news. A manifest that cannot be read is told, and changes nothing.
    pub fn offer(&self, stored: &Value) {
        let current = Arc::clone(&self.0.borrow());
        if !is_news(stored, &current.manifest) {
            return;
        }
        match serde_json::from_value(stored.clone()) {
            Ok(manifest) => drop(self.0.send_replace(Arc::new(current.next(manifest)))),
            Err(error) => {
                tracing::error!(pod = %current.pod, "a later version of it cannot be read: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::identity::PodRef;
    use crate::pod::sources::Sources;
    use serde_json::json;

    fn pod(generation: i64, labels: Value, phase: &str) -> Value {
        json!({"metadata": {"name": "p", "generation": generation, "labels": labels},
            "spec": {"containers": [{"name": "a", "image": "x"}]}, "status": {"phase": phase}})
    }

    #[test]
    fn a_version_is_news_by_its_generation_labels_or_annotations_and_not_by_its_status() {
        let known = |value: Value| serde_json::from_value::<Pod>(value).unwrap();
        let before = known(pod(1, json!({"a": "b"}), "Pending"));
        assert!(!is_news(&pod(1, json!({"a": "b"}), "Running"), &before));
        assert!(is_news(&pod(2, json!({"a": "b"}), "Running"), &before));
        for labels in
            [json!({"a": "c"}), json!({"b": "b"}), json!({"a": "b", "c": "d"}), json!({}), json!(null)]
        {
            assert!(is_news(&pod(1, labels.clone(), "Running"), &before), "{labels}");
        }
        assert!(!is_news(&pod(1, json!({}), "Running"), &known(pod(1, json!(null), "Pending"))));
    }

    #[test]
    fn readers_have_the_newest_version_and_what_does_not_change_with_it() {
        let pod_ref = PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() };
        let manifest = serde_json::from_value(pod(1, json!({}), "Pending")).unwrap();
        let accepted = crate::clock::wall();
        let first = PodRecord::new(pod_ref, manifest, Arc::new(Arc::new(Sources::default())), accepted);
        let versions = Publisher::new(first);
        let mut reader = versions.watch();
        assert!(!reader.has_changed().unwrap());
        versions.offer(&pod(1, json!({}), "Running"));
        assert!(!reader.has_changed().unwrap(), "a status is no news");
        versions.offer(&pod(2, json!({"a": "b"}), "Running"));
        versions.offer(&pod(3, json!({"a": "c"}), "Running"));
        let newest = reader.borrow_and_update().clone();
        assert_eq!(newest.manifest.metadata.generation, Some(3));
        assert_eq!((newest.pod.uid.as_str(), newest.accepted), ("u", accepted));
    }
}
